"""Which numbers are dropped in training on a CPU: by a hash of each one's place; compiled.

torch draws one word after the other, which was a twentieth of a training step of MiniLM.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# C. Wellons, "Prospecting for Hash Functions" (2018): of functions of this form one with hardly any bias.
SHIFTS = np.uint32(16), np.uint32(15), np.uint32(15)
FACTORS = np.uint32(0x21F0AAAD), np.uint32(0xD35A2D97)


@njit(cache=True, nogil=True)
def _mixed(word: np.uint32) -> np.uint32:
    word = np.uint32(np.uint32(word ^ np.uint32(word >> SHIFTS[0])) * FACTORS[0])
    word = np.uint32(np.uint32(word ^ np.uint32(word >> SHIFTS[1])) * FACTORS[1])
    return np.uint32(word ^ np.uint32(word >> SHIFTS[2]))


@njit(cache=True, nogil=True)
def fill_drawn(
    drawn: NDArray[Any], first: np.uint32, key: np.uint32, limit: np.uint32, dropped: Any, kept: Any
) -> None:
    """Fill an array with one of two values, the same for the same place and key.

    Args:
        drawn: [N] of any type.
        first: the place of its first number.
        key: mixed with each place.
        limit: of 2^32 hashes, as many say "dropped".
        dropped: the one value.
        kept: the other.
    """
    for number in range(len(drawn)):
        word = _mixed(np.uint32(_mixed(np.uint32(first + np.uint32(number))) ^ key))
        drawn[number] = dropped if word < limit else kept
