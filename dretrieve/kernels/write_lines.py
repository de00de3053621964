"""Hits to lines of text, compiled; the plain twin is the loop in `dretrieve.runs.write`, equal in bytes.

A score has nine significant digits, as ``%.9g`` writes them, or the fewest that give the same double back, as
``repr`` does; what is seldom and hard comes as text. It is fast because no string is made for an id, a rank
or a score.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit
from dretrieve.kernels.interning import id_start
from dretrieve.kernels.parse_lines import POWERS, SURE, product_error, quotient

ZERO, MINUS, POINT = 48, 45, 46
LONGEST_SCORE = 26  # of a double: sign, 17 digits, point, e-308, and ".0"
AS_TEXT = 99  # instead of a decimal exponent


class Strings(NamedTuple):
    """Byte strings, each followed by a newline that is not part of it."""

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]


class Pieces(NamedTuple):
    """What the lines are made of.

    Attributes:
        before: [queries] what stands before the passage id (query id, perhaps Q0), with its blanks.
        passages: [P] the ids.
        unusual: the scores that come as text, in order.
        tail: what follows the score, newline included.
        has_rank: whether the rank is written.
        has_score: whether the score is written.
        blank: the separator.
    """

    before: Strings
    passages: Strings
    unusual: Strings
    tail: NDArray[np.uint8]
    has_rank: bool
    has_score: bool
    blank: int


@njit(cache=True, nogil=True)
def nine_digits(score: float) -> tuple[int, int]:
    """Return the nine significant digits of ``score`` > 0 as a whole number, and its decimal exponent.

    The exponent is `AS_TEXT` where ``%g`` would write one, or where rounding to nearest cannot be decided in
    double precision (the product with an exact power of ten errs by at most 2e-7 units of the ninth digit).
    """
    exponent = 8
    # Which power of ten brings nine digits before the point.
    while exponent > -5 and score * POWERS[8 - exponent] < 1e8:
        exponent -= 1
        if 8 - exponent > 12:
            return 0, AS_TEXT
    scaled = score * POWERS[8 - exponent]
    if scaled >= 1e9:
        return 0, AS_TEXT
    digits = np.int64(np.floor(scaled))
    fraction = scaled - digits
    if abs(fraction - 0.5) < 1e-6:
        return 0, AS_TEXT
    if fraction > 0.5:
        digits += 1
    if digits == 1000000000:
        if exponent == 8:
            return 0, AS_TEXT
        return 100000000, exponent + 1
    return int(digits), exponent


@njit(cache=True, nogil=True)
def shortest_digits(score: float, exactly: bool) -> tuple[int, int, int]:
    """Return the digits of ``score`` > 0 as a whole number, how many they are, and the decimal exponent.

    Nine, or, if they must give the double back ``exactly`` and do not, 15 (which hold every shorter decimal),
    16 or 17 (which always suffice). The exponent is `AS_TEXT` where this cannot be decided here.
    """
    digits, exponent = nine_digits(score)
    if exponent == AS_TEXT or not exactly:
        return digits, 9, exponent
    places = 8 - exponent
    if (digits / POWERS[places] if places >= 0 else digits * POWERS[-places]) == score:
        return digits, 9, exponent
    for count in range(15, 18):
        power = POWERS[count - 1 - exponent]
        # product + error is score * power exactly; its whole part beyond 2^53 may stand in the error.
        product = score * power
        whole = np.floor(product)
        rest = (product - whole) + product_error(score, power, product)
        below = np.floor(rest)
        if abs(rest - below - 0.5) < 1e-6:
            break
        digits = int(whole) + int(below) + (1 if rest - below > 0.5 else 0)
        if digits >= 10**count or digits < 10 ** (count - 1):
            break
        value, state = quotient(np.uint64(digits), power)
        if state != SURE:
            break
        if value == score:
            return digits, count, exponent
    return 0, 0, AS_TEXT


@njit(cache=True, nogil=True)
def mark_unusual(scores: NDArray[np.floating[Any]], exactly: bool) -> NDArray[np.bool_]:
    """Return which scores `write_lines` must be given as text: [H]."""
    marks = np.zeros(len(scores), dtype=np.bool_)
    for row in range(len(scores)):
        value = np.float64(scores[row])
        if value == 0.0:
            marks[row] = np.signbit(value)
        else:
            marks[row] = shortest_digits(abs(value), exactly)[2] == AS_TEXT
    return marks


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
def _write_score(out: NDArray[np.uint8], place: int, value: float, exactly: bool) -> int:
    if value == 0.0:
        out[place] = ZERO
        return place + 1
    if value < 0:
        out[place] = MINUS
        place += 1
    digits, significant, exponent = shortest_digits(abs(value), exactly)
    while digits % 10 == 0:
        digits //= 10
        significant -= 1
    whole = max(exponent + 1, 0)  # digits before the point
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
    # From the last digit to the first, so that zeros behind the point are written too.
    for back in range(significant - whole - 1, -1, -1):
        out[place + back] = ZERO + fraction % 10
        fraction //= 10
    return place + significant - whole


@njit(cache=True, nogil=True)
def write_lines(
    out: NDArray[np.uint8],
    pieces: Pieces,
    offsets: NDArray[np.int64],
    passages: NDArray[np.int32],
    scores: NDArray[np.floating[Any]],
    exactly: bool,
    marks: NDArray[np.bool_],
) -> int:
    """Write the lines of some queries to ``out`` and return how many bytes they take.

    Args:
        out: large enough.
        pieces: prefix of each query, ids, tail.
        offsets: [queries + 1] where each query's hits begin.
        passages: [H] rows of ``pieces.passages``.
        scores: [H].
        exactly: whether a score's digits must give its double back.
        marks: [H] scores that stand in ``pieces.unusual``, in order.
    """
    place, next_unusual = 0, 0
    before, ids, unusual = pieces.before, pieces.passages, pieces.unusual
    for query in range(len(offsets) - 1):
        first = id_start(before.ends, query)
        # A line: what stands before, the passage's bytes, rank, score, tail, each copied behind the last.
        for row in range(offsets[query], offsets[query + 1]):
            place = _copy(out, place, before.data, first, before.ends[query])
            passage = passages[row]
            begin = id_start(ids.ends, passage)
            place = _copy(out, place, ids.data, begin, ids.ends[passage])
            out[place] = pieces.blank
            place += 1
            if pieces.has_rank:
                place = _write_whole(out, place, row - offsets[query] + 1)
                if pieces.has_score:
                    out[place] = pieces.blank
                    place += 1
            if pieces.has_score:
                if marks[row]:
                    begin = id_start(unusual.ends, next_unusual)
                    place = _copy(out, place, unusual.data, begin, unusual.ends[next_unusual])
                    next_unusual += 1
                else:
                    place = _write_score(out, place, np.float64(scores[row]), exactly)
            place = _copy(out, place, pieces.tail, 0, len(pieces.tail))
    return place
