"""A paper's sentences held against our numbers: HOLDS, DOES NOT HOLD, UNDECIDED, NOT RUN, FAIL.

Two cells are compared query by query, by the mean of each query's differences over the seeds that both were
run with: on a small collection seeds differ by more than methods do. Which test decides stands in
`reports.claims_answers`. Times are compared round by round; a count has no error, so nothing is tested.
All p-values of one report are Holm-corrected together. They are of the models that were trained: queries
are drawn anew, seeds are not.

What is undecided comes with the interval of the difference, the smallest distance that so many queries would
show, and the number of seeds that would show the one seen (see `reports.claims_power`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dretrieve.metrics.significance import holm
from dretrieve.reports.claims_answers import Finding as Finding
from dretrieve.reports.claims_answers import answer, p_value, ratio, sign
from dretrieve.reports.claims_samples import (
    NoCommonSeedError,
    Sample,
    difference,
    excess,
    rounds,
    seeds_of,
)
from dretrieve.reports.expected import BOUNDED, Claim, Expected
from dretrieve.reports.verdicts import Judged

FEWEST_ROUNDS = 3
ONE_SEED = "one seed is common to both sides: the p is of these models, the spread between seeds is not in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A claim that must be tested, by one sample; of ``most`` the gain, then its excess over each other."""

    claim: Claim
    samples: Sequence[Sample]
    notes: tuple[str, ...] = ()


def find_all(expected: Expected, judged: Mapping[str, Judged], profile: str) -> dict[str, Finding]:
    """Return claim name to what our numbers say.

    Only the profile's claims are shown and corrected together.
    """
    shown = [claim for claim in expected.claims.values() if claim.shown_at(profile)]
    asked = {claim.name: _asked(claim, expected, judged) for claim in shown}
    raw = {
        (name, number): p_value(one.claim, sample)
        for name, one in asked.items()
        if isinstance(one, _Question)
        for number, sample in enumerate(one.samples)
    }
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    findings: dict[str, Finding] = {}
    for name, one in asked.items():
        if isinstance(one, Finding):
            findings[name] = one
            continue
        ps = [corrected[name, number] for number in range(len(one.samples))]
        finding = answer(one.claim, one.samples, ps, len(raw))
        findings[name] = replace(finding, notes=(*one.notes, *finding.notes))
    return findings


def _asked(claim: Claim, expected: Expected, judged: Mapping[str, Judged]) -> Finding | _Question:
    """Return what must be tested, or the finding where nothing can or need be."""
    rest, left_out = _without_absent(claim, judged)
    blocked = _blocked(rest, judged)
    if blocked is not None:
        return blocked
    try:
        if claim.relation in BOUNDED:
            return _bounded(claim, expected, judged)
        samples = _samples(rest, expected, judged)
    except NoCommonSeedError as error:
        return Finding(claim=claim, outcome="UNDECIDED", notes=(str(error),))
    except ValueError as error:
        return Finding(claim=claim, outcome="FAIL", notes=(str(error),))
    notes = (*left_out, *_of_seeds(samples, [judged[name] for name in rest.cells()]))
    return _Question(claim=claim, samples=samples, notes=notes)


def _without_absent(claim: Claim, judged: Mapping[str, Judged]) -> tuple[Claim, tuple[str, ...]]:
    """Return the claim without the other gains that were not run, if one was, and a note naming the rest."""
    names = dict.fromkeys(name for pair in claim.others for name in pair)
    absent = [name for name in names if judged[name].value is None and not _failed(judged[name])]
    others = tuple(pair for pair in claim.others if not set(pair) & set(absent))
    if not absent or not others:
        return claim, ()
    return replace(claim, others=others), (f"left out, not run: {', '.join(absent)}",)


def _blocked(claim: Claim, judged: Mapping[str, Judged]) -> Finding | None:
    """Return the finding of a claim whose cells are not all there."""
    cells = [judged[name] for name in claim.cells()]
    failed = [one.cell.name for one in cells if _failed(one)]
    if failed:
        text = f"what stands behind {', '.join(failed)} does not fit"
        return Finding(claim=claim, outcome="FAIL", notes=(text,))
    absent = [one.cell.name for one in cells if one.value is None]
    if absent:
        return Finding(claim=claim, outcome="NOT RUN", notes=(f"not run: {', '.join(absent)}",))
    return None


def _failed(one: Judged) -> bool:
    return one.verdict == "FAIL" and one.value is None


def _of_seeds(samples: Sequence[Sample], cells: Iterable[Judged]) -> Iterator[str]:
    """Say which seeds were compared, where a side has others too, and whether it was one."""
    common = [sorted(layout) for sample in samples if sample.trained for layout in sample.layouts]
    used = {seed for seeds in common for seed in seeds}
    if any(one.cell.is_trained and set(seeds_of(one)) - used for one in cells):
        yield f"compared over the seeds of both sides: {', '.join(map(str, sorted(used)))}"
    if any(len(seeds) == 1 for seeds in common):
        yield ONE_SEED


def _samples(claim: Claim, expected: Expected, judged: Mapping[str, Judged]) -> list[Sample]:
    measure, scale = claim.measure or judged[claim.left].cell.measure, _scale(claim.left, expected)
    gain = difference(judged[claim.left], judged[claim.right], measure, scale)
    others = [difference(judged[one], judged[two], measure, scale) for one, two in claim.others]
    return [gain, *(excess(gain, other) for other in others)]


def _bounded(claim: Claim, expected: Expected, judged: Mapping[str, Judged]) -> Finding | _Question:
    """Return what must be tested of times in rounds, or decide single numbers: a count has no error."""
    left, right = judged[claim.left], judged[claim.right] if claim.right else None
    sample = rounds(left, right, claim.bound if right else claim.bound / _scale(claim.left, expected))
    if sample is None:
        divisor = 1.0
        if right is not None and right.value is not None:  # in the unit of the left one's table
            divisor = right.value * _scale(claim.left, expected) / _scale(claim.right, expected)
        return _counted(claim, left, divisor)
    if len(sample.values) >= FEWEST_ROUNDS:
        return _Question(claim=claim, samples=[sample])
    number = ratio(claim, float(sample.values.mean()))
    note = f"measured in {len(sample.values)} rounds, and a test needs {FEWEST_ROUNDS}"
    return Finding(claim=claim, outcome="UNDECIDED", difference=number, notes=(note,))


def _counted(claim: Claim, left: Judged, divisor: float) -> Finding:
    assert left.value is not None
    if not divisor:
        return Finding(claim=claim, outcome="FAIL", notes=(f"{claim.right} is 0: there is no ratio",))
    number = left.value / divisor
    holds = number <= claim.bound if claim.relation == "at-most" else number >= claim.bound
    note = f"{number:.4g}{'' if holds else ', wanted'} {sign(claim)} {claim.bound:g}"
    return Finding(
        claim=claim, outcome="HOLDS" if holds else "DOES NOT HOLD", difference=number, notes=(note,)
    )


def _scale(cell: str, expected: Expected) -> float:
    """Return what a measured number is multiplied with to be in the unit of the cell's table."""
    return expected.tables[cell.partition(".")[0]].scale
