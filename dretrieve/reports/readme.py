"""The results table of a README: written between two markers, never by hand.

The markers are ``<!-- report NAME -->`` and ``<!-- /report NAME -->``, NAME being the recipe's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

from dretrieve.errors import DataError, PreconditionError
from dretrieve.reports.claims_answers import Outcome
from dretrieve.reports.claims_table import outcome_of
from dretrieve.reports.expected import Expected, Profile
from dretrieve.reports.html import Figure
from dretrieve.reports.readme_tables import measured_tables, paper_tables
from dretrieve.reports.recipe_page import dots_of
from dretrieve.reports.tables import Cell as TableCell
from dretrieve.reports.tables import Table, markdown
from dretrieve.reports.verdicts import Judged
from dretrieve.store.atomic import replacing

PICTURE = "picture.svg"


def write_block(readme: Path, name: str, block: str, shown: Figure | None = None) -> None:
    """Replace what stands between the markers of that name; the rest of the file stays as it is.

    The picture goes beside the file.

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
    if shown is not None:
        with replacing(readme.with_name(PICTURE), text=True) as file:
            file.write(shown.svg)


def picture(expected: Expected, judged: Mapping[str, Judged]) -> Figure | None:
    """Return the dots of the first table that was run; None where nothing was."""
    for table in expected.tables.values():
        measured = {
            name: row
            for name, row in table.rows.items()
            if any(judged[cell.name].value is not None for cell in row.cells.values())
        }
        if measured:
            return replace(dots_of(replace(table, rows=measured), judged), caption=table.title)
    return None


def readme_block(
    expected: Expected, profile: Profile, judged: Mapping[str, Judged], outcomes: Mapping[str, str]
) -> str:
    """Return the claims, those that hold first, a picture, what the profile measured, the paper's scale."""
    parts = [f"Profile `{profile.name}`" + (f": {profile.title}." if profile.title else ".")]
    if outcomes:
        words, claims = get_args(Outcome), list(expected.claims)
        rows: list[list[TableCell]] = [
            [expected.claims[name].says, outcomes[name]]
            for name in sorted(
                outcomes, key=lambda name: (words.index(outcome_of(outcomes[name])), claims.index(name))
            )
        ]
        parts.append(markdown(Table(columns=["claim", "on our numbers"], rows=rows)))
    shown = picture(expected, judged)
    parts += [f"![{shown.caption}]({PICTURE})"] if shown is not None else []
    parts += measured_tables(expected, judged)
    at_scale = paper_tables(expected, profile, judged)
    if at_scale:
        parts += ["The paper's scale: the numbers that it prints, and ours under `ours`.", *at_scale]
    return "\n\n".join(parts)
