"""Token vectors as differences from their centroids in a few bits, sums of rows, lists: compiled.

Each loop goes once over what it reads and writes nothing down between, where numpy builds tables as large as
the block for every step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit
from dretrieve.kernels.dot import frozen


class Coding(NamedTuple):
    """How residuals are coded.

    Attributes:
        centroids: [C, dim] float32.
        steps: [2 ** bits] float32, rising: what each residual code adds to the centroid.
        cuts: [2 ** bits - 1] float32: a residual above the first n of them has the code n.
        bits: 1, 2, 4 or 8.
    """

    centroids: NDArray[np.float32]
    steps: NDArray[np.float32]
    cuts: NDArray[np.float32]
    bits: int


def code_residuals(
    values: NDArray[np.float32], codes: NDArray[np.uint16], coding: Coding
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return [n, dim * bits / 8 rounded up] packed residual codes, and [n], how far off a vector is at most.

    Args:
        values: [n, dim] finite.
        codes: [n], the centroid of each.
        coding: centroids and levels.
    """
    width = -(-values.shape[1] * coding.bits // 8)
    packed, errors = np.zeros((len(values), width), np.uint8), np.empty(len(values), np.float32)
    centroids, steps, cuts = map(frozen, coding[:3])
    tables = Coding(centroids, steps, cuts, coding.bits)
    _code_residuals(frozen(values), frozen(codes), tables, packed, errors)
    return packed, errors


@njit(nogil=True, cache=True)
def _code_residuals(values: Any, codes: Any, coding: Any, packed: Any, errors: Any) -> None:
    centroids, steps, cuts, bits = coding
    count = len(cuts)
    # 255 cuts of equal distance: the first guess is right but for rounding
    first, pace = cuts[0], np.float32(0)
    if count > 1:
        pace = np.float32(count - 1) / (cuts[count - 1] - first)
    for row in range(len(values)):
        centroid, total = codes[row], 0.0
        for d in range(values.shape[1]):
            middle = centroids[centroid, d]
            residual = values[row, d] - middle
            code = 0
            if bits == 8:
                code = int(min(max((residual - first) * pace + 1, 0.0), np.float32(count)))
                while code < count and residual > cuts[code]:
                    code += 1
                while code > 0 and residual <= cuts[code - 1]:
                    code -= 1
            else:
                for cut in cuts:
                    code += residual > cut
            packed[row, d * bits // 8] |= np.uint8(code << d * bits % 8)
            off = np.float64(values[row, d]) - np.float64(middle + steps[code])
            total += off * off
        errors[row] = np.nextafter(np.float32(np.sqrt(total)), np.float32(np.inf))


def add_rows(rows: NDArray[np.int8], owners: NDArray[np.integer[Any]], count: int) -> NDArray[np.int64]:
    """Return [count, dim], for each owner the sum of its rows.

    Args:
        rows: [n, dim].
        owners: [n], from 0 to ``count``.
        count: how many owners there are.
    """
    sums = np.zeros((count, rows.shape[1]), np.int64)
    _add_rows(frozen(rows), frozen(owners), sums)
    return sums


@njit(nogil=True, cache=True)
def _add_rows(rows: Any, owners: Any, sums: Any) -> None:
    for row in range(len(rows)):
        owner = owners[row]
        for d in range(rows.shape[1]):
            sums[owner, d] += rows[row, d]


def lists_of(
    codes: NDArray[np.uint16], borders: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.uint16] | NDArray[np.int32]]:
    """Return [count + 1] offsets and lists: the texts that have a code, each once, rising, for every code.

    Args:
        codes: [T], below ``count``, one text after another.
        borders: [N + 1]; text p has ``codes[borders[p]:borders[p + 1]]``.
        count: how many codes there are.
    """
    offsets, last = np.zeros(count + 1, np.int64), np.full(count, -1, np.int64)
    _count_lists(frozen(codes), frozen(borders), offsets[1:], last)
    np.cumsum(offsets, out=offsets)
    lists = np.empty(offsets[-1], np.uint16 if len(borders) - 1 <= 1 << 16 else np.int32)
    last[:] = -1
    _fill_lists(frozen(codes), frozen(borders), offsets[:-1].copy(), last, lists)
    return offsets, lists


@njit(nogil=True, cache=True)
def _count_lists(codes: Any, borders: Any, counts: Any, last: Any) -> None:
    for text in range(len(borders) - 1):
        for token in range(borders[text], borders[text + 1]):
            code = codes[token]
            if last[code] != text:
                last[code] = text
                counts[code] += 1


@njit(nogil=True, cache=True)
def _fill_lists(codes: Any, borders: Any, places: Any, last: Any, lists: Any) -> None:
    for text in range(len(borders) - 1):
        for token in range(borders[text], borders[text + 1]):
            code = codes[token]
            if last[code] != text:
                last[code] = text
                lists[places[code]] = text
                places[code] += 1
