"""What a measured value is worth beside what was expected: OK, CLOSE, BETTER, FAIL, NOT RUN.

Higher than expected is not a pass: a leak between training and test looks like that.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from dretrieve.reports.expected import RECORDED_DECIMALS, Cell, Expected, PaperTable, Profile, Recorded
from dretrieve.reports.readings import Place, Reading, averaged, read_cell
from dretrieve.reports.trained import MARK

Verdict = Literal["OK", "CLOSE", "BETTER", "FAIL", "NOT RUN", "NO TARGET", "CITED"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
CLOSE_FACTOR = 1.5
# A number that is no share and not exact is a time. On one machine times differ by so much of themselves.
TIME_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One cell with its verdict; numbers are in the table's unit.

    Attributes:
        value: mean over the seeds; None where there is none or its chain does not fit.
        spread: standard deviation between seeds, 0 for one.
        target: what the value was held against.
        marks: further words beside the verdict: UNDERTRAINED (see `reports.trained`).
        recorded: where the value comes from, if not from a work folder.
    """

    cell: Cell
    verdict: Verdict
    readings: Sequence[Reading] = ()
    value: float | None = None
    spread: float = 0.0
    target: float | None = None
    tolerance: float = 0.0
    seeds: tuple[int, ...] = ()
    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    recorded: Recorded | None = None

    @property
    def difference(self) -> float | None:
        """Value minus target."""
        return None if self.value is None or self.target is None else self.value - self.target

    @property
    def words(self) -> str:
        """The verdict as it is printed, with marks."""
        return " · ".join([self.verdict, *self.marks, *(["RECORDED"] if self.recorded else [])])


def judge_all(expected: Expected, place: Place) -> dict[str, Judged]:
    """Return cell name to verdict, for every cell of every table."""
    ours, cells = expected.ours.get(place.profile.name, {}), expected.cells()
    read = {name: read_cell(cell, place) for name, cell in cells.items()}
    read |= {name: averaged(cell, place.profile, read) for name, cell in cells.items() if cell.average}
    return {
        name: judge(cell, expected.tables[cell.table], read[name], place.profile, ours.get(name))
        for name, cell in cells.items()
    }


def judge(
    cell: Cell,
    table: PaperTable,
    readings: Sequence[Reading],
    profile: Profile,
    recorded: Recorded | None,
) -> Judged:
    """Return the verdict on one cell.

    The profile decides whether the target is the paper's value or the recorded one.
    """
    if cell.kind == "cited":
        return Judged(cell=cell, verdict="CITED", notes=(f"cited: {cell.source}",) if cell.source else ())
    if not readings:
        return Judged(cell=cell, verdict="NOT RUN", target=_target(cell, profile, recorded))
    problems = tuple(dict.fromkeys(text for reading in readings for text in reading.problems))
    if problems:
        return Judged(cell=cell, verdict="FAIL", readings=readings, notes=problems)
    values = [reading.value * table.scale for reading in readings if reading.value is not None]
    early = tuple(dict.fromkeys(text for reading in readings for text in reading.undertrained))
    return replace(
        _judged(
            cell,
            table,
            profile,
            recorded,
            (statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0),
        ),
        readings=readings,
        seeds=tuple(reading.seed for reading in readings),
        marks=(MARK,) if early else (),
        notes=(*_seed_notes(cell, profile, readings), *early),
    )


def recorded_all(expected: Expected, profile: Profile) -> dict[str, Judged]:
    """Return what `judge_all` returns, of the values that we recorded instead of those of a work folder."""
    ours = expected.ours.get(profile.name, {})
    found = {}
    for name, cell in expected.cells().items():
        table, recorded = expected.tables[cell.table], ours.get(name)
        found[name] = judge(cell, table, (), profile, recorded)
        if recorded is not None and cell.kind != "cited":
            one = _judged(cell, table, profile, recorded, (recorded.value, recorded.spread))
            found[name] = replace(one, seeds=recorded.seeds, marks=recorded.marks, recorded=recorded)
    return found


def _judged(
    cell: Cell, table: PaperTable, profile: Profile, recorded: Recorded | None, measured: tuple[float, float]
) -> Judged:
    """Return the verdict on a value and its spread between seeds."""
    value, spread = measured
    target = _target(cell, profile, recorded)
    tolerance = _tolerance(cell, table, profile, recorded)
    word: Verdict = "NO TARGET"
    if target is not None:
        ours = value if profile.target == "paper" else round(value, RECORDED_DECIMALS)  # as target is
        is_count = any(one.key for one in (cell, *cell.average))
        word = _word(ours - target, tolerance, is_count=is_count)
    return Judged(cell=cell, verdict=word, value=value, spread=spread, target=target, tolerance=tolerance)


def _target(cell: Cell, profile: Profile, recorded: Recorded | None) -> float | None:
    if profile.target == "paper":
        return None if cell.kind == "unknown" else cell.paper
    return recorded.value if recorded else None


def _tolerance(cell: Cell, table: PaperTable, profile: Profile, recorded: Recorded | None) -> float:
    """Return how far the value may lie from its target, in the table's unit.

    From the paper's: what the cell says. From our own: what the file says of the kind; a count must be met
    exactly, a time within a share of itself. Twice the recorded spread between seeds is always allowed.
    """
    spread = 2 * recorded.spread if recorded and cell.kind == "stochastic" else 0.0
    if profile.target == "paper":
        return max(cell.tolerance, spread)
    if table.unit != "number":
        return max(cell.kind_tolerance, spread)
    share = 0.0 if cell.kind == "exact" or recorded is None else TIME_SHARE
    return max(share * abs(recorded.value) if recorded else 0.0, spread)


def _word(difference: float, tolerance: float, *, is_count: bool) -> Verdict:
    """Return the verdict on a difference; a count has no better side."""
    distance = abs(difference)
    slack = 1e-9 * max(1.0, distance)
    if distance <= tolerance + slack:
        return "OK"
    if distance <= CLOSE_FACTOR * tolerance + slack:
        return "CLOSE"
    return "BETTER" if difference > 0 and not is_count else "FAIL"


def _seed_notes(cell: Cell, profile: Profile, readings: Sequence[Reading]) -> tuple[str, ...]:
    wanted = len(profile.seeds) if cell.is_trained else 1
    if len(readings) == wanted:
        return ()
    return (f"{len(readings)} of {wanted} seeds were run ({', '.join(str(one.seed) for one in readings)})",)


def tally(verdicts: Iterable[str]) -> dict[str, int]:
    """Return how often each verdict was given, in the fixed order, without those never given."""
    counts = Counter(verdicts)
    return {word: counts[word] for word in VERDICTS if counts[word]}
