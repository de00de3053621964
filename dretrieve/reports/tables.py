"""One small table, five ways: terminal (rich), Markdown, LaTeX, tab-separated, JSON.

Cells are text, whole numbers or measures; how a number is printed is decided here and nowhere else.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dretrieve.errors import visible

Cell = str | int | float | None
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a row these two would be its options
    "*": "{*}",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "±": r"$\pm$",
    "−": "$-$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "…": r"\dots{}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns.

    Attributes:
        rows: one cell for each column; a float is shown with `decimals`, None as nothing.
        notes: one line each, below the table.
        best: columns whose largest value is set in bold where the form can.
        right: columns of numbers that are written as text (with a sign, with a unit).
        marks: (row, column) to a mark set behind the cell, such as a dagger for significance.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    notes: Sequence[str] = ()
    decimals: int = 4
    best: frozenset[int] = frozenset()
    right: frozenset[int] = frozenset()
    marks: dict[tuple[int, int], str] = field(default_factory=dict)

    def text(self, row: int, column: int) -> str:
        """Return the cell as it is printed, without mark."""
        cell = self.rows[row][column]
        if cell is None:
            return ""
        if isinstance(cell, float):
            return f"{cell:.{self.decimals}f}"
        return f"{cell:,}" if isinstance(cell, int) else cell

    def is_best(self, row: int, column: int) -> bool:
        """Return whether the cell is (one of) the largest in a column where that is marked."""
        if column not in self.best or len(self.rows) < 2:
            return False
        numbers = [line[column] for line in self.rows if isinstance(line[column], float | int)]
        return bool(numbers) and self.rows[row][column] == max(numbers)  # type: ignore[type-var]

    def is_number(self, column: int) -> bool:
        """Return whether the column holds numbers, which stand to the right."""
        return column in self.right or any(isinstance(row[column], int | float) for row in self.rows)


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """Return a number as text, nothing for None; thousands are parted where there are no decimals.

    With ``signed`` all but zero has a sign.
    """
    if value is None:
        return ""
    value = round(value, decimals) + 0.0  # no zero below zero
    sign, thousands = "+" if signed and value else "", "" if decimals else ","
    return f"{value:{sign}{thousands}.{decimals}f}"


def one_line(text: str) -> str:
    """Return the text with its line ends and tabs as blanks and its control characters written out."""
    return visible(re.sub(r"[\r\n\t\v\f]+", " ", text))


# An escape, a cell's end, a link, a list or heading at the beginning; and what sets a text in another way
# where it stands twice (an underscore within a word never does).
MARKDOWN_SPECIAL = r"\\(?=[!-/:-@\[-`{-~])|\||(?<=\])\(|^[-+*>](?= )|^#(?=#{0,5} )"
MARKDOWN_PAIRS = (r"\*", "`", "~", r"(?<![^\W_])_|_(?![^\W_])")


def markdown_text(text: str) -> str:
    """Return the text on one line with everything escaped that means something else to Markdown."""
    text = one_line(text)
    pairs = [mark for mark in MARKDOWN_PAIRS if len(re.findall(mark, text)) > 1]
    text = re.sub("|".join([MARKDOWN_SPECIAL, *pairs]), r"\\\g<0>", text)
    text = re.sub(r"^(\d+)(?=[.)] )", r"\1\\", text)
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)  # what begins a tag; p < 0.05 stays


def markdown(table: Table) -> str:
    """Return a GitHub table; its columns are padded, so that it can be read as it is."""
    cells = [[markdown_text(head) for head in table.columns]]
    for row in range(len(table.rows)):
        line = []
        for column in range(len(table.columns)):
            text = markdown_text(table.text(row, column))
            text = f"**{text}**" if text and table.is_best(row, column) else text
            line.append(text + table.marks.get((row, column), ""))
        cells.append(line)
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    right = [table.is_number(column) for column in range(len(table.columns))]
    rule = ["-" * (width - is_right) + ":" * is_right for width, is_right in zip(widths, right, strict=True)]
    lines = [_padded(line, widths, right) for line in (cells[0], rule, *cells[1:])]
    head = [f"**{markdown_text(table.title)}**", ""] if table.title else []
    notes = ["", *(f"- {markdown_text(note)}" for note in table.notes)] if table.notes else []
    return "\n".join([*head, *lines, *notes])


def _padded(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(cells, widths, right, strict=True)
    ]
    return "| " + " | ".join(padded) + " |"


def latex(table: Table) -> str:
    """Return a ``tabular`` with booktabs rules."""
    columns = "".join("r" if table.is_number(column) else "l" for column in range(len(table.columns)))
    heads = " & ".join(map(latex_text, table.columns)) + r" \\"
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", heads, "\\midrule"]
    for row in range(len(table.rows)):
        cells = []
        for column in range(len(table.columns)):
            cell = latex_text(table.text(row, column))
            cell = f"\\textbf{{{cell}}}" if table.is_best(row, column) else cell
            mark = table.marks.get((row, column), "").strip()
            cells.append(cell + (f"$^{{{_latex_mark(mark)}}}$" if mark else ""))
        lines.append(" & ".join(cells) + r" \\")
    notes = [f"% {one_line(note)}" for note in table.notes]
    title = [f"% {one_line(table.title)}"] if table.title else []
    return "\n".join([*title, *lines, "\\bottomrule", "\\end{tabular}", *notes])


def latex_text(text: str) -> str:
    """Return the text on one line with everything escaped that means something else to LaTeX, or nothing."""
    return "".join(LATEX_SPECIAL.get(character, character) for character in one_line(text))


def _latex_mark(mark: str) -> str:
    plain = unicodedata.normalize("NFKC", mark)  # raised letters become letters
    return {"†": r"\dagger", "‡": r"\ddagger", "*": "*"}.get(mark, latex_text(plain))


def tsv(table: Table) -> str:
    """Return heads and rows parted by tabs, numbers in full; notes are left out."""
    lines = ["\t".join(one_line(head) for head in table.columns)]
    for row in table.rows:
        lines.append("\t".join("" if cell is None else one_line(_full(cell)) for cell in row))
    return "\n".join(lines)


def _full(cell: str | int | float) -> str:
    return f"{cell:.10g}" if isinstance(cell, float) else str(cell)


def as_json(table: Table) -> dict[str, Any]:
    """Return rows as objects by column, with title and notes."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {"title": table.title, "rows": rows, "notes": list(table.notes)}


def indented_json(value: Any, levels: int, indent: str = "") -> str:
    """Return JSON that is indented down to ``levels``; what lies deeper stands on one line each."""
    if levels == 0 or not value or not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    deeper = indent + " "
    if isinstance(value, dict):
        items = [
            f"{json.dumps(str(key), ensure_ascii=False)}: {indented_json(item, levels - 1, deeper)}"
            for key, item in value.items()
        ]
        opening, closing = "{", "}"
    else:
        items = [indented_json(item, levels - 1, deeper) for item in value]
        opening, closing = "[", "]"
    joined = ",\n".join(deeper + item for item in items)
    return f"{opening}\n{joined}\n{indent}{closing}"


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A table for rich; turned, a line for each column, where only that leaves its numbers whole."""

    table: Table

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.table import Table as RichTable
        from rich.text import Text

        table, columns = self.table, range(len(self.table.columns))
        lines = [[Text(visible(head)) for head in table.columns]]
        longest = 0
        for row, cells in enumerate(table.rows):
            lines.append([])
            for column in columns:
                text = visible(table.text(row, column)) + table.marks.get((row, column), "")
                lines[-1].append(Text(text, style="bold" if table.is_best(row, column) else ""))
                if isinstance(cells[column], int | float):
                    longest = max(longest, lines[-1][-1].cell_len)

        def fits(drawn: Sequence[Sequence[Text]]) -> bool:  # rich folds what is longest first
            widths = (max(text.cell_len for text in column) for column in zip(*drawn, strict=True))
            return bool(sum(min(width, longest) + 3 for width in widths) < options.max_width)

        right = [table.is_number(column) for column in columns]
        turned = [list(column) for column in zip(*lines, strict=True)]
        if not fits(lines) and fits(turned):
            lines, right = turned, [False, *(True for _ in table.rows)]
        title = Text(visible(table.title)) if table.title else None
        drawn = RichTable(title=title, title_justify="left")
        for head, is_right in zip(lines[0], right, strict=True):
            drawn.add_column(head, justify="right" if is_right else "left", overflow="fold")
        for line in lines[1:]:
            drawn.add_row(*line)
        yield drawn


def terminal(*tables: Table) -> Any:
    """Return a rich renderable of the tables, notes below each."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = []
    for table in tables:
        parts += [_Drawn(table), *(Text(f"  {visible(note)}") for note in table.notes)]
    return Group(*parts)


TEXT_FORMATS: dict[str, Callable[[Table], str]] = {"markdown": markdown, "latex": latex, "tsv": tsv}


def render(tables: Sequence[Table], form: str) -> Any:
    """Return the tables in that form: a rich renderable for ``terminal``, else text."""
    if form == "terminal":
        return terminal(*tables)
    if form == "json":
        values = [as_json(table) for table in tables]
        return json.dumps(values[0] if len(values) == 1 else values, ensure_ascii=False, indent=1)
    return "\n\n".join(TEXT_FORMATS[form](table) for table in tables)
