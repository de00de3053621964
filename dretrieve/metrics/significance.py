"""Is one run better than another? Paired t-test, randomisation test, confidence interval, Holm's correction.

Both tests see the differences of the per-query values (Smucker, Allan and Carterette, CIKM 2007). The
randomisation test flips the sign of every difference at random and asks how often the mean is as far from 0
as the one seen; its p-value counts the seen one too, so it is never 0. Where Hoeffding's inequality (1963)
says that it is smaller than so many flips can show, that bound is taken: else of 250 tests corrected together
none could pass. Holm (1979) keeps the chance of any false claim in the whole table below the level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError

RESAMPLES = 9_999
LEVEL = 0.05
MOST_EXPONENT = 700.0  # e^-700 is still above 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run against the baseline in one measure.

    Attributes:
        difference: mean of run minus baseline.
        low: lower end of the 95 % confidence interval of the difference (Student's t).
        t_test, randomization: two-sided p.
        t_test_holm, randomization_holm: corrected for all comparisons made together.
    """

    measure: str
    baseline: str
    run: str
    difference: float
    low: float
    high: float
    t_test: float
    randomization: float
    t_test_holm: float
    randomization_holm: float
    wins: int
    losses: int
    ties: int

    @property
    def significant(self) -> bool:
        """Whether the corrected randomisation test is below the level."""
        return self.randomization_holm < LEVEL


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted by Holm's step-down rule, in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for step, position in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - step) * p_values[position]))
        adjusted[position] = worst
    return adjusted


def paired_t_test(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return p and the 95 % interval of the mean of ``differences`` ([Q], at least 2).

    Where all differences are equal there is nothing to estimate: p is 1 if they are 0, else 0.
    """
    mean, spread = float(differences.mean()), float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    if len(differences) < 2 or spread <= 1e-15 * max(1.0, abs(mean)):
        return (1.0 if mean == 0 or len(differences) < 2 else 0.0), mean, mean
    result = _scipy_stats().ttest_1samp(differences, 0.0)
    interval = result.confidence_interval(0.95)
    return float(result.pvalue), float(interval.low), float(interval.high)


def randomization_test(differences: NDArray[np.float64], seed: int = 0) -> float:
    """Return the two-sided p of the paired randomisation test on the mean of ``differences`` ([Q])."""
    if not np.any(differences) or len(differences) < 2:
        return 1.0
    result = _scipy_stats().permutation_test(
        (differences,),
        lambda values, axis=-1: np.mean(values, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, (1 << 22) // len(differences)),
        rng=np.random.default_rng(seed),
    )
    scaled = differences / np.abs(differences).max()
    distance = float(abs(scaled.sum()) / np.linalg.norm(scaled))  # in standard errors, if nothing differs
    return float(min(result.pvalue, 2 * math.exp(-min(distance**2 / 2, MOST_EXPONENT)), 1.0))


def compare(runs: Sequence[tuple[str, Mapping[str, NDArray[np.float64]]]], seed: int = 0) -> list[Comparison]:
    """Return every other run against the first in every measure, corrected together.

    Args:
        runs: name, and measure to per-query values ([Q] each), over the same queries in the same order.
        seed: of the randomisation.
    """
    (baseline, before), *others = runs
    found = []
    for name, values in others:
        for measure, base in before.items():
            differences = values[measure] - base
            t_test, low, high = paired_t_test(differences)
            comparison = Comparison(
                measure=measure,
                baseline=baseline,
                run=name,
                difference=float(differences.mean()) if len(differences) else 0.0,
                low=low,
                high=high,
                t_test=t_test,
                randomization=randomization_test(differences, seed),
                t_test_holm=1.0,
                randomization_holm=1.0,
                wins=int((differences > 0).sum()),
                losses=int((differences < 0).sum()),
                ties=int((differences == 0).sum()),
            )
            found.append(comparison)
    t_holm, r_holm = holm([one.t_test for one in found]), holm([one.randomization for one in found])
    return [
        replace(one, t_test_holm=t, randomization_holm=r)
        for one, t, r in zip(found, t_holm, r_holm, strict=True)
    ]


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ImportError:
        raise PreconditionError("--compare needs scipy; install it: pip install scipy") from None
    return stats
