"""The results table of a README: written between two markers, never by hand.

The markers are ``<!-- report NAME -->`` and ``<!-- /report NAME -->``, NAME being the recipe's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dretrieve.errors import DataError, PreconditionError
from dretrieve.reports.claims import Finding
from dretrieve.reports.claims_table import outcome_text
from dretrieve.reports.expected import Expected, PaperTable, Profile
from dretrieve.reports.recipe_page import with_spread
from dretrieve.reports.tables import Cell as TableCell
from dretrieve.reports.tables import Table, markdown, number
from dretrieve.reports.verdicts import Judged
from dretrieve.store.atomic import replacing


def write_block(readme: Path, name: str, block: str) -> None:
    """Replace what stands between the markers of that name; the rest of the file stays as it is.

    Raises:
        PreconditionError: there is no such file.
        DataError: the markers are missing, or in the wrong order.
    """
    begin, end = f"<!-- report {name} -->", f"<!-- /report {name} -->"
    try:
        text = readme.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PreconditionError(f"{readme} does not exist") from None
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise DataError(f"{readme} lacks the two lines between which the table goes: {begin} and {end}")
    with replacing(readme, text=True) as file:
        file.write(f"{head}{begin}\n\n{block.strip()}\n\n{end}{tail}")


def readme_block(
    expected: Expected, profile: Profile, judged: Mapping[str, Judged], findings: Mapping[str, Finding]
) -> str:
    """Return the tables row by column, ``ours (paper)`` in each cell, and the claims with their outcomes."""
    parts = [
        f"Profile `{profile.name}`"
        + (f": {profile.title}." if profile.title else ".")
        + " Ours (the paper's)."
    ]
    parts += [markdown(_matrix(table, judged)) for table in expected.tables.values()]
    if findings:
        rows: list[list[TableCell]] = [
            [one.claim.says, outcome_text(expected, one)] for one in findings.values()
        ]
        parts.append(markdown(Table(columns=["claim", "on our numbers"], rows=rows)))
    return "\n\n".join(parts)


def _matrix(table: PaperTable, judged: Mapping[str, Judged]) -> Table:
    rows: list[list[TableCell]] = []
    for row in table.rows.values():
        line: list[TableCell] = [row.title]
        for key in table.columns:
            cell = row.cells.get(key)
            line.append("" if cell is None else _both(judged[cell.name], table))
        rows.append(line)
    heads = [table.title, *(column.title for column in table.columns.values())]
    return Table(columns=heads, rows=rows)


def _both(one: Judged, table: PaperTable) -> str:
    paper = number(one.cell.paper, table.decimals)
    shown = f"({paper})" if paper else ""
    if one.verdict == "CITED":
        return f"cited {shown}".strip()
    ours = with_spread(one, table) or one.verdict
    passed = one.verdict in ("OK", "CLOSE", "NO TARGET") or one.value is None
    flag = "" if passed else f" {one.verdict}"
    marks = "".join(f" {mark}" for mark in one.marks)
    return f"{ours}{flag}{marks} {shown}".strip()
