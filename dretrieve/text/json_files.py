"""JSON in files: one value, a value a line, an array element by element, objects in any of these ways."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, quoted
from dretrieve.text.compression import BUFFER
from dretrieve.text.fields import QUERY_IDS, json_type, word_of
from dretrieve.text.files import LONGEST_LINE, first_line, not_utf8, open_bytes, read_lines, read_pieces

LONE_SURROGATE = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")
LARGEST_VALUE = 1 << 30  # bytes of a file that is one JSON value
DEEPEST = 500  # levels: this parser is no recursion, so nothing else stops it
DEEPER = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}
# The parser makes "?" of half a surrogate pair without a word, so its escape is looked for in the bytes.
HALF_A_PAIR = re.compile(
    rb"\\u([dD][89abAB]..)(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F]..)"
)
IN_ESCAPES = b"\\u0123456789abcdefABCDEF"
HELD_BACK = 1 << 20  # bytes at the end of a piece that may belong to an escape


def read_json(path: Path) -> Any:
    """Return the JSON value that the whole file is.

    Raises:
        DataError: no JSON, a key twice in one object, or more than `LARGEST_VALUE` bytes.
    """
    parts, size = [], 0
    with open_bytes(path) as file:
        while data := file.read(BUFFER):
            parts.append(data)
            size += len(data)
            if size > LARGEST_VALUE:
                most = f"{LARGEST_VALUE >> 20} MB"
                raise DataError(f"{path} is one JSON value of more than {most}; write its records one a line")
    try:
        text = b"".join(parts).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, error.object.count(b"\n", 0, error.start) + 1, error) from error
    return parse_json(text, path, 1)


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line number, object)`` of a JSONL file; lines of white space are skipped.

    Raises:
        DataError: a line is not JSON (cut lines included), not an object, or has a key twice.
    """
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        value = parse_object(line, path, number)
        if "\\u" in line and LONE_SURROGATE.search(line):
            check_encodable(value, path, number)
        yield number, value


def check_encodable(value: object, path: Path, line: int) -> None:
    """Refuse half a surrogate pair (``d83d`` alone): it has no UTF-8 form and breaks every tokenizer."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise DataError.at(path, line, json_fault(RecursionError())) from None
    except UnicodeEncodeError as error:
        raise half_a_pair(path, line, f"{ord(error.object[error.start]):04x}") from None


def half_a_pair(path: Path, line: int, code: str) -> DataError:
    """Return the error for a surrogate that stands alone; ``code`` in hexadecimal."""
    return DataError.at(
        path, line, f"half a surrogate pair (\\u{code}) has no character; replace it, e.g. by \\ufffd"
    )


def parse_json(text: str, path: Path, line: int) -> Any:
    """Return the JSON value of ``text``; NaN and infinity are no JSON, nor is a key twice in one object."""
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise DataError.at(path, line, f"{json_fault(error)}: {shown}") from None


def json_fault(error: BaseException) -> str:
    """Return what is wrong with a text that a parser refused."""
    reason = str(error).partition("\n")[0]
    if isinstance(error, RecursionError):
        return "JSON nested too deeply to be a record"
    if "set_int_max_str_digits" in reason:
        return f"a number of more than {sys.get_int_max_str_digits():,} digits, which no record needs"
    if isinstance(error, UnicodeDecodeError) or "UTF8" in reason:
        return "not UTF-8; convert the file to UTF-8"
    if isinstance(error, _TwiceError):
        return reason
    return f"not valid JSON ({reason})"


def parse_object(text: str, path: Path, line: int) -> dict[str, Any]:
    """Return the JSON object of ``text``."""
    value = parse_json(text, path, line)
    if not isinstance(value, dict):
        raise DataError.at(path, line, f"expected a JSON object {{…}}, found {json_type(value)}")
    return value


def refuse_constant(name: str) -> float:
    """Refuse ``NaN``, ``Infinity`` and ``-Infinity``, which Python's parser would take."""
    raise ValueError(f"{name} is not JSON")


class _TwiceError(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(f"the key {quoted(key)} stands twice in one object; keep one of the two")


class _Once(dict[str, Any]):
    """An object that takes each key once."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            raise _TwiceError(key)
        super().__setitem__(key, value)


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _TwiceError(next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
    return found


DECODER = json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=_refuse_twice)


def read_json_array(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield ``(line of its start, element)`` of a file that is one JSON array, holding one element at a time.

    Raises:
        DataError: no array, a malformed or cut element, a key twice in one object, text after the array;
            names the line.
    """
    import ijson

    events = ijson.sendable_list()
    parser, builder = ijson.basic_parse_coro(events), ijson.ObjectBuilder(map_type=_Once)
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
                if event in DEEPER:
                    depth += DEEPER[event]
                    if depth > DEEPEST:
                        raise RecursionError
                elif event == "number" and isinstance(value, Decimal):
                    value = float(value)
                builder.event(event, value)
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


def read_objects(
    path: Path, *, split: bool = True, ids: tuple[str, ...] = QUERY_IDS
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line, object)`` of JSON lines, an array, one object, or one object of objects by id.

    ``split`` gives each of the objects by id for itself, with its ``id``; ``ids`` are the keys by which it
    may say it once more.

    Raises:
        DataError: as the readers of each; one of the objects by id says another id (pandas' rows by number).
    """
    head = first_line(path).strip()
    if head == "[":
        for number, value in read_json_array(path):
            if not isinstance(value, dict):
                raise DataError.at(path, number, f"expected an array of objects, found {json_type(value)}")
            yield number, value
        return
    is_line = head.endswith("}")
    if is_line and not ("{" in head[1:] and by_id(parse_object(head, path, 1))):
        yield from read_json_lines(path)
        return
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError.at(path, 1, f"expected a JSON object {{…}}, found {json_type(value)}")
    if not split or not by_id(value):
        yield 1, value
        return
    for name, inner in value.items():
        own = {key: text_id for key, text_id in inner.items() if word_of(key) in ids}
        if name not in map(str, own.values()) and not {"number", "num"}.issuperset(map(word_of, own)):
            raise DataError.at(
                path,
                1,
                f"the object {quoted(name)} says another id, {quoted(own)}; give it one, or write the "
                "objects alone, one a line (pandas: orient='records', lines=True)",
            )
        yield 1, {"id": name, **{key: inner[key] for key in inner if key not in own}}


def by_id(value: Mapping[str, Any]) -> bool:
    """Return whether an object holds objects by id, as Anserini's topics do."""
    return bool(value) and all(isinstance(inner, dict) and inner for inner in value.values())
