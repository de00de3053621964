"""A report as one HTML page: tables and inline SVG, no scripts, nothing fetched; made to be printed."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from dretrieve.errors import PreconditionError, visible
from dretrieve.reports.claims_answers import Outcome
from dretrieve.reports.tables import Table
from dretrieve.reports.verdicts import VERDICTS

TEMPLATE = "report.html.j2"
# Words that are set as a verdict wherever a cell consists of one.
VERDICT_WORDS = (*VERDICTS, *get_args(Outcome))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One plot: its name as a file, its SVG, what it shows."""

    name: str
    svg: str
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with text, tables, figures below it."""

    title: str = ""
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole report, in whatever form it is shown.

    Attributes:
        tally: verdict to how often it was given.
    """

    title: str
    lead: Sequence[str] = ()
    tally: Mapping[str, int] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    footer: str = "Made by dretrieve report."

    @property
    def tables(self) -> list[Table]:
        """All tables in order."""
        return [table for section in self.sections for table in section.tables]

    @property
    def figures(self) -> list[Figure]:
        """All figures in order."""
        return [figure for section in self.sections for figure in section.figures]


def html(page: Page) -> str:
    """Return the page as HTML.

    Raises:
        PreconditionError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise PreconditionError("HTML reports need jinja2; install it: pip install jinja2") from None
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value) if isinstance(value, str) else value,
    )
    environment.filters["css"] = css_class
    environment.filters["cell"] = _cell
    text = (Path(__file__).parent / TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(page=page)


def css_class(word: str) -> str:
    """Return the class of a verdict: ``v-not-run``."""
    return "v-" + word.lower().replace(" ", "-")


def _cell(table: Table, row: int, column: int) -> Any:
    from markupsafe import Markup

    text = table.text(row, column)
    first, _, rest = text.partition(" · ")
    if first in VERDICT_WORDS:
        shown = Markup('<span class="verdict {}">{}</span>').format(css_class(first), first)
        shown += Markup(" {}").format(rest) if rest else Markup("")
    elif table.is_best(row, column):
        shown = Markup("<strong>{}</strong>").format(text)
    else:
        shown = Markup("{}").format(text)
    mark = table.marks.get((row, column), "")
    if mark:
        letters = unicodedata.normalize("NFKC", mark.rstrip())
        room = "a" * (len(mark) - len(letters))  # unseen letters keep the numbers of a column in line
        shown += Markup("<sup>{}<i>{}</i></sup>").format(letters, room)
    open_tag = Markup('<td class="number">') if table.is_number(column) else Markup("<td>")
    return open_tag + shown + Markup("</td>")
