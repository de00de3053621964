"""A column of ids kept as bytes: one id per line, memory-mapped, decoded on request.

Twenty million ids cost their bytes in the page cache and eight bytes each here, not a Python string each.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import VerificationError

NEWLINE = 10


class IdTable(Sequence[str]):
    """A read-only sequence of ids over the UTF-8 lines of a buffer, each ended by a newline."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data = data
        ends = [
            np.flatnonzero(data[start : start + (1 << 24)] == NEWLINE) + start
            for start in range(0, len(data), 1 << 24)
        ]
        self._ends = np.concatenate(ends) if ends else np.empty(0, dtype=np.int64)

    @classmethod
    def open(cls, path: Path) -> IdTable:
        """Return the table over a file of ids.

        Raises:
            VerificationError: the file does not end with a newline (it was cut).
        """
        if path.stat().st_size == 0:
            return cls(np.empty(0, dtype=np.uint8))
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if mapped[-1] != NEWLINE:
            raise VerificationError(
                f"{path} does not end with a newline: it was cut; make the artefact again"
            )
        return cls(np.frombuffer(mapped, dtype=np.uint8))

    @classmethod
    def of(cls, ids: Iterable[str]) -> IdTable:
        """Return a table in memory."""
        return cls(np.frombuffer("".join(f"{text_id}\n" for text_id in ids).encode(), dtype=np.uint8))

    @property
    def data(self) -> NDArray[np.uint8]:
        """The bytes, each id followed by a newline."""
        return self._data

    @property
    def ends(self) -> NDArray[np.int64]:
        """Where each id's newline stands."""
        return self._ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._lines(start, stop)
            return [self[row] for row in range(start, stop, step)]
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(index)
        start = int(self._ends[row - 1]) + 1 if row else 0
        return self._data[start : int(self._ends[row])].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), 65536):
            yield from self._lines(start, min(start + 65536, len(self)))

    def _lines(self, start: int, stop: int) -> list[str]:
        if start >= stop:
            return []
        first = int(self._ends[start - 1]) + 1 if start else 0
        return self._data[first : int(self._ends[stop - 1])].tobytes().decode().split("\n")
