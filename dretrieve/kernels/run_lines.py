"""Hits to lines of text, compiled: nine significant digits, as ``%.9g`` writes them; others come as text.

The plain twin is the Python loop in `dretrieve.runs.write`; tests compare the two byte for byte.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

SPACE, NEWLINE, ZERO, MINUS, POINT = 32, 10, 48, 45, 46
POWERS = 10.0 ** np.arange(13)  # exact in double precision
LONGEST_SCORE = 26  # of a double: sign, 17 digits, point, e-308, and ".0"


class Strings(NamedTuple):
    """Byte strings, each followed by a newline that is not part of it."""

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]


class Pieces(NamedTuple):
    """What the lines are made of.

    Attributes:
        before: [queries] what stands before the passage id (query id, perhaps Q0), with its blanks.
        passages: [P] the ids.
        tail: what follows the score, newline included.
        has_rank: whether the rank is written.
        has_score: whether the score is written.
        blank: the separator.
    """

    before: Strings
    passages: Strings
    tail: NDArray[np.uint8]
    has_rank: bool
    has_score: bool
    blank: int


@njit(cache=True, nogil=True)
def nine_digits(score: float) -> tuple[int, int]:
    """Return the nine significant digits of ``score`` > 0 as a whole number, and its decimal exponent.

    The exponent is 99 where ``%g`` would write one, or where rounding to nearest cannot be decided in double
    precision (the product with an exact power of ten errs by at most 2e-7 units of the ninth digit).
    """
    exponent = 8
    while exponent > -5 and score * POWERS[8 - exponent] < 1e8:
        exponent -= 1
        if 8 - exponent > 12:
            return 0, 99
    scaled = score * POWERS[8 - exponent]
    if scaled >= 1e9:
        return 0, 99
    digits = np.int64(np.floor(scaled))
    fraction = scaled - digits
    if abs(fraction - 0.5) < 1e-6:
        return 0, 99
    if fraction > 0.5:
        digits += 1
    if digits == 1000000000:
        if exponent == 8:
            return 0, 99
        return 100000000, exponent + 1
    return int(digits), exponent


@njit(cache=True, nogil=True)
def mark_unusual(scores: NDArray[np.floating[Any]], exactly: bool, marks: NDArray[np.bool_]) -> None:
    """Mark the scores that `write_lines` must be given as text; ``exactly``: also those with more digits."""
    for row in range(len(scores)):
        value = np.float64(scores[row])
        if value == 0.0:
            marks[row] = np.signbit(value)
            continue
        digits, exponent = nine_digits(abs(value))
        marks[row] = exponent == 99
        if exactly and exponent != 99:
            places = 8 - exponent
            near = digits / POWERS[places] if places >= 0 else digits * POWERS[-places]
            marks[row] = near != abs(value)


@njit(cache=True, nogil=True)
def _copy(out: NDArray[np.uint8], place: int, data: NDArray[np.uint8], start: int, stop: int) -> int:
    for position in range(start, stop):
        out[place] = data[position]
        place += 1
    return place


@njit(cache=True, nogil=True)
def _write_whole(out: NDArray[np.uint8], place: int, value: int) -> int:
    length, rest = 1, value
    while rest >= 10:
        rest //= 10
        length += 1
    for back in range(length - 1, -1, -1):
        out[place + back] = ZERO + value % 10
        value //= 10
    return place + length


@njit(cache=True, nogil=True)
def _write_score(out: NDArray[np.uint8], place: int, value: float) -> int:
    if value == 0.0:
        out[place] = ZERO
        return place + 1
    if value < 0:
        out[place] = MINUS
        place += 1
    digits, exponent = nine_digits(abs(value))
    significant = 9
    while digits % 10 == 0:
        digits //= 10
        significant -= 1
    whole = max(exponent + 1, 0)
    if whole == 0:
        out[place], out[place + 1] = ZERO, POINT
        place += 2
        for _ in range(-exponent - 1):
            out[place] = ZERO
            place += 1
        return _write_whole(out, place, digits)
    if significant <= whole:
        return _write_whole(out, place, digits * int(POWERS[whole - significant]))
    unit = int(POWERS[significant - whole])
    place = _write_whole(out, place, digits // unit)
    out[place] = POINT
    place += 1
    fraction = digits % unit
    for back in range(significant - whole - 1, -1, -1):
        out[place + back] = ZERO + fraction % 10
        fraction //= 10
    return place + significant - whole


@njit(cache=True, nogil=True)
def write_lines(
    out: NDArray[np.uint8],
    pieces: Pieces,
    bounds: NDArray[np.int64],
    passages: NDArray[np.int32],
    scores: NDArray[np.floating[Any]],
    marks: NDArray[np.bool_],
    unusual: Strings,
) -> int:
    """Write the lines of some queries to ``out`` and return how many bytes they take.

    Args:
        out: large enough.
        pieces: prefix of each query, ids, tail.
        bounds: [queries, 2] first and last row (exclusive) of each query's hits.
        passages: [H] rows of ``pieces.passages``.
        scores: [H].
        marks: [H] scores that stand in ``unusual``, in order.
        unusual: their text.
    """
    place, next_unusual = 0, 0
    before, ids = pieces.before, pieces.passages
    for query in range(len(bounds)):
        first = before.ends[query - 1] + 1 if query > 0 else 0
        for row in range(bounds[query, 0], bounds[query, 1]):
            place = _copy(out, place, before.data, first, before.ends[query])
            passage = passages[row]
            begin = ids.ends[passage - 1] + 1 if passage > 0 else 0
            place = _copy(out, place, ids.data, begin, ids.ends[passage])
            out[place] = pieces.blank
            place += 1
            if pieces.has_rank:
                place = _write_whole(out, place, row - bounds[query, 0] + 1)
                if pieces.has_score:
                    out[place] = pieces.blank
                    place += 1
            if pieces.has_score:
                if marks[row]:
                    begin = unusual.ends[next_unusual - 1] + 1 if next_unusual > 0 else 0
                    place = _copy(out, place, unusual.data, begin, unusual.ends[next_unusual])
                    next_unusual += 1
                else:
                    place = _write_score(out, place, np.float64(scores[row]))
            place = _copy(out, place, pieces.tail, 0, len(pieces.tail))
    return place
