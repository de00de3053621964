"""Systems side by side on one query set: means, marks of significance, without any expectation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, UsageError
from dretrieve.metrics.significance import LEVEL, holm, paired_t_test, randomization_test
from dretrieve.reports.metrics_file import Measured
from dretrieve.reports.tables import Cell, Table

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SUPERSCRIPT = str.maketrans("abcdefghijklmnoprstuvwxyz0123456789", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One row: a title and what was measured."""

    title: str
    measured: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows over the same queries in the same measures.

    Attributes:
        better: measure to pairs (row, row that it is significantly above).
        intervals: measure to [rows, 2], the 95 % interval of each mean.
        left_out: measures whose number is no mean over queries: counts, geometric means.
    """

    systems: Sequence[System]
    measures: Sequence[str]
    better: dict[str, set[tuple[int, int]]]
    intervals: dict[str, NDArray[np.float64]]
    left_out: Sequence[str] = ()

    @property
    def num_queries(self) -> int:
        """How many queries every row was measured on."""
        return len(self.systems[0].measured.query_ids)


def compare_systems(systems: Sequence[System]) -> Comparison:
    """Return the comparison of all rows with each other.

    Every pair of rows is tested in every measure by the paired randomisation test; the p-values of one
    measure are Holm-corrected together.

    Raises:
        UsageError: no rows; two rows of one title.
        DataError: rows of other queries, without a measure in common, or with none whose number is a mean.
    """
    if not systems:
        raise UsageError("there is nothing to compare: no metrics file was found or named")
    titles = [system.title for system in systems]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        raise UsageError(f"two rows are called '{twice[0]}'; give each its own name: --row NAME=FILE")
    first = systems[0].measured
    common = [name for name in first.values if all(name in one.measured.values for one in systems)]
    if not common:
        raise DataError(
            "the metrics files have no measure in common; evaluate all runs with the same --metrics"
        )
    every = [of.measured for of in systems]
    measures = [
        name
        for name in common  # of which the number of all queries is the mean of theirs
        if all(math.isclose(one.means[name], one.values[name].mean(), rel_tol=1e-9) for one in every)
    ]
    left_out = [name for name in common if name not in measures]
    if not measures:
        raise DataError(
            f"{', '.join(left_out)}: no means over queries, which alone are compared; evaluate all runs "
            "with another measure, such as nDCG@10"
        )
    columns = [_aligned(first, system) for system in systems]
    better = {name: _better([column[name] for column in columns]) for name in measures}
    intervals = {name: np.array([paired_t_test(column[name])[1:] for column in columns]) for name in measures}
    return Comparison(
        systems=systems, measures=measures, better=better, intervals=intervals, left_out=left_out
    )


def label(row: int) -> str:
    """Return the row's letter: a to z, then a2 to z2, a3 …, which stay apart when several stand together."""
    rounds, place = divmod(row, len(LETTERS))
    return LETTERS[place] + (str(rounds + 1) if rounds else "")


def _aligned(first: Measured, system: System) -> dict[str, NDArray[np.float64]]:
    """Return the values of a row in the first row's order of queries."""
    measured = system.measured
    if list(measured.query_ids) == list(first.query_ids):
        return dict(measured.values)
    place = {query_id: row for row, query_id in enumerate(measured.query_ids)}
    if set(place) != set(first.query_ids):
        raise DataError(
            f"'{system.title}' was measured on other queries than '{first.name}' ({len(place):,} against "
            f"{len(first.query_ids):,}); evaluate all runs against the same judgements"
        )
    order = np.array([place[query_id] for query_id in first.query_ids], dtype=np.int64)
    return {name: values[order] for name, values in measured.values.items()}


def _better(columns: Sequence[NDArray[np.float64]]) -> set[tuple[int, int]]:
    pairs = list(combinations(range(len(columns)), 2))
    differences = [columns[one] - columns[other] for one, other in pairs]
    p_values = holm([randomization_test(each) for each in differences])
    found = set()
    for (one, other), each, p in zip(pairs, differences, p_values, strict=True):
        if p < LEVEL:
            found.add((one, other) if each.mean() > 0 else (other, one))
    return found


def comparison_table(comparison: Comparison) -> Table:
    """Return the table; a value carries the letters of the rows that it is significantly above."""
    rows: list[list[Cell]] = []
    for row, system in enumerate(comparison.systems):
        means = system.measured.means
        rows.append([label(row), system.title, *(means[name] for name in comparison.measures)])
    notes = [f"{comparison.num_queries:,} queries"]
    if len(rows) > 1:
        notes[0] += (
            "; a raised letter: significantly above that row (paired randomisation test, "
            f"Holm-corrected p < {LEVEL:g})"
        )
    if comparison.left_out:
        notes.append(f"{', '.join(comparison.left_out)}: not compared, only means over queries are")
    return Table(
        columns=["", "system", *comparison.measures],
        rows=rows,
        notes=notes,
        decimals=3,
        best=frozenset(range(2, 2 + len(comparison.measures))),
        marks=_marks(comparison),
    )


def _marks(comparison: Comparison) -> dict[tuple[int, int], str]:
    """Return the raised letters, padded to one width in each column so that the numbers stay in line."""
    marks: dict[tuple[int, int], str] = {}
    for column, name in enumerate(comparison.measures, 2):
        below = [
            "".join(label(other) for one, other in sorted(comparison.better[name]) if one == row)
            for row in range(len(comparison.systems))
        ]
        width = max(map(len, below))
        marks |= {
            (row, column): text.translate(SUPERSCRIPT).ljust(width) for row, text in enumerate(below) if width
        }
    return marks
