"""Reading a file that is one large JSON array, element by element.

DPR's training files are such arrays of several gigabytes; the library's parser would hold them whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError
from dretrieve.text.compression import BUFFER
from dretrieve.text.files import DECODER, check_encodable, json_fault, read_lines


def read_json_array(path: Path, largest: int = 1 << 28) -> Iterator[tuple[int, Any]]:
    """Yield ``(line of its start, element)`` of a file that is one JSON array, holding one element at a time.

    Args:
        path: the file.
        largest: characters; an element longer than this is taken for damage.

    Raises:
        DataError: no array, a malformed or cut element, or text after the array.
    """
    stream = _ArrayStream(path, largest)
    stream.expect("[", "expected a JSON array that starts with '['")
    if stream.next_is("]"):
        stream.end()
        return
    while True:
        yield stream.element()
        if stream.next_is("]"):
            stream.end()
            return
        stream.expect(",", "expected ',' or ']' after an element of the array")


class _ArrayStream:
    """A text window that moves over a file; ``line`` is the line of ``text[position]``."""

    def __init__(self, path: Path, largest: int) -> None:
        self.path, self.largest = path, largest
        self.lines = read_lines(path)
        self.text, self.position, self.line, self.last, self.finished = "", 0, 1, 1, False
        self.scan = DECODER.raw_decode

    def more(self, size: int) -> bool:
        """Read on by at least ``size`` characters where there are any; return whether the text grew."""
        parts, count = [self.text[self.position :]], 0
        self.position = 0
        for number, line in self.lines:
            self.last = number
            parts += (line, "\n")
            count += len(line) + 1
            if count >= size:
                break
        else:
            self.finished = True
        self.text = "".join(parts)
        return count > 0

    def skip(self, count: int) -> None:
        self.line += self.text.count("\n", self.position, self.position + count)
        self.position += count

    def peek(self) -> str:
        """Return the next character that is no white space, '' at the end."""
        while True:
            while self.position < len(self.text):
                if self.text[self.position] not in " \t\r\n":
                    return self.text[self.position]
                self.skip(1)
            if self.finished or not self.more(BUFFER):
                return ""

    def next_is(self, character: str) -> bool:
        if self.peek() != character:
            return False
        self.skip(1)
        return True

    def expect(self, character: str, message: str) -> None:
        if not self.next_is(character):
            found = self.peek()
            tail = f"found {found!r}" if found else "but the file ends; fetch it again"
            raise DataError.at(self.path, self.line if found else self.last, f"{message}, {tail}")

    def element(self) -> tuple[int, Any]:
        self.peek()
        while True:
            try:
                value, stop = self.scan(self.text, self.position)
                if stop < len(self.text) or self.finished:
                    break
            except (ValueError, RecursionError) as error:
                length = len(self.text) - self.position
                if self.finished or length > self.largest:
                    message = json_fault(error, " in the array element that starts here")
                    raise DataError.at(self.path, self.line, message) from None
            self.more(max(BUFFER, len(self.text) - self.position))
        line = self.line
        check_encodable(value, self.path, line)
        self.skip(stop - self.position)
        return line, value

    def end(self) -> None:
        found = self.peek()
        if found:
            raise DataError.at(self.path, self.line, f"text after the end of the array: {found!r}")
