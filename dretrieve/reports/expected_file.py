"""Reads expected.yaml strictly: an unknown key, a wrong type, a claim about no cell are errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from string import Formatter
from typing import Any

from dretrieve.errors import DataError
from dretrieve.reports.claims_table import outcome_of
from dretrieve.reports.expected import BOUNDED, Cell, Claim, Expected, PaperTable, Recorded, Row
from dretrieve.reports.strict_yaml import WrongError, load_yaml, mapping, read

FILE = "expected.yaml"
HEAD_KEYS = ("paper", "title", "reference", "profiles", "claims")
TOP_KEYS = (*HEAD_KEYS, "tolerance", "rows", "tables", "ours")
SAID = ("source", "kind", "file", "measure", "key", "tolerance")  # of a table, row, cell: the nearest counts
TABLE_KEYS = ("title", "unit", "decimals", "columns")
CELL_KEYS = (*SAID, "paper", "corrected", "why")
WHERE = ("file", "measure", "key")  # not of an average
ABOUT_KEYS = ("hardware", "commit", "date", "seeds")
TOLERANCE = {"exact": 0.0005, "stochastic": 0.02}
DECIMALS = {"percent": 1, "fraction": 3, "number": 0}
FIELDS = {"table", "row", "column", "seed", "profile"}
OURS = "ours"  # in a cell's place: we measure it, the paper prints nothing
UNSEEDED = ".{seed}"  # left out of the file name of a row that no seed makes
MISSING = "is missing: name at least one"
Given = Mapping[str, Any]


def read_expected(path: Path) -> Expected:
    """Return what ``path`` (expected.yaml) says.

    Raises:
        PreconditionError: there is no such file.
        DataError: anything in it is not as recipes/README.md says; names the file and the key.
    """
    value = load_yaml(path)
    try:
        top = mapping(value, "", TOP_KEYS)
        head: Expected = read(Expected, {key: top[key] for key in HEAD_KEYS if key in top})
        tables = mapping(top.get("tables"), "tables")
        tables = {name: _table(top, f"tables.{name}", given) for name, given in tables.items()}
        ours = {
            name: mapping(given, f"ours.{name}", ("claims", "runs"))
            for name, given in mapping(top.get("ours"), "ours").items()
        }
        expected = replace(
            head,
            tables=tables,
            claims={one.name: one for claim in head.claims.values() for one in _claims(claim, tables)},
            ours={
                name: dict(_recorded(f"ours.{name}.runs", given.get("runs"))) for name, given in ours.items()
            },
            outcomes={
                name: _outcomes(f"ours.{name}.claims", given.get("claims")) for name, given in ours.items()
            },
        )
        _check_names(expected)
    except WrongError as error:
        raise DataError(f"{path}: {error}") from None
    return expected


def _table(top: Given, place: str, value: Any) -> PaperTable:
    given = mapping(value, place, (*TABLE_KEYS, *SAID, "ours", "rows"))
    plain = {key: given[key] for key in (*TABLE_KEYS, "source") if key in given}
    table: PaperTable = read(
        PaperTable, {"decimals": DECIMALS.get(str(given.get("unit", "fraction")), 0), **plain}, place
    )
    said = {key: given[key] for key in SAID if key in given}
    given_tolerance = mapping(top.get("tolerance"), "tolerance", list(TOLERANCE))
    shares = TOLERANCE | read(Mapping[str, float], given_tolerance, "tolerance")
    said["tolerances"] = {name: share * table.scale for name, share in shares.items()}
    if not table.columns:
        raise WrongError(f"{place}.columns", MISSING)
    for key, column in table.columns.items():
        for one in column.average:
            if one not in table.columns or table.columns[one].average:
                text = f"names '{one}', no column of this table with numbers of its own"
                raise WrongError(f"{place}.columns.{key}.average", text)
    ours = read(tuple[str, ...], given["ours"], f"{place}.ours") if "ours" in given else ()
    rows = dict.fromkeys(ours, [OURS] * len(table.columns)) | mapping(given.get("rows"), f"{place}.rows")
    known = {
        name: mapping({"title": about} if isinstance(about, str) else about, f"rows.{name}", ("title", *SAID))
        for name, about in mapping(top.get("rows"), "rows").items()
    }
    order = sorted(rows, key=lambda name: list(known).index(name) if name in known else len(known))
    found = {}
    for name in order:
        row = {"cells": rows[name]} if isinstance(rows[name], list) else rows[name]
        row = mapping(row, f"{place}.rows.{name}", ("title", "cells", *SAID))
        found[name] = _row(table, f"{place}.rows.{name}", said, {**known.get(name, {}), **row})
    columns = {key: replace(column, title=column.title or key) for key, column in table.columns.items()}
    return replace(table, columns=columns, rows=found)


def _row(table: PaperTable, place: str, said: Given, given: Given) -> Row:
    cells, name = given.get("cells"), place.partition(".rows.")[2]
    if isinstance(cells, list):
        if len(cells) > len(table.columns):
            raise WrongError(f"{place}.cells", f"holds {len(cells)} cells for {len(table.columns)} columns")
        cells = dict(zip(table.columns, cells, strict=False))
    cells = mapping(cells, f"{place}.cells", list(table.columns))
    found: dict[str, Cell] = {}
    for key, column in sorted(table.columns.items(), key=lambda item: bool(item[1].average)):
        is_whole = bool(column.average) and all(one in found for one in column.average)
        value = cells.get(key, OURS if is_whole else None)
        if value is None:
            continue
        own = {word: getattr(column, word) for word in ("file", "measure") if getattr(column, word)}
        around = {**said, **own, **{word: given[word] for word in SAID if word in given}}
        around |= {"table": table.name, "row": name, "column": key}
        value = {} if value == OURS else value
        found[key] = _cell(f"{place}.cells.{key}", around, value, column.average, found)
    cells = {key: found[key] for key in table.columns if key in found}
    return Row(name=name, title=read(str, given.get("title", name), f"{place}.title"), cells=cells)


def _cell(
    place: str, around: dict[str, Any], value: Any, average: Sequence[str], others: Mapping[str, Cell]
) -> Cell:
    legal = [key for key in CELL_KEYS if not (average and key in WHERE)]
    own = mapping(value if isinstance(value, Mapping) else {"paper": value}, place, legal)
    given = {**around, **own}
    known = given.pop("tolerances")["exact" if given.get("kind") == "exact" else "stochastic"]
    cell: Cell = read(Cell, {"tolerance": known, "kind_tolerance": known, **given}, place)
    if cell.corrected is not None and not cell.why:
        raise WrongError(f"{place}.why", "is missing: say why the printed number is wrong")
    cell = _averaged(place, cell, average, others) if average else _measured(place, cell)
    if cell.kind == "cited" and cell.paper is None:
        raise WrongError(f"{place}.paper", "is missing: a cited cell has nothing else to show")
    return cell


def _averaged(place: str, cell: Cell, average: Sequence[str], others: Mapping[str, Cell]) -> Cell:
    """Return the cell as a mean of others; where the paper prints none, its number is that of theirs."""
    absent = [key for key in average if key not in others]
    if absent and cell.kind != "cited":
        raise WrongError(place, f"is the mean of {', '.join(average)}: the row has no {', '.join(absent)}")
    cells = tuple(others[key] for key in average) if not absent else ()
    numbers = [one.paper for one in cells if one.paper is not None]
    if cell.paper is None and numbers and len(numbers) == len(average):
        cell = replace(cell, corrected=statistics.fmean(numbers), why="this is the mean of what it prints")
    return replace(cell, file="", measure="", key="", average=cells)


def _measured(place: str, cell: Cell) -> Cell:
    """Return the cell as it is measured."""
    file = cell.file.replace(UNSEEDED, "") if cell.kind == "exact" else cell.file
    unknown = {word for _, word, _, _ in Formatter().parse(file) if word is not None} - FIELDS
    if unknown:
        raise WrongError(f"{place}.file", f"holds {{{min(unknown)}}}; known are {', '.join(sorted(FIELDS))}")
    if cell.kind != "cited" and not file:
        raise WrongError(
            f"{place}.file", "is missing here, in its row and in its table: where is the measured value?"
        )
    if cell.kind != "cited" and not (cell.measure or cell.key):
        raise WrongError(f"{place}.measure", "is missing here, in its column and in its table")
    return replace(cell, file=file, measure="" if cell.key else cell.measure)


def _claims(claim: Claim, tables: Mapping[str, PaperTable]) -> Iterator[Claim]:
    """Yield the claim; of one over columns each, with its ``{column}`` and ``{title}`` in the texts."""
    place, compared, bounded = f"claims.{claim.name}", claim.relation, claim.relation in BOUNDED
    if not bounded and not claim.right:
        raise WrongError(f"{place}.right", f"is missing: '{compared}' compares two cells")
    if bounded and not claim.bound:
        raise WrongError(f"{place}.bound", f"is missing: '{compared}' needs the number it is held against")
    if compared in ("not-below", "equal") and claim.margin <= 0:
        raise WrongError(
            f"{place}.margin", f"must be above 0: '{compared}' needs the difference that would not matter"
        )
    if (compared == "most") != bool(claim.others):
        raise WrongError(f"{place}.others", "belongs to the relation 'most', which needs at least one pair")
    if not claim.over:
        yield claim
    table = tables.get(claim.left.partition(".")[0])
    texts = {one.name: text for one in fields(Claim) if isinstance(text := getattr(claim, one.name), str)}
    for key in claim.over:
        column = table.columns.get(key) if table else None
        if column is None:
            raise WrongError(f"{place}.over", f"names '{key}', no column of the table of {claim.left}")
        words = {"column": key, "title": column.title}
        filled: Given = {name: text.format(**words) for name, text in texts.items()}
        others = tuple((one.format(**words), two.format(**words)) for one, two in claim.others)
        yield replace(claim, over=(), others=others, **filled)


def _recorded(place: str, runs: Any) -> Iterator[tuple[str, Recorded]]:
    """Yield cell name to what was recorded: ``NUMBER``, or ``NUMBER ± SPREAD MARK…``, a line for each row."""
    for run in read(tuple[Given, ...], runs, place) if runs is not None else ():
        given = mapping(run, place, ("about", "rows"))
        about = mapping(given.get("about"), f"{place}.about", ABOUT_KEYS)
        for row, cells in read(Mapping[str, Mapping[str, Any]], given.get("rows"), place).items():
            for at, value in cells.items():
                where, words = f"{place}.{row}.{at}", str(value).split()
                spread = words[2] if words[1:2] == ["±"] else "0"
                try:
                    numbers = {"value": float(words[0]), "spread": float(spread)}
                    if not all(map(math.isfinite, numbers.values())):
                        raise ValueError
                except (ValueError, IndexError):
                    raise WrongError(where, f"must be NUMBER or NUMBER ± SPREAD, not '{value}'") from None
                marks = words[3:] if spread != "0" else words[1:]
                recorded: Recorded = read(Recorded, {**about, **numbers}, where)
                table, _, column = at.partition(".")
                yield f"{table}.{row}.{column}", replace(recorded, marks=tuple(marks))


def _outcomes(place: str, value: Any) -> Mapping[str, str]:
    """Return claim name to what was recorded of it, which begins with an outcome."""
    found: Mapping[str, str] = read(Mapping[str, str], value, place)
    for name, text in found.items():
        try:
            outcome_of(text)
        except ValueError as error:
            raise WrongError(f"{place}.{name}", str(error)) from None
    return found


def _check_names(expected: Expected) -> None:
    """Refuse what speaks of a profile, a cell or a claim that the file does not have."""
    for place in ("profiles", "tables"):
        if not getattr(expected, place):
            raise WrongError(place, MISSING)
    profiles, claims, cells = expected.profiles, expected.claims, expected.cells()
    no_cell = "which is no table.row.column of this file"
    no_profile = f"no profile of this file ({', '.join(profiles)})"
    named: list[tuple[str, Iterable[str], Container[str], str]] = []
    for name, claim in claims.items():
        named.append((f"claims.{name}.profiles", claim.profiles, profiles, f"names '{{}}', {no_profile}"))
        named.append((f"claims.{name}", claim.cells(), cells, f"speaks of '{{}}', {no_cell}"))
    for name, ours in expected.ours.items():
        named.append((f"ours.{name}", (name,), profiles, f"is {no_profile}"))
        named.append((f"ours.{name}", ours, cells, f"records '{{}}', {no_cell}"))
        outcomes = expected.outcomes[name]
        named.append(
            (f"ours.{name}.claims", outcomes, claims, "records '{}', which is no claim of this file")
        )
    for place, names, known, text in named:
        for name in names:
            if name not in known:
                raise WrongError(place, text.format(name))
    for name, claim in claims.items():
        for one, two in ((claim.left, claim.right), *claim.others) if claim.relation not in BOUNDED else ():
            if _averages(cells[one]) != _averages(cells[two]):
                text = f"compares {one} with {two}: an average is compared with one over the same columns"
                raise WrongError(f"claims.{name}", text)


def _averages(cell: Cell) -> list[str]:
    return [member.column for member in cell.average]
