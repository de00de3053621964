"""The results table of a README: written between two markers, never by hand.

The markers are ``<!-- report NAME -->`` and ``<!-- /report NAME -->``, NAME being the recipe's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from dretrieve.errors import DataError, PreconditionError
from dretrieve.reports.claims import Finding
from dretrieve.reports.claims_answers import Outcome
from dretrieve.reports.claims_table import outcome_text
from dretrieve.reports.expected import Expected, Profile
from dretrieve.reports.readme_tables import measured_tables, paper_tables
from dretrieve.reports.tables import Cell as TableCell
from dretrieve.reports.tables import Table, markdown
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
    """Return the claims, those that hold first, what the profile measured, and the paper's scale."""
    parts = [f"Profile `{profile.name}`" + (f": {profile.title}." if profile.title else ".")]
    if findings:
        ordered = sorted(findings.values(), key=lambda one: get_args(Outcome).index(one.outcome))
        rows: list[list[TableCell]] = [[one.claim.says, outcome_text(expected, one)] for one in ordered]
        parts.append(markdown(Table(columns=["claim", "on our numbers"], rows=rows)))
    parts += measured_tables(expected, judged)
    at_scale = paper_tables(expected, profile, judged)
    if at_scale:
        parts += ["The paper's scale: the numbers that it prints, and ours under `ours`.", *at_scale]
    return "\n\n".join(parts)
