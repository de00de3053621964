"""Attention on the CPU around its two products: texts into squares, a softmax over these, and back; compiled.

Texts of up to W tokens have a square of W by W scores for each head, whatever their own length, so that a
product takes several at once. The scores become powers in one pass, not yet divided by their sum: what they
weigh is, which has fewer numbers. torch's own softmax costs more than twice as much. A bfloat16 number is the
upper half of a float32, so arrays come as int16 views of it; where numbers only move, views of int64 move
four at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit
from dretrieve.kernels.simd import F32, I32, whole_registers

LOG2_E = np.float32(1.4426950408889634)
# Adding it rounds a float32 to a whole number, which then stands in its lowest bits.
TO_WHOLE = np.float32(12582912.0)
LEAST = np.float32(-127.0)  # whose power has the bits of 0
# 2 ** x for |x| <= 1/2, by powers of ln 2 over factorials; below 1e-5 off, bfloat16 keeps 4e-3.
C1, C2, C3, C4 = (np.float32(c) for c in (0.69314718, 0.24022651, 0.05550411, 0.00961813))
ONE = np.float32(1.0)
HALF = np.int32(0x8000)
SIXTEEN, EXPONENT = np.int32(16), np.int32(23)
UNREAD = np.int16(-3766)  # the bits of -1e30, the score of a token that is not read
# The sum may be reordered; the rounding trick must not be.
EXACT = {"nnan", "ninf", "nsz", "contract"}


@njit(cache=True, nogil=True)
def _largest(row: NDArray[np.int16]) -> np.int16:
    """Return the bits of the row's largest number: bits order like numbers if one is positive."""
    largest = row[0]
    for column in range(len(row)):
        largest = max(largest, row[column])
    if largest < 0:
        for column in range(len(row)):
            largest = min(largest, row[column])
    return largest


@intrinsic
def _number(typing: Any, bits: Any) -> Any:
    """Return the float32 of these bits; without a way by memory a loop keeps everything in registers."""
    return types.float32(types.int32), lambda context, builder, signature, of: builder.bitcast(of[0], F32)


@intrinsic
def _bits(typing: Any, number: Any) -> Any:
    return types.int32(types.float32), lambda context, builder, signature, of: builder.bitcast(of[0], I32)


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def _power(bits: np.int16, shift: np.float32) -> np.float32:
    """Return e ** (number - top) of a bfloat16 number, where shift is top * LOG2_E."""
    exponent = max(_number(np.int32(bits) << SIXTEEN) * LOG2_E - shift, LEAST)
    whole = exponent + TO_WHOLE
    x = exponent - (whole - TO_WHOLE)
    return _number(_bits(ONE + x * (C1 + x * (C2 + x * (C3 + x * C4)))) + (_bits(whole) << EXPONENT))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _raised(row: NDArray[np.int16], shift: np.float32) -> np.float32:
    """Replace a row's numbers by their powers, and return the sum of these before they are rounded."""
    whole_registers()
    total = np.float32(0)
    for column in range(len(row)):
        power = _power(row[column], shift)
        total += power
        row[column] = np.int16((_bits(power) + HALF) >> SIXTEEN)
    return total


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def raise_squares(
    scores: NDArray[np.int16],
    before: NDArray[np.int16],
    lengths: NDArray[np.int64],
    reads: NDArray[np.int64],
    scales: NDArray[np.float32],
) -> None:
    """Replace each square's upper left corner, joined with what stands before it, by powers of e.

    A row's powers times its scale are its softmax; the largest is 1. What is right of the columns that are
    read becomes zeros; rows below the corner are left as they are.

    Args:
        scores: [H * B, W, W] the bits of bfloat16 numbers, finite in the corner; best W is a multiple of 16.
        before: [H * B, W, P] more of each row, P >= 0.
        lengths: [B] sizes of the corners, those of B texts for each of H heads; 1 to W.
        reads: [B] how many of a corner's columns are read.
        scales: [H * B, W] of each row, filled.
    """
    whole_registers()
    more = before.shape[2]
    for square in range(len(scores)):
        length, read = lengths[square % len(lengths)], reads[square % len(lengths)]
        for line in range(length):
            row, first = scores[square, line], before[square, line]
            # The whole width is gone through: numbers that fill no register go one by one, and take as long.
            for column in range(read, len(row)):
                row[column] = UNREAD
            highest = _number(np.int32(_largest(row)) << SIXTEEN)
            if more:
                highest = max(highest, _number(np.int32(_largest(first)) << SIXTEEN))
            shift = highest * LOG2_E
            total = _raised(row, shift)
            if more:
                total += _raised(first, shift)
            scales[square, line] = ONE / total


@njit(cache=True, nogil=True)
def fill_squares(rows: NDArray[Any], first: int, lengths: NDArray[np.int64], parts: NDArray[Any]) -> None:
    """Copy texts' queries, keys and values to their squares; zeros stand below them.

    Args:
        rows: [N, 3 * H * D] of all tokens.
        first: the first token; from there on the texts stand one after the other.
        lengths: [B] of each text.
        parts: [3, H, B, W, D] is filled.
    """
    kinds, heads, _, _, dim = parts.shape
    for text in range(len(lengths)):
        for line in range(lengths[text]):
            row = rows[first + line]
            for kind in range(kinds):
                for head in range(heads):
                    place, to = (kind * heads + head) * dim, parts[kind, head, text, line]
                    for number in range(dim):
                        to[number] = row[place + number]
        parts[:, :, text, lengths[text] :] = 0
        first += lengths[text]


@njit(cache=True, nogil=True)
def empty_squares(
    found: NDArray[np.int16],
    scales: NDArray[np.float32],
    lengths: NDArray[np.int64],
    rows: NDArray[np.int16],
    first: int,
) -> None:
    """Copy what stands in texts' squares, times the scale of its row, to rows of all tokens.

    Args:
        found: [H, B, W, D] the bits of bfloat16 numbers.
        scales: [H, B, W].
        lengths: [B] of each text.
        rows: [N, H * D] is filled from ``first`` on.
        first: the first token.
    """
    whole_registers()
    heads, _, _, dim = found.shape
    for text in range(len(lengths)):
        for line in range(lengths[text]):
            row = rows[first + line]
            for head in range(heads):
                of, scale = found[head, text, line], scales[head, text, line]
                for number in range(dim):
                    whole = _number(np.int32(of[number]) << SIXTEEN) * scale
                    row[head * dim + number] = np.int16((_bits(whole) + HALF) >> SIXTEEN)
        first += lengths[text]
