"""A page in every form: terminal, Markdown, LaTeX, HTML; and a folder with all of them and the figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dretrieve.errors import PreconditionError, UsageError, visible
from dretrieve.reports.html import Figure, Page, html
from dretrieve.reports.tables import Table, latex, latex_text, markdown, markdown_text, one_line, terminal
from dretrieve.store.atomic import replacing
from dretrieve.text.files import is_stream

ENDINGS = {".md": "markdown", ".html": "html", ".htm": "html", ".tex": "latex"}
MARK = "dretrieve report"  # every written file says so in its first or last lines


def form_of(path: Path) -> str:
    """Return the form that a file's ending asks for.

    Raises:
        UsageError: it asks for none of ours.
    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"--output {path}: give a folder, or a file that ends in {', '.join(ENDINGS)}")
    return ENDINGS[path.suffix]


def shown(page: Page, form: str) -> Any:
    """Return the page for stdout: text, or a rich renderable for ``terminal``."""
    return _terminal(page) if form == "terminal" else WRITERS[form](page)


def markdown_page(page: Page, *, linked: bool = False) -> str:
    """Return the page as Markdown; ``linked`` are plots that stand beside it."""
    parts = [f"# {markdown_text(page.title)}", *map(markdown_text, page.lead)]
    if page.tally:
        parts.append(" · ".join(f"**{word}** {count}" for word, count in page.tally.items()))
    for section in page.sections:
        parts += [f"## {markdown_text(section.title)}"] if section.title else []
        parts += map(markdown_text, section.text)
        parts += [markdown(table) for table in section.tables]
        parts += [_linked(figure) for figure in section.figures if linked]
    return "\n\n".join([*parts, f"*{markdown_text(page.footer)}*"]) + "\n"


def _linked(figure: Figure) -> str:
    caption = markdown_text(figure.caption or figure.name).replace("]", "\\]")
    return f"![{caption}]({figure.name.replace(' ', '%20')}.svg)"


def latex_page(page: Page) -> str:
    """Return the tables as LaTeX, each in a table environment with its title; needs booktabs."""
    lines = [f"% {one_line(page.title)}", f"% {one_line(page.footer)}", r"% \usepackage{booktabs}"]
    for section in page.sections:
        for table in section.tables:
            lines += ["", _latex_float(table, section.title)]
    return "\n".join(lines) + "\n"


WRITERS: dict[str, Callable[[Page], str]] = {"markdown": markdown_page, "html": html, "latex": latex_page}


def _latex_float(table: Table, title: str) -> str:
    """Return the table with its caption; its notes are text below it, not comments."""
    notes = [rf"\par\smallskip\footnotesize {latex_text(note)}" for note in table.notes]
    caption = rf"\caption{{{latex_text(table.title or title)}}}"
    plain = latex(replace(table, title="", notes=()))
    return "\n".join([r"\begin{table}[t]", r"\centering", plain, *notes, caption, r"\end{table}"])


def _terminal(page: Page) -> Any:
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(visible(page.title), style="bold"), *(Text(visible(line)) for line in page.lead)]
    if page.tally:
        parts.append(Text(" · ".join(f"{word} {count}" for word, count in page.tally.items())))
    for section in page.sections:
        parts.append(Text(""))
        parts += [Text(visible(section.title), style="bold")] if section.title else []
        parts += [Text(visible(line)) for line in section.text]
        parts.append(terminal(*section.tables))
    return Group(*parts)


def write_page(page: Page, output: Path, *, force: bool = False) -> list[Path]:
    """Write the page and return what was written.

    A name with one of `ENDINGS` is written in that form; any other name is a folder: ``report.html``,
    ``report.md``, ``report.tex`` and one SVG for each figure.

    Raises:
        PreconditionError: a file that no report wrote stands there.
        UsageError: an ending that is none of ours.
    """
    if output.is_dir() or not output.suffix:
        texts = {output / "report.html": html(page), output / "report.md": markdown_page(page, linked=True)}
        texts[output / "report.tex"] = latex_page(page)
        texts |= {output / f"{figure.name}.svg": svg_file(figure) for figure in page.figures}
    else:
        texts = {output: WRITERS[form_of(output)](page)}
    for path in texts:
        _refuse_foreign(path, force)
    for path, text in texts.items():
        with replacing(path, text=True) as file:
            file.write(text)
    return list(texts)


def svg_file(figure: Figure) -> str:
    """Return the figure as a file of its own."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n<!-- {MARK} -->\n{figure.svg}'


def _refuse_foreign(path: Path, force: bool) -> None:
    if is_stream(path):
        raise PreconditionError(f"{path} is no file on disk; give --output another name")
    if force or not path.exists():
        return
    if path.is_dir():
        raise PreconditionError(f"{path} is a folder; give --output another name")
    if MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise PreconditionError(
            f"{path} exists and was not written by `{MARK}`; use --force to replace it or choose another "
            "--output"
        )
