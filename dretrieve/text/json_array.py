"""A file that is one JSON array, read element by element: DPR's training files have several gigabytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError
from dretrieve.text.compression import BUFFER
from dretrieve.text.files import LONGEST_LINE, half_a_pair, json_fault, json_type, read_pieces

DEEPEST = 500  # levels: this parser is no recursion, so nothing else stops it
DEEPER = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}
# The parser makes "?" of half a surrogate pair without a word, so its escape is looked for in the bytes.
HALF_A_PAIR = re.compile(
    rb"\\u([dD][89abAB]..)(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F]..)"
)
IN_ESCAPES = b"\\u0123456789abcdefABCDEF"
HELD_BACK = 1 << 20  # bytes at the end of a piece that may belong to an escape


def read_json_array(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield ``(line of its start, element)`` of a file that is one JSON array, holding one element at a time.

    Raises:
        DataError: no array, a malformed or cut element, text after the array; names the line.
    """
    import ijson

    events = ijson.sendable_list()
    parser, builder = ijson.basic_parse_coro(events), ijson.ObjectBuilder()
    line, start, depth, size = 1, 1, 0, 0
    try:
        for line, piece in _pieces(path):
            parser.send(piece)
            for event, value in events:
                if depth == 0 and event != "start_array":
                    found = "an object" if event == "start_map" else json_type(value)
                    raise DataError.at(path, line, f"expected a JSON array […], found {found}")
                if depth == 1:
                    start, size = line, 0
                depth += DEEPER.get(event, 0)
                if depth > DEEPEST:
                    raise RecursionError
                builder.event(event, float(value) if isinstance(value, Decimal) else value)
                if depth == 1 and builder.value:
                    yield start, builder.value.pop()
            events.clear()
            size += len(piece)
            if size > LONGEST_LINE:
                raise DataError.at(
                    path, start, f"an element of the array is longer than {LONGEST_LINE >> 20} MB"
                )
        line = start
        parser.close()
    except (ijson.JSONError, ValueError, RecursionError) as error:
        raise DataError.at(path, line, json_fault(error)) from None
    except SystemError as error:  # how the parser passes on an error of its number's conversion
        raise DataError.at(path, line, json_fault(error.__cause__ or error)) from None


def _pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of the file's lines, cut where no escape goes on, with the number of their line."""
    line, rest = 1, b""
    for line, part in read_pieces(path, BUFFER):
        part = rest + part
        piece = part if part.endswith(b"\n") else part.rstrip(IN_ESCAPES)
        if len(part) - len(piece) > HELD_BACK:
            piece = part
        rest = part[len(piece) :]
        half = HALF_A_PAIR.search(piece.replace(rb"\\", b"")) if rb"\u" in piece else None
        if half:
            raise half_a_pair(path, line, (half[1] or half[2]).decode())
        if piece:
            yield line, piece
    if rest:
        yield line, rest
