"""Which numbers are dropped in training on a CPU: by a hash of each one's place; compiled.

torch draws one word after the other, which was a twentieth of a training step of MiniLM. Attention drops in
one pass over its shares, and in one goes back through these and the softmax.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit
from dretrieve.kernels.simd import whole_registers

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
    whole_registers()
    for number in range(len(drawn)):
        word = _mixed(np.uint32(_mixed(np.uint32(first + np.uint32(number))) ^ key))
        drawn[number] = dropped if word < limit else kept


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def drop_shares(
    start: int,
    stop: int,
    shares: NDArray[Any],
    kept: NDArray[Any],
    first: np.uint32,
    key: np.uint32,
    limit: np.uint32,
    more: Any,
) -> None:
    """Turn the sign of the shares that are dropped in rows ``start`` to ``stop``.

    Args:
        start: the first row.
        stop: that behind the last.
        shares: [N, S], none below 0.
        kept: [N, S] of the same type, filled: 0 where dropped, else the share times ``more``.
        first: the place of ``shares[0, 0]``.
        key: see `fill_drawn`.
        limit: as there.
        more: 1 / (1 - rate).
    """
    whole_registers()
    width = shares.shape[1]
    for row in range(start, stop):
        mine, into, place = shares[row], kept[row], np.uint32(first + np.uint32(row * width))
        for column in range(width):
            word = _mixed(np.uint32(_mixed(np.uint32(place + np.uint32(column))) ^ key))
            share = mine[column]
            mine[column] = -share if word < limit else share
            into[column] = 0 if word < limit else share * more


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def pull_shares(
    start: int,
    stop: int,
    change: NDArray[Any],
    shares: NDArray[Any],
    kept: NDArray[Any],
    more: Any,
    scaling: Any,
) -> None:
    """Turn the gradient of what was kept into that of the scores, times ``scaling``, in those rows.

    Args:
        start: the first row.
        stop: that behind the last.
        change: [N, S], the gradient, replaced.
        shares: [N, S] as `drop_shares` left them.
        kept: [N, S], filled as there.
        more: as there.
        scaling: of the scores.
    """
    whole_registers()
    for row in range(start, stop):
        mine, of, into = change[row], shares[row], kept[row]
        total = mine[0] * 0
        for column in range(len(mine)):
            into[column] = max(of[column], 0) * more
            total += mine[column] * into[column]
        # less the mean of each row, weighted by its shares: what the softmax takes away
        for column in range(len(mine)):
            mine[column] = (mine[column] * into[column] - abs(of[column]) * total) * scaling
