"""How much a claim's test could have shown: the smallest distance over so many queries, what it would take.

All answer the question that the test decides. The distance is that of the difference seen from what must be
refuted. The level is that of the first of Holm's steps, .05 over the number of tests corrected together: what
passes there passes in any case. "Shown" means in four of five experiments, by the normal approximation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

from dretrieve.metrics.significance import LEVEL
from dretrieve.reports.claims_samples import Floats
from dretrieve.reports.expected import Claim

POWER = 0.8


def factor(tests: int) -> float:
    """Return how many standard errors a distance needs to be shown where Holm's rule corrects those tests."""
    normal = NormalDist()
    return normal.inv_cdf(1 - LEVEL / (2 * tests)) + normal.inv_cdf(POWER)


def distance(claim: Claim, difference: float) -> float:
    """Return how far the difference lies from what must be refuted.

    That is no difference for ``above`` and ``most``, minus the margin for ``not-below``, the nearer margin
    for ``equal``.
    """
    if claim.relation == "not-below":
        return abs(difference + claim.margin)
    return abs(abs(difference) - claim.margin) if claim.relation == "equal" else abs(difference)


def detectable(values: Floats, tests: int) -> float | None:
    """Return the smallest distance that so many queries show; None where no query differs from another."""
    if len(values) < 2 or not np.ptp(values):
        return None
    return factor(tests) * float(values.std(ddof=1)) / math.sqrt(len(values))


def queries_needed(values: Floats, away: float, tests: int) -> int | None:
    """Return how many queries like these would show the distance by the models that there are; None: none."""
    if len(values) < 2 or not np.ptp(values) or not away:
        return None
    return math.ceil((factor(tests) * float(values.std(ddof=1)) / away) ** 2)


def common_seeds(layouts: Sequence[Mapping[int, Floats]]) -> list[int]:
    """Return the seeds that every query set has differences of."""
    return sorted(set.intersection(*(set(layout) for layout in layouts))) if layouts else []


def seeds_needed(layouts: Sequence[Mapping[int, Floats]], away: float, tests: int) -> int | None:
    """Return how many seeds would show the distance; None where no number would, for want of queries.

    With S seeds the mean difference has the variance v_seed / S + v_query, and S is the smallest whole number
    for which the distance is at least `factor` times its root.

    Args:
        layouts: for each query set, seed to differences by query ([Q]); at least two common seeds.
        away: the distance, in the differences' unit.
        tests: see `factor`.
    """
    seeds = common_seeds(layouts)
    tables = [np.stack([layout[seed] for seed in seeds]) for layout in layouts]
    between_seeds = float(np.sum([table.mean(axis=1) for table in tables], axis=0).var(ddof=1))
    squared = factor(tests) ** 2
    room = away**2 - squared * sum(_between_queries(table) for table in tables)
    return max(2, math.ceil(squared * between_seeds / room)) if room > 0 else None


def _between_queries(table: Floats) -> float:
    """Return the part of the mean's variance that only more queries lower.

    Args:
        table: differences [S, Q], a two-way layout without replication. Their means over seeds vary by query
            and, over so few seeds, by the interaction of query and seed (the mean square of the residuals);
            the interaction's share is taken off, for it falls with the seeds.
    """
    seeds, queries = table.shape
    if queries < 2:
        return math.inf
    by_query = table.mean(axis=0)
    rest = table - table.mean(axis=1, keepdims=True) - by_query + table.mean()
    interaction = float((rest**2).sum()) / ((seeds - 1) * (queries - 1))
    by_queries: float = float(by_query.var(ddof=1)) / queries - interaction / (queries * seeds)
    return max(0.0, by_queries)
