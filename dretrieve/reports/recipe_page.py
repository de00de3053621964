"""The page of a recipe: its tables beside the paper's, its claims, what stands behind the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dretrieve.reports.claims import Finding
from dretrieve.reports.claims_table import claim_table
from dretrieve.reports.expected import Cell, Expected, PaperTable, Profile
from dretrieve.reports.html import Figure, Page, Section
from dretrieve.reports.plots import PaperPoint, paper_and_ours
from dretrieve.reports.recipe_figures import recipe_figures
from dretrieve.reports.tables import Cell as TableCell
from dretrieve.reports.tables import Table, number
from dretrieve.reports.verdicts import Judged, tally


def recipe_page(
    expected: Expected, profile: Profile, judged: Mapping[str, Judged], findings: Mapping[str, Finding]
) -> Page:
    """Return the page of one recipe at one profile."""
    sections = [_table_section(expected, profile, table, judged) for table in expected.tables.values()]
    if findings:
        title = "The paper's claims on our numbers"
        sections.append(Section(title=title, tables=[claim_table(expected, findings)]))
    figures = recipe_figures(expected, judged)
    if figures:
        sections.append(Section(title="Curves", figures=figures))
    about = f"Profile {profile.name}" + (f": {profile.title}." if profile.title else ".")
    if any(one.recorded for one in judged.values()):
        about += " Nothing of it stands in the work folder: RECORDED is what expected.yaml holds of ours."
    return Page(
        title=f"{expected.paper}: {expected.title}",
        lead=[text for text in (expected.reference, about) if text],
        tally=tally(one.verdict for one in judged.values()),
        sections=sections,
    )


def _table_section(
    expected: Expected, profile: Profile, table: PaperTable, judged: Mapping[str, Judged]
) -> Section:
    is_measured = any(judged[cell.name].value is not None for cell in table.cells())
    figures = [dots_of(table, judged)] if is_measured else []
    return Section(
        title=table.title,
        text=[f"Source: {table.source}."] if table.source else [],
        tables=[cell_table(table, profile, judged, has_recorded=bool(expected.ours.get(profile.name)))],
        figures=figures,
    )


def cell_table(
    table: PaperTable, profile: Profile, judged: Mapping[str, Judged], *, has_recorded: bool
) -> Table:
    """Return one line for each cell: row, column, paper, (recorded,) ours, difference, verdict."""
    recorded = profile.target == "ours" and has_recorded
    heads = ["row", "column", "paper", *(["recorded"] if recorded else []), "ours", "difference", "verdict"]
    rows: list[list[TableCell]] = []
    notes: dict[str, list[str]] = {}
    for row in table.rows.values():
        for place, cell in enumerate(row.cells.values()):
            one, column = judged[cell.name], table.columns[cell.column].title
            where = [row.title if place == 0 else "", column]
            target = [number(one.target, table.decimals)] if recorded else []
            ours = with_spread(one, table)
            difference = number(one.difference, table.decimals, signed=True)
            rows.append([*where, printed(cell, table), *target, ours, difference, one.words])
            for note in (*one.notes, *correction(cell, table)):
                notes.setdefault(note, []).append(f"{row.title}, {column}")
    numbers = frozenset(range(2, len(heads) - 1))
    return Table(columns=heads, rows=rows, notes=_notes(profile, recorded, table, notes), right=numbers)


def with_spread(one: Judged, table: PaperTable) -> str:
    """Return our value, with the standard deviation between seeds where several were run."""
    ours = number(one.value, table.decimals)
    return f"{ours} ± {one.spread:.{table.decimals}f}" if len(one.seeds) > 1 and ours else ours


def _notes(
    profile: Profile, recorded: bool, table: PaperTable, notes: Mapping[str, Sequence[str]]
) -> list[str]:
    unit = {"percent": "Numbers are in percent. ", "fraction": "", "number": ""}[table.unit]
    against = "the paper's number" if profile.target == "paper" else "the value that we recorded"
    if profile.target == "ours":
        against += "; the paper's own setting is another one" + (
            "" if recorded else ", and none is recorded yet"
        )
    shown = [f"{unit}The difference is ours minus {against}."]
    return shown + [f"{'; '.join(places)}: {text}" for text, places in notes.items()]


def printed(cell: Cell, table: PaperTable) -> str:
    """Return the paper's number, with a star where it erred; nothing where it prints none."""
    if cell.kind == "unknown" and cell.paper is None:
        return "unknown"
    return number(cell.paper, table.decimals) + ("*" if cell.corrected is not None else "")


def correction(cell: Cell, table: PaperTable) -> list[str]:
    """Return what stands behind the star."""
    said = f"the paper prints {number(cell.printed, table.decimals) or 'nothing'}; {cell.why}"
    return [said] if cell.corrected is not None else []


def dots_of(table: PaperTable, judged: Mapping[str, Judged]) -> Figure:
    """Return one plot of the paper's numbers and ours, a panel for each column that has one of ours."""
    panels: dict[str, list[PaperPoint]] = {}
    for key, column in table.columns.items():
        points = [
            PaperPoint(name=row.title, paper=row.cells[key].paper, ours=judged[row.cells[key].name].value)
            for row in table.rows.values()
            if key in row.cells
        ]
        if any(point.ours is not None for point in points):
            panels[column.title] = points
    names = [row.title for row in table.rows.values()]
    svg = paper_and_ours(names, panels, table.unit)
    return Figure(name=table.name, svg=svg, caption="○ the paper's number, ● ours.")
