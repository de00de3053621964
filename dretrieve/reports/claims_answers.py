"""From a claim's test to its answer: the p-value of what must be refuted, the word, and what is lacking.

Without a margin the paired randomisation test decides, against a margin the paired t-test. Averages over
query sets, and two gains over different queries, are compared by a t-test of a sum of independent means: its
standard error is Welch's (each set's own variance over its own size), its degrees of freedom are all queries
less one (Welch's own are fewer; where each set has hundreds of queries that changes p by less than a
hundredth of itself). Times that were measured in turn are compared by the paired t-test of the log of their
ratio, round by round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dretrieve.metrics.significance import LEVEL, paired_t_test, randomization_test
from dretrieve.reports.claims_power import (
    common_seeds,
    detectable,
    distance,
    queries_needed,
    seeds_needed,
)
from dretrieve.reports.claims_samples import Sample
from dretrieve.reports.evaluation import p_text
from dretrieve.reports.expected import BOUNDED, Claim

Outcome = Literal["HOLDS", "DOES NOT HOLD", "UNDECIDED", "NOT RUN", "FAIL"]
TOO_FEW = (
    "fewer than two seeds are common to both sides, so how far seeds spread is not known, nor how many would "
    "show the difference"
)
MORE_QUERIES = (
    "no number of seeds would show the difference seen over so many queries: more queries are needed"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What our numbers say about a claim; differences are in the table's unit.

    Attributes:
        difference: left minus right (of ``most``: of the excesses over other gains that give the outcome the
            smallest, or the gain itself where that alone gives it); for ``at-most`` and ``at-least`` the
            number or the ratio itself, of times in rounds the geometric mean of the rounds' ratios.
        low: lower end of its 95 % interval.
        p: two-sided, Holm-corrected over the report's claims; None where nothing was tested.
        detectable: smallest distance from what must be refuted that so many queries show with power .8; None
            where no query differs, and for times and counts.
        seeds_needed: seeds that would show the difference seen; None where fewer than two were run, and
            where no number would do.
        queries_needed: whether no number of seeds would do.
        queries: that would show it by the models of the one common seed; None where there are more, and where
            no number would.
        seeds: how many are common to both sides.
        notes: why, in sentences.
        recorded: what we recorded of it, as `outcome_text` has it, where nothing was run.
    """

    claim: Claim
    outcome: Outcome
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    detectable: float | None = None
    seeds_needed: int | None = None
    queries_needed: bool = False
    queries: int | None = None
    seeds: int = 0
    notes: tuple[str, ...] = ()
    recorded: str = ""


def p_value(claim: Claim, sample: Sample) -> float:
    """Return the two-sided p of what would have to be refuted: no difference, or one as large as the margin.

    For ``not-below`` that is ``-margin``, from either side. For ``equal`` it is the nearer of both margins,
    whether the difference lies between them or outside: the larger of the two p-values.
    """
    values = sample.values
    if claim.relation not in ("not-below", "equal"):
        is_free = sample.paired and claim.relation not in BOUNDED
        return randomization_test(values) if is_free else paired_t_test(values)[0]
    below = paired_t_test(values + claim.margin)[0]
    return below if claim.relation == "not-below" else max(below, paired_t_test(values - claim.margin)[0])


def answer(claim: Claim, samples: Sequence[Sample], ps: Sequence[float], tests: int) -> Finding:
    """Return the claim's finding.

    There is one sample; of ``most`` the gain, then its excess over each other gain. ``ps`` are corrected, one
    for each.
    """
    if claim.relation in BOUNDED:
        return _of_times(claim, samples[0], ps[0])
    found = [_one(claim, sample, p, tests) for sample, p in zip(samples, ps, strict=True)]
    return _most(found) if claim.relation == "most" else found[0]


def _most(found: Sequence[Finding]) -> Finding:
    """Return one finding of the gain's own and of its excess over each other gain."""
    gain, *excesses = found
    outcomes = {one.outcome for one in found}
    word: Outcome = "HOLDS" if outcomes == {"HOLDS"} else "UNDECIDED"
    if "DOES NOT HOLD" in outcomes:
        word = "DOES NOT HOLD"
    deciding = [one for one in excesses if one.outcome == word] or [gain]
    shown = min(deciding, key=lambda one: one.difference or 0.0)
    if gain.outcome == "HOLDS":
        return shown
    text = (
        f"the gain itself, {gain.difference:+.3g} (p {p_text(gain.p or 0.0)}), is not shown to be above zero"
    )
    return replace(shown, notes=(*shown.notes, text))


def sign(claim: Claim) -> str:
    """Return on which side of its bound the claim wants the number."""
    return "≤" if claim.relation == "at-most" else "≥"


def ratio(claim: Claim, logarithm: float) -> float:
    """Return the ratio behind a mean of log(ratio / bound)."""
    return claim.bound * math.exp(logarithm)


def _of_times(claim: Claim, sample: Sample, p: float) -> Finding:
    """Return the finding about the ratio of times: on which side of its bound it lies, if p says so."""
    _, *ends = paired_t_test(sample.values)
    mean, low, high = (ratio(claim, value) for value in (float(sample.values.mean()), *ends))
    outcome: Outcome = "UNDECIDED"
    if p < LEVEL:
        outcome = "HOLDS" if (mean < claim.bound) == (claim.relation == "at-most") else "DOES NOT HOLD"
    note = f"{mean:.4g} over {len(sample.values)} rounds, wanted {sign(claim)} {claim.bound:g}"
    return Finding(claim=claim, outcome=outcome, difference=mean, low=low, high=high, p=p, notes=(note,))


def _one(claim: Claim, sample: Sample, p: float, tests: int) -> Finding:
    """Return the finding of one test, with what it lacks where it is undecided."""
    mean = float(sample.values.mean())
    _, low, high = paired_t_test(sample.values)
    outcome, seeds = _outcome(claim, mean, p), common_seeds(sample.layouts)
    needed: int | None = None
    queries: int | None = None
    lacking = ""
    if not sample.trained:
        lacking = MORE_QUERIES
    elif len(seeds) < 2:
        lacking, queries = TOO_FEW, queries_needed(sample.values, distance(claim, mean), tests)
    else:
        needed = seeds_needed(sample.layouts, distance(claim, mean), tests)
        lacking = MORE_QUERIES if needed is None else ""
    return Finding(
        claim=claim,
        outcome=outcome,
        difference=mean,
        low=low,
        high=high,
        p=p,
        detectable=detectable(sample.values, tests),
        seeds_needed=needed,
        queries_needed=lacking == MORE_QUERIES,
        queries=queries,
        seeds=len(seeds),
        notes=(lacking,) if lacking and outcome == "UNDECIDED" else (),
    )


def _outcome(claim: Claim, mean: float, p: float) -> Outcome:
    if p >= LEVEL:
        return "UNDECIDED"
    holds = {"not-below": mean > -claim.margin, "equal": abs(mean) < claim.margin}
    return "HOLDS" if holds.get(claim.relation, mean > 0) else "DOES NOT HOLD"
