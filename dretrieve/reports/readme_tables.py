"""The tables of a README: what a profile measured, and the paper's scale beside what we have of it.

The small profiles search other collections than the paper, so a number of theirs never stands beside one of
the paper's: the paper's own stand in tables of their own, where a row that was not run says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dretrieve.reports.expected import Cell, Expected, PaperTable, Profile, Row
from dretrieve.reports.recipe_page import correction, printed, with_spread
from dretrieve.reports.tables import Cell as TableCell
from dretrieve.reports.tables import Table, markdown, number
from dretrieve.reports.verdicts import Judged

NOT_RUN = "NOT RUN"
QUIET = ("OK", "CLOSE", "NO TARGET")


def measured_tables(expected: Expected, judged: Mapping[str, Judged]) -> list[str]:
    """Return a Markdown table for each table that was run, and a line for what was not.

    Rows and columns of which nothing was run are named in that line; tables that lack the same share it.
    """
    parts: list[str] = []
    lacking: dict[str, list[str]] = {}
    for table in expected.tables.values():
        own = [row for row in table.rows.values() if any(_is_own(cell) for cell in row.cells.values())]
        rows = [row for row in own if any(_was_run(cell, judged) for cell in row.cells.values())]
        own_columns = [key for key in table.columns if any(_is_own(row.cells.get(key)) for row in own)]
        columns = [key for key in own_columns if any(_was_run(row.cells.get(key), judged) for row in rows)]
        if rows:
            parts.append(markdown(_matrix(table, rows, columns, judged)))
        elif own:
            lacking.setdefault("all of it", []).append(table.title)
            continue
        missing = [
            *(row.title for row in own if row not in rows),
            *(f"{table.columns[key].title} (column)" for key in own_columns if key not in columns),
        ]
        if missing:
            lacking.setdefault("; ".join(missing), []).append(table.title)
    lines = [f"- {' · '.join(titles)}: {what}." for what, titles in lacking.items()]
    return [*parts, "\n".join(["Not run in this profile:", "", *lines])] if lines else parts


def _is_own(cell: Cell | None) -> bool:
    """Return whether there is a cell for a number of ours."""
    return cell is not None and cell.kind != "cited"


def _was_run(cell: Cell | None, judged: Mapping[str, Judged]) -> bool:
    return cell is not None and judged[cell.name].verdict not in (NOT_RUN, "CITED")


def _matrix(
    table: PaperTable, rows: Sequence[Row], columns: Sequence[str], judged: Mapping[str, Judged]
) -> Table:
    lines: list[list[TableCell]] = []
    for row in rows:
        cells = [row.cells.get(key) for key in columns]
        shown = [_ours(judged[cell.name], table) if cell and _is_own(cell) else "" for cell in cells]
        lines.append([row.title, *shown])
    return Table(columns=[table.title, *(table.columns[key].title for key in columns)], rows=lines)


def _ours(one: Judged, table: PaperTable) -> str:
    """Return our value with a verdict that must not be overlooked, and its marks."""
    flag = "" if one.verdict in QUIET or one.value is None else one.verdict
    return " ".join(text for text in (with_spread(one, table) or one.verdict, flag, *one.marks) if text)


def paper_tables(expected: Expected, profile: Profile, judged: Mapping[str, Judged]) -> list[str]:
    """Return a Markdown table for each of the paper's: its rows, its numbers, and ours at its scale.

    Ours are what was measured now where the profile is the paper's own, else what was recorded at it. Tables
    of which neither is known are named in a line.
    """
    parts, empty = [], []
    for table in expected.tables.values():
        rows = [row for row in table.rows.values() if any(_is_printed(cell) for cell in row.cells.values())]
        columns = [key for key in table.columns if any(_is_printed(row.cells.get(key)) for row in rows)]
        if not rows:
            continue
        lines: list[list[TableCell]] = []
        known = False
        for row in rows:
            cells = [row.cells.get(key) for key in columns]
            at_scale = [
                _at_scale(cell, table, expected, profile, judged) for cell in cells if _is_printed(cell)
            ]
            known |= set(at_scale) != {NOT_RUN} or any(cell and cell.paper is not None for cell in cells)
            same = at_scale[0] if len(set(at_scale)) == 1 else " · ".join(at_scale)
            lines.append([row.title, *(printed(cell, table) if cell else "" for cell in cells), same])
        head = f"{table.title} ({table.source})" if table.source else table.title
        if not known:
            empty.append(head)
            continue
        heads = [head, *(table.columns[key].title for key in columns), "ours"]
        right = frozenset(range(1, 1 + len(columns)))
        parts.append(markdown(Table(columns=heads, rows=lines, right=right, notes=_corrections(table))))
    if empty:
        parts.append(f"Neither recovered from the paper nor run: {' · '.join(empty)}.")
    return parts


def _is_printed(cell: Cell | None) -> bool:
    """Return whether the paper prints a number there, be it one that cannot be recovered."""
    return cell is not None and (cell.paper is not None or cell.kind == "unknown")


def _at_scale(
    cell: Cell | None,
    table: PaperTable,
    expected: Expected,
    profile: Profile,
    judged: Mapping[str, Judged],
) -> str:
    """Return our number at the paper's scale with its marks, or NOT RUN; of a cited system that it is so."""
    assert cell is not None
    if cell.kind == "cited":
        return "cited"
    if profile.target == "paper":
        return _ours(judged[cell.name], table)
    for name, other in expected.profiles.items():
        recorded = expected.ours.get(name, {}).get(cell.name) if other.target == "paper" else None
        if recorded is not None:
            return " ".join([number(recorded.value, table.decimals), *recorded.marks])
    return NOT_RUN


def _corrections(table: PaperTable) -> list[str]:
    """Return what stands behind each star."""
    return [
        f"* {table.rows[cell.row].title}, {table.columns[cell.column].title}: {text}"
        for cell in table.cells()
        for text in correction(cell, table)
    ]
