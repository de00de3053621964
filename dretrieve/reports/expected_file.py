"""Reads expected.yaml strictly: an unknown key, a wrong type, a claim about no cell are errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import Any

from dretrieve.reports.expected import (
    BOUNDED,
    KINDS,
    RELATIONS,
    TARGETS,
    UNITS,
    Cell,
    Claim,
    Column,
    Expected,
    PaperTable,
    Profile,
    Recorded,
    Row,
)
from dretrieve.reports.strict_yaml import Node, load_yaml

FILE = "expected.yaml"
TOP_KEYS = ("paper", "title", "reference", "tolerance", "profiles", "rows", "tables", "claims", "ours")
ROW_KEYS = ("title", "source", "kind", "file", "measure", "key", "tolerance")
TABLE_KEYS = (*ROW_KEYS, "unit", "decimals", "columns", "ours", "rows")
CELL_KEYS = ("paper", "corrected", "why", "source", "kind", "tolerance", "file", "measure", "key")
CLAIM_KEYS = (
    *("says", "source", "relation", "left", "right", "measure", "margin", "bound", "others", "profiles"),
    "over",
)
DEFAULT_TOLERANCE = {"exact": 0.0005, "stochastic": 0.02}
FIELDS = {"table", "row", "column", "seed", "profile"}
OURS = "ours"  # in a cell's place: we measure it, the paper prints nothing
UNSEEDED = ".{seed}"  # left out of the file name of a row that no seed makes


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
    ours = top.children("ours")
    expected = Expected(
        paper=top.text("paper"),
        title=top.text("title"),
        reference=top.text("reference", ""),
        profiles=profiles,
        tables=tables,
        claims={
            claim.name: claim
            for name, node in top.children("claims").items()
            for claim in _claims(name, node, tables)
        },
        ours={name: dict(_recorded(node)) for name, node in ours.items()},
        outcomes={name: _outcomes(node) for name, node in ours.items()},
    )
    _check_names(top, expected)
    return expected


def _profile(name: str, node: Node) -> Profile:
    node.only(("title", "seeds", "target"))
    return Profile(
        name=name,
        title=node.text("title", ""),
        seeds=node.whole_numbers("seeds", (1,)),
        target=node.choice("target", TARGETS, "ours"),
    )


def _table(top: Node, name: str, node: Node) -> PaperTable:
    node.only(TABLE_KEYS)
    unit = node.choice("unit", UNITS, "fraction")
    columns = {
        key: _column(key, node.node("columns"), value) for key, value in node.node("columns").value.items()
    }
    if not columns:
        raise node.wrong("columns", "is missing: name at least one")
    given = {key: [OURS] * len(columns) for key in node.texts("ours")} | dict(node.node("rows").value)
    known = top.node("rows").value
    order = sorted(given, key=lambda key: list(known).index(key) if key in known else len(known))
    rows = {key: _row(top, node, key, given[key], columns) for key in order}
    return PaperTable(
        name=name,
        title=node.text("title"),
        source=node.text("source", ""),
        unit=unit,
        decimals=int(node.number("decimals", {"percent": 1, "fraction": 3, "number": 0}[unit])),
        columns=columns,
        rows={
            key: replace(row, cells={cell.column: replace(cell, table=name) for cell in row.cells.values()})
            for key, row in rows.items()
        },
    )


def _column(name: str, parent: Node, value: Any) -> Column:
    """Return a column: its title, or a mapping."""
    node = parent.node(name) if not isinstance(value, str) else parent.child(name, {"title": value})
    node.only(("title", "measure"))
    return Column(name=name, title=node.text("title", name), measure=node.text("measure", ""))


def _row(top: Node, table: Node, name: str, given: Any, columns: Mapping[str, Column]) -> Row:
    """Return a row, a list of cells in the order of the columns or a mapping; ``rows`` has its defaults."""
    rows, known = table.node("rows"), top.node("rows").value.get(name, {})
    shared = {"title": known} if isinstance(known, str) else known
    top.node("rows").child(name, shared).only(ROW_KEYS)
    own = {"cells": given} if isinstance(given, list) else given
    node = rows.child(name, {**shared, **own} if isinstance(own, Mapping) else own)
    node.only((*ROW_KEYS, "cells"))
    cells = node.value.get("cells", {})
    if isinstance(cells, list):
        if len(cells) > len(columns):
            raise node.wrong("cells", f"holds {len(cells)} cells for {len(columns)} columns")
        cells = dict(zip(columns, cells, strict=False))
    kind = node.choice("kind", KINDS, table.choice("kind", KINDS, "stochastic"))
    parent = node.child("cells", {key: value for key, value in cells.items() if value is not None})
    parent.only(columns)
    found = {}
    for key, value in parent.value.items():
        inner = value if isinstance(value, Mapping) else {} if value == OURS else {"paper": value}
        found[key] = _cell((top, table, node), kind, (name, columns[key]), parent.child(key, inner))
    return Row(
        name=name,
        title=node.text("title", name),
        kind=kind,
        cells=found,
        source=node.text("source", ""),
    )


def _cell(around: tuple[Node, Node, Node], row_kind: str, names: tuple[str, Column], node: Node) -> Cell:
    top, table, row = around
    column = names[1]
    node.only(CELL_KEYS)
    kind = node.choice("kind", KINDS, row_kind)
    printed, corrected = node.maybe_number("paper"), node.maybe_number("corrected")
    if corrected is not None and not node.text("why", ""):
        raise node.wrong("why", "is missing: say why the printed number is wrong")
    if kind == "cited" and printed is None:
        raise node.wrong("paper", "is missing: a cited cell has nothing else to show")
    said = {
        key: next((of.text(key) for of in (node, row, table) if key in of), "")
        for key in ("file", "key", "source")
    }
    file = said["file"].replace(UNSEEDED, "") if kind == "exact" else said["file"]
    unknown = {field for _, field, _, _ in Formatter().parse(file) if field is not None} - FIELDS
    if unknown:
        raise node.wrong("file", f"holds {{{min(unknown)}}}; known are {', '.join(sorted(FIELDS))}")
    measure = (
        node.text("measure", "") or row.text("measure", "") or column.measure or table.text("measure", "")
    )
    if kind != "cited" and not file:
        raise node.wrong("file", "is missing here, in its row and in its table: where is the measured value?")
    if kind != "cited" and not (measure or said["key"]):
        raise node.wrong("measure", "is missing here, in its column and in its table")
    known = _tolerance(top, kind, table.text("unit", "fraction"))
    return Cell(
        table="",
        row=names[0],
        column=column.name,
        kind=kind,
        printed=printed,
        corrected=corrected,
        why=node.text("why", ""),
        source=said["source"],
        tolerance=next((of.number("tolerance") for of in (node, row, table) if "tolerance" in of), known),
        kind_tolerance=known,
        file=file,
        measure="" if said["key"] else measure,
        key=said["key"],
    )


def _tolerance(top: Node, kind: str, unit: str) -> float:
    """Return the file's own for that kind, in the table's unit; it is given as a fraction."""
    name = "exact" if kind == "exact" else "stochastic"
    given = top.node("tolerance")
    given.only(DEFAULT_TOLERANCE)
    return given.number(name, DEFAULT_TOLERANCE[name]) * (100.0 if unit == "percent" else 1.0)


def _claims(name: str, node: Node, tables: Mapping[str, PaperTable]) -> Iterator[Claim]:
    """Yield the claim; of one over columns each, with its ``{column}`` and ``{title}`` in the texts."""
    node.only(CLAIM_KEYS)
    if "over" not in node:
        yield _claim(name, node)
        return
    table = tables.get(node.text("left").partition(".")[0])
    for key in node.texts("over"):
        column = table.columns.get(key) if table else None
        if column is None:
            raise node.wrong("over", f"names '{key}', no column of the table of {node.text('left')}")
        texts = {
            word: text.format(column=key, title=column.title)
            for word, text in node.value.items()
            if isinstance(text, str)
        }
        yield _claim(name.format(column=key), node.like({**node.value, **texts}))


def _claim(name: str, node: Node) -> Claim:
    relation = node.choice("relation", RELATIONS)
    bounded = relation in BOUNDED
    if not bounded and "right" not in node:
        raise node.wrong("right", f"is missing: '{relation}' compares two cells")
    if bounded and "bound" not in node:
        raise node.wrong("bound", f"is missing: '{relation}' needs the number it is held against")
    if relation in ("not-below", "equal") and node.number("margin", 0.0) <= 0:
        raise node.wrong(
            "margin", f"must be above 0: '{relation}' needs the difference that would not matter"
        )
    others = []
    for pair in node.items("others"):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise node.wrong("others", "must be a list of pairs of cells: [[left, right], …]")
        others.append((pair[0], pair[1]))
    if (relation == "most") != bool(others):
        raise node.wrong("others", "belongs to the relation 'most', which needs at least one pair")
    if "profiles" in node and not node.texts("profiles"):
        raise node.wrong("profiles", "must not be empty; leave it out for all of them")
    return Claim(
        name=name,
        says=node.text("says"),
        source=node.text("source", ""),
        relation=relation,
        left=node.text("left"),
        right=node.text("right", ""),
        measure=node.text("measure", ""),
        margin=node.number("margin", 0.0),
        bound=node.number("bound", 0.0),
        others=tuple(others),
        profiles=tuple(node.texts("profiles")),
    )


def _recorded(profile: Node) -> Iterator[tuple[str, Recorded]]:
    """Yield cell name to what was recorded: ``NUMBER``, or ``NUMBER ± SPREAD MARK…``, a line for each row."""
    profile.only(("claims", "runs"))
    for number, given in enumerate(profile.items("runs")):
        node = profile.child(f"runs.{number}", given)
        node.only(("about", "cells"))
        about = node.node("about")
        about.only(("hardware", "commit", "date", "seeds"))
        for row in node.node("cells").value:
            cells = node.node("cells").node(row)
            for column, value in cells.value.items():
                words = str(value).split()
                spread = words[2] if words[1:2] == ["±"] else "0"
                try:
                    numbers = float(words[0]), float(spread)
                except (ValueError, IndexError):
                    raise cells.wrong(column, f"must be NUMBER or NUMBER ± SPREAD, not '{value}'") from None
                yield (
                    f"{row}.{column}",
                    Recorded(
                        value=numbers[0],
                        spread=numbers[1],
                        seeds=about.whole_numbers("seeds", (1,)),
                        hardware=about.text("hardware"),
                        commit=about.text("commit"),
                        date=about.text("date"),
                        marks=tuple(words[3:] if spread != "0" else words[1:]),
                    ),
                )


def _outcomes(profile: Node) -> dict[str, str]:
    node = profile.node("claims")
    return {name: node.text(name) for name in node.value}


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
        for name in expected.outcomes[profile]:
            if name not in expected.claims:
                raise top.wrong(f"ours.{profile}.claims", f"records '{name}', which is no claim of this file")
