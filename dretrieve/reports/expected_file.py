"""Reads expected.yaml strictly: an unknown key, a wrong type, a claim about no cell are errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from dretrieve.reports.claims_file import read_claim
from dretrieve.reports.conditions import check_conditions, joined
from dretrieve.reports.expected import (
    KINDS,
    TARGETS,
    UNITS,
    Cell,
    Column,
    Expected,
    PaperTable,
    Profile,
    Recorded,
    Row,
)
from dretrieve.reports.strict_yaml import Node, load_yaml

FILE = "expected.yaml"
TOP_KEYS = ("paper", "title", "reference", "tolerance", "chain", "profiles", "tables", "claims", "ours")
CELL_KEYS = ("paper", "corrected", "why", "source", "kind", "tolerance", "file", "measure", "key", "chain")
DEFAULT_TOLERANCE = {"exact": 0.0005, "stochastic": 0.02}
FIELDS = {"table", "row", "column", "seed", "profile"}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a cell is being read: what it takes from its surroundings when it does not say itself."""

    top: Node
    table: Node
    row: Node
    kind: str
    unit: str

    def tolerance(self, kind: str) -> float:
        """Return the nearest one given; the file's own is a fraction, those below are in the table's unit."""
        for node in (self.row, self.table):
            if "tolerance" in node:
                return node.number("tolerance")
        return self.kind_tolerance(kind)

    def kind_tolerance(self, kind: str) -> float:
        """Return the file's own for that kind, in the table's unit."""
        name = "exact" if kind == "exact" else "stochastic"
        given = self.top.node("tolerance")
        given.only(DEFAULT_TOLERANCE)
        return given.number(name, DEFAULT_TOLERANCE[name]) * (100.0 if self.unit == "percent" else 1.0)


def read_expected(path: Path) -> Expected:
    """Return what ``path`` (expected.yaml) says.

    Raises:
        PreconditionError: there is no such file.
        DataError: anything in it is not as recipes/README.md says; names the file and the key.
    """
    top = Node(path, "", load_yaml(path))
    top.only(TOP_KEYS)
    profiles = {name: _profile(name, node) for name, node in top.children("profiles").items()}
    if not profiles:
        raise top.wrong("profiles", "is missing: name at least one")
    tables = {name: _table(top, name, node) for name, node in top.children("tables").items()}
    if not tables:
        raise top.wrong("tables", "is missing: name at least one")
    expected = Expected(
        paper=top.text("paper"),
        title=top.text("title"),
        reference=top.text("reference", ""),
        profiles=profiles,
        tables=tables,
        claims={name: read_claim(name, node) for name, node in top.children("claims").items()},
        ours={name: _recorded(node) for name, node in top.children("ours").items()},
    )
    _check_names(top, expected)
    _check_profiles(top, expected)
    return expected


def _profile(name: str, node: Node) -> Profile:
    node.only(("title", "seeds", "target", "chain"))
    return Profile(
        name=name,
        title=node.text("title", ""),
        seeds=node.whole_numbers("seeds", (1,)),
        target=node.choice("target", TARGETS, "ours"),
        chain=_conditions(node),
    )


def _table(top: Node, name: str, node: Node) -> PaperTable:
    keys = (
        "title",
        "source",
        "unit",
        "decimals",
        "measure",
        "key",
        "file",
        "tolerance",
        "chain",
        "columns",
        "rows",
    )
    node.only(keys)
    unit = node.choice("unit", UNITS, "fraction")
    columns = {key: _column(key, child) for key, child in node.children("columns").items()}
    if not columns:
        raise node.wrong("columns", "is missing: name at least one")
    rows = {key: _row(top, node, (name, key), child, columns) for key, child in node.children("rows").items()}
    return PaperTable(
        name=name,
        title=node.text("title"),
        source=node.text("source", ""),
        unit=unit,
        decimals=int(node.number("decimals", {"percent": 1, "fraction": 3, "number": 0}[unit])),
        columns=columns,
        rows=rows,
    )


def _column(name: str, node: Node) -> Column:
    node.only(("title", "measure", "chain"))
    return Column(
        name=name, title=node.text("title", name), measure=node.text("measure", ""), chain=_conditions(node)
    )


def _row(top: Node, table: Node, names: tuple[str, str], node: Node, columns: Mapping[str, Column]) -> Row:
    node.only(("title", "source", "kind", "file", "measure", "key", "tolerance", "chain", "cells"))
    kind = node.choice("kind", KINDS, "stochastic")
    place = _Place(top, table, node, kind, table.text("unit", "fraction"))
    cells: dict[str, Cell] = {}
    given = node.node("cells")
    given.only(columns)
    for key, value in given.value.items():
        child = (
            given.node(key)
            if isinstance(value, Mapping)
            else Node(given.path, f"{given.place}.{key}", {"paper": value})
        )
        cells[key] = _cell(place, (*names, key), child, columns[key])
    return Row(
        name=names[1],
        title=node.text("title", names[1]),
        kind=kind,
        cells=cells,
        source=node.text("source", ""),
    )


def _cell(place: _Place, names: tuple[str, str, str], node: Node, column: Column) -> Cell:
    node.only(CELL_KEYS)
    kind = node.choice("kind", KINDS, place.kind)
    printed, corrected = node.maybe_number("paper"), node.maybe_number("corrected")
    if corrected is not None and not node.text("why", ""):
        raise node.wrong("why", "is missing: say why the printed number is wrong")
    if kind == "cited" and printed is None:
        raise node.wrong("paper", "is missing: a cited cell has nothing else to show")
    around = (node, place.row, place.table)
    file = next((source.text("file") for source in around if "file" in source), "")
    unknown = {field for _, field, _, _ in Formatter().parse(file) if field is not None} - FIELDS
    if unknown:
        raise node.wrong("file", f"holds {{{min(unknown)}}}; known are {', '.join(sorted(FIELDS))}")
    key = next((source.text("key") for source in around if "key" in source), "")
    measure = node.text("measure", "") or place.row.text("measure", "") or column.measure
    measure = measure or place.table.text("measure", "")
    if kind != "cited" and not file:
        raise node.wrong("file", "is missing here, in its row and in its table: where is the measured value?")
    if kind != "cited" and not (measure or key):
        raise node.wrong("measure", "is missing here, in its column and in its table")
    chain = joined(_conditions(place.top), _conditions(place.table), column.chain, _conditions(place.row))
    return Cell(
        table=names[0],
        row=names[1],
        column=names[2],
        kind=kind,
        printed=printed,
        corrected=corrected,
        why=node.text("why", ""),
        source=node.text("source", place.row.text("source", place.table.text("source", ""))),
        tolerance=node.number("tolerance", place.tolerance(kind)),
        kind_tolerance=place.kind_tolerance(kind),
        file=file,
        measure="" if key else measure,
        key=key,
        chain=joined(chain, _conditions(node)),
    )


def _recorded(profile: Node) -> dict[str, Recorded]:
    found = {}
    for name in profile.value:
        node = profile.node(name)
        node.only(("value", "spread", "seeds", "hardware", "commit", "date"))
        found[name] = Recorded(
            value=node.number("value"),
            spread=node.number("spread", 0.0),
            seeds=node.whole_numbers("seeds", (1,)),
            hardware=node.text("hardware"),
            commit=node.text("commit"),
            date=node.text("date"),
        )
    return found


def _conditions(node: Node) -> Mapping[str, Any]:
    given = node.node("chain")
    problem = check_conditions(given.value)
    if problem:
        raise given.wrong(*problem)
    return given.value


def _check_names(top: Node, expected: Expected) -> None:
    for claim in expected.claims.values():
        for name in claim.profiles:
            if name not in expected.profiles:
                known = ", ".join(expected.profiles)
                raise top.wrong(
                    f"claims.{claim.name}.profiles", f"names '{name}', no profile of this file ({known})"
                )
        for cell in claim.cells():
            if expected.cell(cell) is None:
                raise top.wrong(
                    f"claims.{claim.name}", f"speaks of '{cell}', which is no table.row.column of this file"
                )
    for profile, cells in expected.ours.items():
        if profile not in expected.profiles:
            raise top.wrong(f"ours.{profile}", f"is no profile of this file ({', '.join(expected.profiles)})")
        for cell in cells:
            if expected.cell(cell) is None:
                raise top.wrong(
                    f"ours.{profile}", f"records '{cell}', which is no table.row.column of this file"
                )


def _check_profiles(top: Node, expected: Expected) -> None:
    """Refuse a chain's condition at a profile that there is not: it would never be asked."""
    for place, chain in _chains("", top.value):
        for part in (chain, chain.get("before", {})):
            for name in part.get("profiles", {}):
                if name not in (*expected.profiles, "else"):
                    known = ", ".join(expected.profiles)
                    raise top.wrong(f"{place}.profiles", f"names '{name}', no profile of this file ({known})")


def _chains(place: str, value: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every ``chain`` below, with its place."""
    for key, inside in value.items():
        where = f"{place}.{key}" if place else key
        if key == "chain":
            yield where, inside or {}
        elif isinstance(inside, Mapping):
            yield from _chains(where, inside)
