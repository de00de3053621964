"""Softmax over squares of bfloat16 scores, in place, for attention on the CPU: compiled, and its numpy twin.

torch's own costs more than twice as much here and rounds the exponentials to bfloat16 before it adds them.
A bfloat16 number is the upper half of a float32, so arrays come as int16 views of it. Each loop below is
one that the compiler turns into vector instructions; merging them would make it give up.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

LOG2_E = np.float32(1.4426950408889634)
# Adding it rounds a float32 to a whole number, which then stands in its lowest bits.
TO_WHOLE = np.float32(12582912.0)
LEAST = np.float32(-126.0)
# 2 ** x for |x| <= 1/2, by powers of ln 2 over factorials; below 1e-5 off, bfloat16 keeps 4e-3.
C1, C2, C3, C4 = (np.float32(c) for c in (0.69314718, 0.24022651, 0.05550411, 0.00961813))
ONE = np.float32(1.0)
HALF = np.int32(0x8000)
SIXTEEN, EXPONENT = np.int32(16), np.int32(23)
# The sum may be reordered; the rounding trick must not be.
EXACT = {"nnan", "ninf", "nsz", "contract"}


@njit(cache=True, nogil=True, fastmath=True)
def _total(values: NDArray[np.float32]) -> np.float32:
    total = np.float32(0)
    for column in range(len(values)):
        total += values[column]
    return total


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


@njit(cache=True, nogil=True, fastmath=EXACT, error_model="numpy")
def softmax_squares(scores: NDArray[np.int16], before: NDArray[np.int16], length: int) -> None:
    """Replace each square's upper left corner, joined with what stands before it, by the softmax of its rows.

    What is right of the corner becomes zeros; rows below it are left as they are.

    Args:
        scores: [B, W, W] the bits of finite bfloat16 numbers, C-contiguous.
        before: [B, W, P] more of each row, P >= 0.
        length: size of the corner, 1 <= length <= W.
    """
    more = before.shape[2]
    work = np.empty((4, length + more), dtype=np.float32)
    wide, whole, power = work[0], work[1], work[2]
    wide_bits, whole_bits, power_bits = wide.view(np.int32), whole.view(np.int32), power.view(np.int32)
    wide_more, power_more = wide_bits[length:], power_bits[length:]  # no sum in an index: it costs a half
    top, top_bits = work[3], work[3].view(np.int32)
    for index in range(len(scores) * length):
        whole_row = scores[index // length, index % length]
        row, first = whole_row[:length], before[index // length, index % length]
        top_bits[0] = np.int32(_largest(row)) << SIXTEEN
        highest = top[0]
        if more:
            top_bits[0] = np.int32(_largest(first)) << SIXTEEN
            highest = max(highest, top[0])
        shift = highest * LOG2_E
        for column in range(length):
            wide_bits[column] = np.int32(row[column]) << SIXTEEN
        for column in range(more):
            wide_more[column] = np.int32(first[column]) << SIXTEEN
        for column in range(length + more):
            exponent = max(wide[column] * LOG2_E - shift, LEAST)
            rounded = exponent + TO_WHOLE
            whole[column] = rounded
            x = exponent - (rounded - TO_WHOLE)
            power[column] = ONE + x * (C1 + x * (C2 + x * (C3 + x * C4)))
        for column in range(length + more):
            power_bits[column] += whole_bits[column] << EXPONENT
        scale = ONE / _total(power)
        for column in range(length + more):
            power[column] *= scale
        for column in range(length):
            row[column] = np.int16((power_bits[column] + HALF) >> SIXTEEN)
        for column in range(more):
            first[column] = np.int16((power_more[column] + HALF) >> SIXTEEN)
        whole_row[length:] = 0


def softmax_squares_numpy(scores: NDArray[np.int16], before: NDArray[np.int16], length: int) -> None:
    """Do what `softmax_squares` does, to the last bit but one of bfloat16, in plain numpy."""
    parts = scores[:, :length, :length], before[:, :length]
    numbers = (np.concatenate(parts, axis=2).astype(np.int32) << 16).view(np.float32)
    exponentials = np.exp(numbers - numbers.max(axis=2, keepdims=True))
    shares = np.ascontiguousarray(exponentials / exponentials.sum(axis=2, keepdims=True), dtype=np.float32)
    bits = ((shares.view(np.int32) + 0x8000) >> 16).astype(np.int16)
    for part, found in zip(parts, np.split(bits, [length], axis=2), strict=True):
        part[:] = found
    scores[:, :length, length:] = 0
