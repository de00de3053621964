"""What a recipe expects: a paper's tables cell by cell, its claims, and what we measured ourselves.

``recipes/<paper>/expected.yaml`` holds them; `reports.expected_file` reads it, `reports.recorded` writes our
values back. recipes/README.md explains every key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

Kind = Literal["exact", "stochastic", "cited", "unknown"]
Unit = Literal["percent", "fraction", "number"]
Target = Literal["ours", "paper"]
Relation = Literal["above", "not-below", "equal", "most", "at-most", "at-least"]
BOUNDED: tuple[Relation, ...] = ("at-most", "at-least")
RECORDED_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One size at which a recipe is run.

    Attributes:
        seeds: those that fill ``{seed}`` in file names; a cell is the mean over those that were run.
        target: what a verdict compares with: the value that we recorded, or the paper's.
    """

    name: str
    title: str = ""
    seeds: tuple[int, ...] = (1,)
    target: Target = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
        title: its head; the whole of a column may stand for it.
        file: of its numbers, where not the table's.
        average: other columns of the table, whose mean it is.
    """

    SHORT: ClassVar[str] = "title"
    name: str
    title: str = ""
    measure: str = ""
    file: str = ""
    average: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number of a table: the paper's, and where ours is found.

    Attributes:
        kind: ``exact`` (deterministic), ``stochastic`` (trained), ``cited`` (someone else's system, never
            ours), ``unknown`` (the paper's number cannot be recovered; no target is invented).
        printed: the paper's number in the table's unit; None where it prints none.
        corrected: the right number where the paper erred.
        tolerance: how far a measured value may lie from the paper's, in the table's unit.
        kind_tolerance: how far it may lie from a value that we recorded: the file's own for this kind, in the
            table's unit. What a table, row or cell says is about how the paper prints its numbers.
        file: the metrics file (or, with ``key``, the artefact), relative to the work folder; may hold
            ``{table} {row} {column} {seed} {profile}``.
        key: instead of a measure: dotted place in the artefact's manifest (``counts.parameters``); may hold
            ``{row}`` and ``{column}``.
        average: instead of file and measure: the cells of its row whose mean it is.
    """

    table: str
    row: str
    column: str
    kind: Kind = "stochastic"
    printed: float | None = field(default=None, metadata={"key": "paper"})
    corrected: float | None = None
    why: str = ""
    source: str = ""
    tolerance: float
    kind_tolerance: float
    file: str = ""
    measure: str = ""
    key: str = ""
    average: tuple[Cell, ...] = ()

    @property
    def is_trained(self) -> bool:
        """Whether it has a value for every seed; BM25's and an untuned model's have one for all."""
        return "{seed}" in self.file or any(cell.is_trained for cell in self.average)

    @property
    def name(self) -> str:
        """``table.row.column``."""
        return f"{self.table}.{self.row}.{self.column}"

    @property
    def paper(self) -> float | None:
        """The paper's number, corrected where it erred."""
        return self.printed if self.corrected is None else self.corrected


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table."""

    name: str
    title: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """One table of the paper; numbers are in ``unit`` everywhere (percent: 62.9 for .629)."""

    name: str
    title: str
    unit: Unit = "fraction"
    decimals: int
    columns: Mapping[str, Column] = field(default_factory=dict)
    rows: Mapping[str, Row] = field(default_factory=dict)
    source: str = ""

    @property
    def scale(self) -> float:
        """What a measured value is multiplied with to be in the table's unit."""
        return 100.0 if self.unit == "percent" else 1.0

    def cells(self) -> list[Cell]:
        """Return all cells, row by row."""
        return [cell for row in self.rows.values() for cell in row.cells.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One of the paper's sentences as a comparison of cells.

    Attributes:
        relation: ``above`` (left significantly above right); ``not-below`` (left not more than ``margin``
            below right); ``equal`` (difference within ``margin``); ``most`` (left minus right is above 0 and
            larger than each difference in ``others``); ``at-most`` and ``at-least`` (the number left, or left
            divided by right, against ``bound``).
        right: the cell it is compared with; empty for a bound on one number.
        measure: compared per query; empty takes the left cell's.
        margin: in the table's unit.
        bound: of ``at-most`` and ``at-least``.
        others: pairs of cells, of ``most``.
        profiles: at which it is shown and tested; empty for all.
        over: columns, in the file: a claim for each, its ``{column}`` and ``{title}`` in the texts.
    """

    name: str
    says: str
    relation: Relation
    left: str
    source: str = ""
    right: str = ""
    measure: str = ""
    margin: float = 0.0
    bound: float = 0.0
    others: tuple[tuple[str, str], ...] = ()
    profiles: tuple[str, ...] = ()
    over: tuple[str, ...] = ()

    def shown_at(self, profile: str) -> bool:
        """Return whether the claim belongs to the profile."""
        return not self.profiles or profile in self.profiles

    def cells(self) -> list[str]:
        """Return the names of all cells that the claim looks at."""
        names = [self.left, self.right, *(name for pair in self.others for name in pair)]
        return [name for name in dict.fromkeys(names) if name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A value that we measured earlier, with everything needed to measure it again, and its marks."""

    value: float
    spread: float
    seeds: tuple[int, ...] = (1,)
    hardware: str
    commit: str
    date: str
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A whole expected.yaml.

    Attributes:
        profiles: by name, the default first.
        ours: profile to cell name to what we recorded.
        outcomes: profile to claim name to what our numbers said about it, as the page has it.
    """

    paper: str
    title: str
    reference: str = ""
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    tables: Mapping[str, PaperTable] = field(default_factory=dict)
    claims: Mapping[str, Claim] = field(default_factory=dict)
    ours: Mapping[str, Mapping[str, Recorded]] = field(default_factory=dict)
    outcomes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def cells(self) -> dict[str, Cell]:
        """Return ``table.row.column`` to cell, in the order of tables, rows, columns."""
        return {cell.name: cell for table in self.tables.values() for cell in table.cells()}

    def cell(self, name: str) -> Cell | None:
        """Return the cell ``table.row.column``, or None."""
        return self.cells().get(name)
