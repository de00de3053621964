"""A line cut into columns: one rule for runs and judgements, and the words for what stands there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, quoted
from dretrieve.text.fields import PASSAGE_COLUMNS, QUERY_COLUMNS, RANKS, RUN_COLUMNS, SCORES, word_of

QUERY_WORDS = {"query", "topic"}  # an id or a text
BLANKS = re.compile(rb" +")
MARKS = {";": "semicolons", "|": "bars", ",": "commas"}  # that part columns in other people's files


def split_line(line: bytes) -> list[bytes]:
    """Return the columns of a line, none for a comment or a line of blanks.

    They are parted by tabs if there is one between two columns, else by spaces; other white space belongs to
    ids.
    """
    line = line.strip(b" \t\r")
    if not line or line.startswith(b"#"):
        return []
    return [part.strip(b" ") for part in line.split(b"\t")] if b"\t" in line else BLANKS.split(line)


def header(line: bytes) -> list[str]:
    """Return the cells of a line that holds nothing but words of a run's header, by `word_of`; else none."""
    words = [word_of(part.decode(errors="replace")) for part in split_line(line)]
    return words if len(words) > 2 and RUN_COLUMNS.issuperset(words) else []


def hit_places(names: Iterable[str]) -> tuple[tuple[list[int], list[int], list[int]], bool]:
    """Return where query, passage and score stand among the names of a hit's cells, and whether ranks do.

    A rank counts where there is no score, a query's text where it has no id.
    """
    words = list(map(word_of, names))
    queries, passages, scores, ranks, texts = (
        [place for place, word in enumerate(words) if word in known]
        for known in (QUERY_COLUMNS - QUERY_WORDS, PASSAGE_COLUMNS, SCORES, RANKS, QUERY_WORDS)
    )
    return (queries or texts, passages, scores or ranks), not scores


def refuse_table(value: Mapping[str, Any], path: Path, line: int) -> None:
    """Refuse a table of hits or judgements as pandas writes it, whose outer keys are columns or rows, no ids.

    Raises:
        DataError: it is one.
    """
    for names in (value, next(iter(value.values()), None)):
        if isinstance(names, Mapping) and len(names) < 20 and all(hit_places(names)[0][:2]):
            raise DataError.at(
                path,
                line,
                f"a table by its columns or its rows' numbers ({quoted(', '.join(names))}), no object by "
                "query id; write its rows alone, one a line (pandas: orient='records', lines=True)",
            )


def found(line: bytes) -> str:
    """Return the number of columns in words, with what may be wrong with the line, and the line."""
    line = line.strip(b" \t\r")
    if b"\r" in line:
        return f"lines that end with a carriage return alone; end them with a newline: {shown(line)}"
    by_tabs, by_blanks = len(line.split(b"\t")), len(line.split())
    if by_tabs > 1 and by_blanks != by_tabs:
        return f"{by_tabs} parted by tabs ({by_blanks} by blanks too; part all by tabs): {shown(line)}"
    marks = (name for mark, name in MARKS.items() if by_blanks == 1 and mark.encode() in line)
    parted = "".join(f" (parted by {name}; part them by tabs)" for name in islice(marks, 1))
    return f"{by_blanks}{parted}: {shown(line)}"


def shown(token: bytes, most: int = 80) -> str:
    """Return bytes for a message, cut and made printable."""
    text = token[: 4 * most].decode(errors="backslashreplace").strip()
    return repr(text if len(text) <= most else text[: most - 1] + "…")
