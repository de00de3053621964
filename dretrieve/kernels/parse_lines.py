"""Lines of a run to columns, compiled: byte scan, hashed ids and decimal scores in one pass.

A block is a byte array of whole lines; what comes out are flat arrays, one entry a line, and the passage ids'
bytes one behind the other. It is fast because no line, id or number becomes an object, and because a query id
is only compared with that of the line before. Nothing is shared between blocks, so that several threads may
scan one file. The plain twin is `dretrieve.runs.lines.parse_line`, which also words the errors; tests compare
the two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit
from dretrieve.kernels.interning import FNV_OFFSET, FNV_PRIME, NEWLINE, folded

SURE, UNSURE, BAD = 0, 1, 2
POWERS = 10.0 ** np.arange(23)  # exact in double precision
TAB, RETURN, BLANK, HASH = 9, 13, 32, 35
CUT = 1_000_000
OTHER_CUT, BROKEN = -1, -2  # instead of a number of columns


class Shape(NamedTuple):
    """Which column holds what, counted from 0; the query always stands in column 0.

    Attributes:
        columns: how many there are.
        passage: the column of the passage id.
        score: the column of the score.
    """

    columns: int
    passage: int
    score: int


class Scan(NamedTuple):
    """Where the parsed lines go, with room for every line.

    Attributes:
        scores: [lines] float64.
        hashes: [lines] uint64 of the passage ids.
        ends: [lines] int64, where each passage id's newline stands in ``data``.
        data: [bytes] uint8, the passage ids, each followed by a newline.
        changes: [lines, 3] int64, row, start and stop of each query id that differs from the line before.
        unsure: [lines, 3] int64, row, start and stop of scores to be parsed by other means.
        places: [lines] int32, free for who looks the ids up.
        ranks: [lines] int32, free for who ranks the hits.
        order: [lines] int32, the rows as they stand: 0, 1, 2 …
    """

    scores: NDArray[np.float64]
    hashes: NDArray[np.uint64]
    ends: NDArray[np.int64]
    data: NDArray[np.uint8]
    changes: NDArray[np.int64]
    unsure: NDArray[np.int64]
    places: NDArray[np.int32]
    ranks: NDArray[np.int32]
    order: NDArray[np.int32]


def room_for(size: int, columns: int) -> Scan:
    """Return room for a block of ``size`` bytes; memory that is never written costs nothing."""
    lines = size // (2 * columns) + 1
    return Scan(
        np.empty(lines, np.float64),
        np.empty(lines, np.uint64),
        np.empty(lines, np.int64),
        np.empty(size, np.uint8),
        np.empty((lines, 3), np.int64),
        np.empty((lines, 3), np.int64),
        np.empty(lines, np.int32),
        np.empty(lines, np.int32),
        np.arange(lines, dtype=np.int32),
    )


@njit(cache=True, nogil=True)
def _is_blank(byte: int) -> bool:
    return byte == BLANK or byte == TAB or byte == RETURN


@njit(cache=True, nogil=True)
def _after_blanks(buffer: NDArray[np.uint8], position: int) -> int:
    while _is_blank(buffer[position]):
        position += 1
    return position


@njit(cache=True, nogil=True)
def _after_spaces(buffer: NDArray[np.uint8], position: int) -> int:
    while buffer[position] == BLANK:
        position += 1
    return position


@njit(cache=True, nogil=True)
def _holds(buffer: NDArray[np.uint8], start: int, stop: int, byte: int) -> bool:
    for position in range(start, stop):
        if buffer[position] == byte:
            return True
    return False


@njit(cache=True, nogil=True)
def _cell(buffer: NDArray[np.uint8], position: int) -> tuple[int, int]:
    """Return where the cell that begins here ends without its blanks, and where its tab or newline stands.

    One with a carriage return within ends where it begins.
    """
    start, stop, returned = position, position, False
    # On to the tab or newline; the cell stops behind the last byte that is not blank.
    while buffer[position] != TAB and buffer[position] != NEWLINE:
        returned |= buffer[position] == RETURN
        position += 1
        if not _is_blank(buffer[position - 1]):
            if returned:
                return start, position
            stop = position
    return stop, position


@njit(cache=True, nogil=True)
def _word(buffer: NDArray[np.uint8], position: int) -> int:
    """Return where the word that begins here ends."""
    while buffer[position] > BLANK or (buffer[position] != NEWLINE and not _is_blank(buffer[position])):
        position += 1
    return position


@njit(cache=True, nogil=True)
def _exponent(buffer: NDArray[np.uint8], position: int, stop: int) -> tuple[int, int]:
    """Return the value of the digits after the ``e`` and how it stands (`SURE` or `BAD`)."""
    negative = False
    if position < stop and (buffer[position] == 45 or buffer[position] == 43):
        negative = buffer[position] == 45
        position += 1
    if position == stop:
        return 0, BAD
    value = 0
    while position < stop:
        digit = np.int64(buffer[position]) - 48
        if digit < 0 or digit > 9:
            return 0, BAD
        value = value * 10 + int(digit) if value < 1000 else 9999
        position += 1
    return -value if negative else value, SURE


@njit(cache=True, nogil=True)
def _mantissa(buffer: NDArray[np.uint8], position: int, stop: int) -> tuple[np.uint64, int, int, int]:
    """Return the first 19 digits, the power of ten, where the digits end, and how many there are.

    The power is `CUT` or more where digits that count were left out.
    """
    mantissa, power, digits, seen, point = np.uint64(0), 0, 0, 0, False
    # Digits move the number to the left until 19 that count are held; the power keeps where the point stands.
    while position < stop:
        byte = buffer[position]
        if 48 <= byte <= 57:
            seen += 1
            if digits < 19:
                mantissa = mantissa * np.uint64(10) + np.uint64(byte - 48)
                digits += 1 if mantissa > np.uint64(0) else 0
                power -= 1 if point else 0
            else:
                power += CUT if byte > 48 else 0
                power += 0 if point else 1
        elif byte == 46 and not point:
            point = True
        else:
            break
        position += 1
    return mantissa, power, position, seen


@njit(cache=True, nogil=True)
def product_error(left: float, right: float, product: float) -> float:
    """Return what the rounded product lacks of the exact one (Dekker 1971)."""
    # Each factor is cut into two halves of 26 bits, whose four products are exact; what the rounded product
    # lacks is their sum less it, taken off in the order in which nothing is lost.
    a, b = left * 134217729.0, right * 134217729.0  # 2^27 + 1
    a_high, b_high = a - (a - left), b - (b - right)
    a_low, b_low = left - a_high, right - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@njit(cache=True, nogil=True)
def quotient(mantissa: np.uint64, divisor: float) -> tuple[float, int]:
    """Return ``mantissa / divisor`` of up to 19 digits and whether its double is surely right.

    The rounded quotient is corrected by what it leaves, known to 2^-50; unsure is a correction that ends
    so near to the middle of two doubles that this matters.
    """
    high = np.float64(mantissa)
    low = np.float64(np.int64(mantissa - np.uint64(high)))
    quotient = high / divisor
    product = quotient * divisor
    left = (high - product) - product_error(quotient, divisor, product)
    correction = (left + low) / divisor
    least, most = quotient + correction * (1.0 - 2.0**-40), quotient + correction * (1.0 + 2.0**-40)
    return least, SURE if least == most else UNSURE


@njit(cache=True, nogil=True)
def parse_score(buffer: NDArray[np.uint8], start: int, stop: int) -> tuple[float, int]:
    """Return the decimal number of ``buffer[start:stop]`` and whether its double is surely right.

    Up to 2^53 in at most 22 decimal places is one exact division (Clinger 1990).
    """
    position = start
    negative = buffer[position] == 45
    if negative or buffer[position] == 43:
        position += 1
    mantissa, power, position, seen = _mantissa(buffer, position, stop)
    if seen == 0:
        return 0.0, BAD
    if position < stop:
        if buffer[position] != 101 and buffer[position] != 69:
            return 0.0, BAD
        extra, state = _exponent(buffer, position + 1, stop)
        if state == BAD:
            return 0.0, BAD
        power += extra
    value, state = float(np.float64(mantissa)), SURE
    if mantissa <= np.uint64(1 << 53) and -22 <= power <= 22:
        value = value * POWERS[power] if power >= 0 else value / POWERS[-power]
    elif -22 <= power < 0:
        value, state = quotient(mantissa, POWERS[-power])
    elif mantissa > np.uint64(0):
        state = UNSURE
    return -value if negative else value, state


@njit(cache=True, nogil=True)
def _is_whole(buffer: NDArray[np.uint8], start: int, stop: int) -> bool:
    """Return whether a number is written with digits alone (and perhaps a plus)."""
    for position in range(start + 1 if buffer[start] == 43 else start, stop):
        if buffer[position] < 48 or buffer[position] > 57:
            return False
    return True


@njit(cache=True, nogil=True)
def _read_line(
    buffer: NDArray[np.uint8], position: int, tabs: bool, shape: Shape, found: NDArray[np.int64]
) -> tuple[int, int]:
    """Return the number of columns and where the line ends; ``found`` gets query, passage, score tokens.

    Instead of the number stands `OTHER_CUT` for a line to be cut at blanks and not at ``tabs`` or the other
    way round, and `BROKEN` for one with an empty column or a carriage return within.
    """
    position = _after_blanks(buffer, position)
    if buffer[position] == HASH or buffer[position] == NEWLINE:
        while buffer[position] != NEWLINE:
            position += 1
        return 0, position
    columns = 0
    # A turn is a column: its token, then the blanks behind it, which say whether another follows.
    while True:
        start = position
        if tabs:
            stop, position = _cell(buffer, start)
        else:
            stop = position = _word(buffer, start)
        if columns == 0:
            found[0], found[1] = start, stop
        if columns == shape.passage:
            found[2], found[3] = start, stop
        if columns == shape.score:
            found[4], found[5] = start, stop
        columns += 1
        if not tabs and buffer[stop] == BLANK and buffer[stop + 1] > BLANK:  # nearly always
            position = stop + 1
            continue
        after = _after_blanks(buffer, stop)
        if buffer[after] == NEWLINE:
            return OTHER_CUT if tabs and columns == 1 else columns, after
        if stop == start or _holds(buffer, stop, after, RETURN):
            return BROKEN, position
        if not tabs and _holds(buffer, stop, after, TAB):
            return OTHER_CUT, position
        position = _after_spaces(buffer, position + 1) if tabs else after


@njit(cache=True, nogil=True)
def _same(buffer: NDArray[np.uint8], start: int, stop: int, other: int, end: int) -> bool:
    if stop - start != end - other:
        return False
    for position in range(stop - start):
        if buffer[start + position] != buffer[other + position]:
            return False
    return True


@njit(cache=True, nogil=True)
def parse_lines(buffer: NDArray[np.uint8], shape: Shape, out: Scan) -> tuple[int, int, int, int, int]:
    """Parse whole lines (the buffer ends with a newline) into ``out``.

    Returns:
        Rows written, query changes, scores left unsure, scores that are no whole numbers (counted of three
        columns only), and the offset of the first line that breaks the format, or -1.
    """
    found = np.zeros(6, dtype=np.int64)
    position, row, changes, unsure, used, fractions = 0, 0, 0, 0, 0, 0
    query, query_end, tabs = 0, 0, False
    # A turn is a line: its tokens; whether the query changed; the passage's bytes, copied and hashed as they
    # pass; the score. Lines of one file are cut alike, so the way of the line before is tried first.
    while position < len(buffer):
        start = position
        columns, position = _read_line(buffer, start, tabs, shape, found)
        if columns == OTHER_CUT:
            tabs = not tabs
            columns, position = _read_line(buffer, start, tabs, shape, found)
        position += 1
        if columns == 0:
            continue
        if columns != shape.columns:
            return row, changes, unsure, fractions, start
        value, state = parse_score(buffer, found[4], found[5])
        if state == BAD:
            return row, changes, unsure, fractions, start
        if shape.columns == 3 and not _is_whole(buffer, found[4], found[5]):
            fractions += 1
        if state == UNSURE:
            out.unsure[unsure, 0], out.unsure[unsure, 1], out.unsure[unsure, 2] = row, found[4], found[5]
            unsure += 1
        if row == 0 or not _same(buffer, found[0], found[1], query, query_end):
            query, query_end = found[0], found[1]
            out.changes[changes, 0], out.changes[changes, 1], out.changes[changes, 2] = row, query, query_end
            changes += 1
        key = FNV_OFFSET
        for place in range(found[2], found[3]):
            byte = buffer[place]
            out.data[used] = byte
            used += 1
            key = (key ^ np.uint64(byte)) * FNV_PRIME
        out.data[used] = NEWLINE
        out.ends[row] = used
        used += 1
        out.hashes[row] = folded(key)
        out.scores[row] = value
        row += 1
    return row, changes, unsure, fractions, -1
