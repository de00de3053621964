"""Ids to rows, compiled: an open-addressing hash table over newline-terminated ids in one byte array.

A slot holds half a hash and a row: only where the halves agree are bytes compared, so that nearly every
look-up touches one slot and one id, and none makes a string. The plain twin is a Python ``dict``; tests
compare the two.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit

NEWLINE = 10
EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
FNV_OFFSET = np.uint64(14695981039346656037)
FNV_PRIME = np.uint64(1099511628211)
Kind = TypeVar("Kind", bound=np.generic)


class Interned(NamedTuple):
    """The growing table. Rows are given in order of first appearance.

    Attributes:
        slots: [power of two] uint64, upper half a tag of the hash, lower half the row; `EMPTY` if free.
        hashes: [capacity] uint64, the hash of each row's id.
        data: [bytes] uint8, the ids, each followed by a newline.
        ends: [capacity] int64, where each id's newline stands.
        counts: [2] int64, ids held and bytes used.
    """

    slots: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    counts: NDArray[np.int64]


def empty_table() -> Interned:
    """Return a table without ids and without room; call `with_room` before use."""
    return Interned(
        np.full(2, EMPTY),
        np.empty(0, np.uint64),
        np.empty(0, np.uint8),
        np.empty(0, np.int64),
        np.zeros(2, np.int64),
    )


def with_room(table: Interned, ids: int, size: int) -> Interned:
    """Return the table with room for ``ids`` more ids of ``size`` bytes in all (newlines included)."""
    slots, hashes, data, ends, counts = table
    held, used = int(counts[0]), int(counts[1])
    if held + ids > len(ends):
        hashes, ends = _longer(hashes, held + ids), _longer(ends, held + ids)
    if used + size > len(data):
        data = _longer(data, used + size)
    if 2 * (held + ids) > len(slots):
        slots = np.full(1 << (4 * (held + ids)).bit_length(), EMPTY)
        if held:
            refill(slots, hashes, held)
    return Interned(slots, hashes, data, ends, counts)


def _longer(array: NDArray[Kind], least: int) -> NDArray[Kind]:
    grown = np.empty(max(least, 2 * len(array)), dtype=array.dtype)
    grown[: len(array)] = array
    return grown


@njit(cache=True, nogil=True)
def id_start(ends: NDArray[np.int64], row: int) -> int:
    """Return where the id of a row begins: behind the newline of the one before."""
    return int(ends[row - 1]) + 1 if row > 0 else 0


@njit(cache=True, nogil=True)
def refill(slots: NDArray[np.uint64], hashes: NDArray[np.uint64], held: int) -> None:
    """Enter the first ``held`` rows into empty ``slots``."""
    last = np.uint64(len(slots) - 1)
    # Each row goes to the slot of its hash's lower bits, or to the next free one behind it.
    for row in range(held):
        place = hashes[row] & last
        while slots[place] != EMPTY:
            place = (place + np.uint64(1)) & last
        slots[place] = (hashes[row] & np.uint64(0xFFFFFFFF00000000)) | np.uint64(row)


@njit(cache=True, nogil=True)
def folded(value: np.uint64) -> np.uint64:
    """Return the hash with its upper half mixed into the lower, which chooses the slot."""
    return value ^ (value >> np.uint64(29))


@njit(cache=True, nogil=True)
def hash_bytes(buffer: NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    """Return the 64-bit FNV-1a hash of ``buffer[start:stop]``, its halves folded together."""
    value = FNV_OFFSET
    for position in range(start, stop):
        value = (value ^ np.uint64(buffer[position])) * FNV_PRIME
    return folded(value)


@njit(cache=True, nogil=True)
def same_bytes(left: NDArray[np.uint8], start: int, stop: int, right: NDArray[np.uint8], other: int) -> bool:
    """Return whether ``left[start:stop]`` equals ``right`` from ``other`` on, up to a newline there."""
    if other + stop - start >= len(right) or right[other + stop - start] != NEWLINE:
        return False
    for position in range(start, stop):
        if left[position] != right[other + position - start]:
            return False
    return True


@njit(cache=True, nogil=True)
def find(table: Interned, buffer: NDArray[np.uint8], start: int, stop: int, key: np.uint64) -> int:
    """Return the row of the id ``buffer[start:stop]`` with hash ``key``, or ``-1 - place`` of a free slot."""
    last = np.uint64(len(table.slots) - 1)
    tag = key & np.uint64(0xFFFFFFFF00000000)
    place = key & last
    # From the hash's slot on until the id or a free slot is met.
    while table.slots[place] != EMPTY:
        slot = table.slots[place]
        if slot & np.uint64(0xFFFFFFFF00000000) == tag:
            row = np.int64(slot & np.uint64(0xFFFFFFFF))
            begin = id_start(table.ends, int(row))
            if same_bytes(buffer, start, stop, table.data, begin):
                return int(row)
        place = (place + np.uint64(1)) & last
    return -1 - int(place)


@njit(cache=True, nogil=True)
def intern(table: Interned, buffer: NDArray[np.uint8], start: int, stop: int, key: np.uint64) -> int:
    """Return the row of the id ``buffer[start:stop]`` with hash ``key``, adding it when it is new.

    There must be room for it.
    """
    row = find(table, buffer, start, stop, key)
    if row >= 0:
        return row
    place = -1 - row
    row, used = table.counts[0], table.counts[1]
    for position in range(start, stop):
        table.data[used + position - start] = buffer[position]
    table.data[used + stop - start] = NEWLINE
    table.ends[row] = used + stop - start
    table.hashes[row] = key
    table.slots[place] = (key & np.uint64(0xFFFFFFFF00000000)) | np.uint64(row)
    table.counts[0] = row + 1
    table.counts[1] = used + stop - start + 1
    return int(row)


@njit(cache=True, nogil=True)
def hash_all(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the hash of every newline-terminated id of ``data``: [P]."""
    hashes = np.empty(len(ends), dtype=np.uint64)
    start = 0
    for count in range(len(ends)):
        hashes[count] = hash_bytes(data, start, ends[count])
        start = ends[count] + 1
    return hashes


@njit(cache=True, nogil=True)
def intern_all(
    table: Interned, data: NDArray[np.uint8], ends: NDArray[np.int64], rows: NDArray[np.int32]
) -> None:
    """Intern every newline-terminated id of ``data`` and write its row to ``rows``."""
    start = 0
    for count in range(len(ends)):
        rows[count] = intern(table, data, start, ends[count], hash_bytes(data, start, ends[count]))
        start = ends[count] + 1


@njit(cache=True, nogil=True)
def find_all(
    table: Interned,
    data: NDArray[np.uint8],
    ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    rows: NDArray[np.int32],
) -> None:
    """Write to ``rows`` the row of every newline-terminated id of ``data``, whose hashes are given, or -1."""
    start = 0
    for count in range(len(ends)):
        row = find(table, data, start, ends[count], hashes[count])
        rows[count] = row if row >= 0 else -1
        start = ends[count] + 1
