"""A paper's sentences held against our numbers: HOLDS, DOES NOT HOLD, UNDECIDED, NOT RUN, FAIL.

Two cells are compared query by query (the mean over seeds of each query's value): by the paired randomisation
test, gains on different query sets by Welch's t, against a margin by the paired t-test. All p-values of one
report are Holm-corrected together. What is undecided comes with the interval of the difference, the smallest
difference that so many queries would show in four of five experiments, and the number of seeds that would
show the one seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.significance import LEVEL, holm, paired_t_test, randomization_test
from dretrieve.reports.expected import Claim, Expected
from dretrieve.reports.readings import mean_by_query
from dretrieve.reports.verdicts import Judged

Outcome = Literal["HOLDS", "DOES NOT HOLD", "UNDECIDED", "NOT RUN", "FAIL"]
# 97.5 % and 80 % points of the normal distribution: a two-sided test at 5 % that finds a true difference
# in four of five experiments.
POWER = 1.959964 + 0.841621


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What our numbers say about a claim; differences are in the table's unit.

    Attributes:
        claim: the sentence.
        outcome: the word.
        difference: left minus right (of ``most``: its excess over the nearest other gain); the number itself
            for ``at-most`` and ``at-least``.
        low: lower end of the difference's 95 % interval.
        high: upper end.
        p: two-sided, Holm-corrected over the report's claims; None where nothing was tested.
        detectable: smallest difference that would be found with power .8; None where no query differs.
        seeds_needed: seeds that would show the difference seen, from the spread between seeds; None where
            fewer than two were run.
        seeds: how many both sides were run with.
        notes: why, in sentences.
    """

    claim: Claim
    outcome: Outcome
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    detectable: float | None = None
    seeds_needed: int | None = None
    seeds: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tested:
    """A comparison before correction: differences by query, and by seed; paired, or of independent means."""

    values: NDArray[np.float64]
    by_seed: NDArray[np.float64]
    paired: bool = True


def find_all(expected: Expected, judged: Mapping[str, Judged], seed: int = 0) -> dict[str, Finding]:
    """Return claim name to what our numbers say."""
    findings: dict[str, Finding] = {}
    tested: dict[str, list[_Tested]] = {}
    for claim in expected.claims.values():
        blocked = _blocked(claim, judged)
        if blocked is not None:
            findings[claim.name] = blocked
        elif claim.relation in ("at-most", "at-least"):
            findings[claim.name] = _bounded(claim, judged)
        else:
            try:
                tested[claim.name] = _comparisons(claim, expected, judged)
            except ValueError as error:
                findings[claim.name] = Finding(claim=claim, outcome="FAIL", notes=(str(error),))
    scales = {name: _scale(expected, expected.claims[name]) for name in tested}
    raw = {
        (name, number): _p_value(expected.claims[name], each, scales[name], seed)
        for name, several in tested.items()
        for number, each in enumerate(several)
    }
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    for name, several in tested.items():
        ps = [corrected[name, number] for number in range(len(several))]
        findings[name] = _decided(expected.claims[name], several, ps, scales[name])
    return {name: findings[name] for name in expected.claims}


def _blocked(claim: Claim, judged: Mapping[str, Judged]) -> Finding | None:
    """Return the finding of a claim whose cells are not all there."""
    cells = [judged[name] for name in claim.cells()]
    failed = [one.cell.name for one in cells if one.verdict == "FAIL" and one.value is None]
    if failed:
        return Finding(claim=claim, outcome="FAIL", notes=(f"the chain of {', '.join(failed)} does not fit",))
    absent = [one.cell.name for one in cells if one.value is None]
    if absent:
        return Finding(claim=claim, outcome="NOT RUN", notes=(f"not run: {', '.join(absent)}",))
    return None


def _scale(expected: Expected, claim: Claim) -> float:
    return expected.tables[claim.left.split(".")[0]].scale


def _bounded(claim: Claim, judged: Mapping[str, Judged]) -> Finding:
    """Decide a number against its bound: a count or a ratio of counts has no sampling error."""
    left, right = judged[claim.left].value, judged[claim.right].value if claim.right else 1.0
    assert left is not None
    if not right:
        return Finding(claim=claim, outcome="FAIL", notes=(f"{claim.right} is 0: there is no ratio",))
    number = left / right
    holds = number <= claim.bound if claim.relation == "at-most" else number >= claim.bound
    sign = "≤" if claim.relation == "at-most" else "≥"
    note = f"{number:.4g} {sign} {claim.bound:g}" if holds else f"{number:.4g}, wanted {sign} {claim.bound:g}"
    return Finding(
        claim=claim, outcome="HOLDS" if holds else "DOES NOT HOLD", difference=number, notes=(note,)
    )


def _comparisons(claim: Claim, expected: Expected, judged: Mapping[str, Judged]) -> list[_Tested]:
    cell = expected.cell(claim.left)
    assert cell is not None
    measure = claim.measure or cell.measure
    gain = _difference(judged[claim.left], judged[claim.right], measure)
    if claim.relation != "most":
        return [gain]
    return [_excess(gain, _difference(judged[one], judged[two], measure)) for one, two in claim.others]


def _difference(left: Judged, right: Judged, measure: str) -> _Tested:
    try:
        left_ids, left_values = mean_by_query(list(left.readings), measure)
        right_ids, right_values = mean_by_query(list(right.readings), measure)
    except KeyError:
        raise ValueError(f"{measure} was not measured for {left.cell.name} and {right.cell.name}") from None
    if set(left_ids) != set(right_ids):
        raise ValueError(f"{left.cell.name} and {right.cell.name} were measured on different queries")
    place = {query_id: number for number, query_id in enumerate(right_ids)}
    aligned = right_values[:, [place[query_id] for query_id in left_ids]]
    seeds = min(len(left_values), len(aligned))
    by_seed = left_values[:seeds].mean(axis=1) - aligned[:seeds].mean(axis=1)
    return _Tested(left_values.mean(axis=0) - aligned.mean(axis=0), by_seed)


def _excess(gain: _Tested, other: _Tested) -> _Tested:
    """Return a gain minus another over other queries: independent means, as values around their difference.

    The values are both samples' deviations, scaled so that the standard error of their mean is that of the
    difference of two independent means.
    """
    ours, theirs = gain.values, other.values
    mean = ours.mean() - theirs.mean()
    total = len(ours) + len(theirs)
    parts = [(values - values.mean()) * total / len(values) for values in (ours, -theirs)]
    seeds = min(len(gain.by_seed), len(other.by_seed))
    by_seed = gain.by_seed[:seeds] - other.by_seed[:seeds]
    return _Tested(np.concatenate(parts) + mean, by_seed, paired=False)


def _p_value(claim: Claim, tested: _Tested, scale: float, seed: int) -> float:
    """Return the two-sided p of what would have to be refuted: no difference, or one as large as the margin.

    For ``not-below`` that is ``-margin``, from either side. For ``equal`` it is both margins where the
    difference lies between them, the nearer one where it lies outside.
    """
    if claim.relation not in ("not-below", "equal"):
        return randomization_test(tested.values, seed) if tested.paired else paired_t_test(tested.values)[0]
    margin, difference = claim.margin / scale, float(tested.values.mean())
    below = paired_t_test(tested.values + margin)[0]
    if claim.relation == "not-below":
        return below
    above = paired_t_test(tested.values - margin)[0]
    return max(below, above) if abs(difference) < margin else min(below, above)


def _decided(claim: Claim, several: Sequence[_Tested], ps: Sequence[float], scale: float) -> Finding:
    found = [_one(claim, tested, p, scale) for tested, p in zip(several, ps, strict=True)]
    if len(found) == 1:
        return found[0]
    nearest = min(found, key=lambda one: one.difference or 0.0)
    outcomes = {one.outcome for one in found}
    word: Outcome = "HOLDS" if outcomes == {"HOLDS"} else "UNDECIDED"
    if "DOES NOT HOLD" in outcomes:
        word = "DOES NOT HOLD"
    return replace(nearest, outcome=word)


def _one(claim: Claim, tested: _Tested, p: float, scale: float) -> Finding:
    values = tested.values * scale
    difference = float(values.mean())
    _, low, high = paired_t_test(values)
    return Finding(
        claim=claim,
        outcome=_outcome(claim, difference, p),
        difference=difference,
        low=low,
        high=high,
        p=p,
        detectable=POWER * float(values.std(ddof=1)) / math.sqrt(len(values)) if np.ptp(values) else None,
        seeds_needed=_seeds_needed(tested.by_seed),
        seeds=len(tested.by_seed),
    )


def _outcome(claim: Claim, difference: float, p: float) -> Outcome:
    if p >= LEVEL:
        return "UNDECIDED"
    holds = {"not-below": difference > -claim.margin, "equal": abs(difference) < claim.margin}
    return "HOLDS" if holds.get(claim.relation, difference > 0) else "DOES NOT HOLD"


def _seeds_needed(by_seed: NDArray[np.float64]) -> int | None:
    """Return how many seeds would show the mean difference seen above the spread between seeds."""
    if len(by_seed) < 2:
        return None
    mean, spread = abs(float(by_seed.mean())), float(by_seed.std(ddof=1))
    if mean == 0:
        return None
    return max(2, math.ceil((POWER * spread / mean) ** 2))
