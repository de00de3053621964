"""Layer norm of bfloat16 rows on the CPU: compiled, and its numpy twin.

torch's own costs more than twice as much here. As in `kernels.softmax`, a bfloat16 number is the upper half
of a float32, arrays come as int16 views, and each loop is one that the compiler turns into vector
instructions.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

HALF, SIXTEEN = np.int32(0x8000), np.int32(16)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def layer_norm(
    rows: NDArray[np.int16], weight: NDArray[np.float32], bias: NDArray[np.float32], eps: float
) -> None:
    """Replace each row x by (x - mean) / sqrt(variance + eps) · weight + bias, computed in float32.

    Args:
        rows: [N, D] the bits of finite bfloat16 numbers, C-contiguous.
        weight: [D].
        bias: [D].
        eps: added to the variance, above 0.
    """
    width = rows.shape[1]
    values = np.empty(width, dtype=np.float32)
    bits = values.view(np.int32)
    share = np.float32(1) / np.float32(width)
    for index in range(len(rows)):
        row = rows[index]
        for column in range(width):
            bits[column] = np.int32(row[column]) << SIXTEEN
        total = np.float32(0)
        for column in range(width):
            total += values[column]
        mean = total * share
        squares = np.float32(0)
        for column in range(width):
            values[column] -= mean
            squares += values[column] * values[column]
        scale = np.float32(1) / np.sqrt(squares * share + np.float32(eps))
        for column in range(width):
            values[column] = values[column] * scale * weight[column] + bias[column]
        for column in range(width):
            row[column] = np.int16((bits[column] + HALF) >> SIXTEEN)


def layer_norm_numpy(
    rows: NDArray[np.int16], weight: NDArray[np.float32], bias: NDArray[np.float32], eps: float
) -> None:
    """Do what `layer_norm` does, to the last bit but one of bfloat16, in plain numpy."""
    numbers = (rows.astype(np.int32) << 16).view(np.float32)
    centred = numbers - numbers.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + np.float32(eps))
    found = np.ascontiguousarray(centred / spread * weight + bias, dtype=np.float32)
    rows[:] = ((found.view(np.int32) + 0x8000) >> 16).astype(np.int16)
