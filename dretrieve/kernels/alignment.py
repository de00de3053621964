"""Sums over the passage tokens that a query token aligns with, by many alignments: compiled.

One pair of texts at a time: every query token's canonical dots with the passage's tokens are written side by
side, and the largest are kept in order; their prefix sums are those of every number of aligned tokens. Faster
than numpy, whose sorting of whole rows is what the loop leaves out.

A soft alignment gives token j the share λ_j = min(1, exp((s_j + a) / ε)) with a such that Σ λ = k, which is
what equation 9 of ALIGNER approaches by iterations. The t largest have 1, where t is the least with
k - t ≤ R_t = Σ_{i > t} exp((s_i - s_{t+1}) / ε), and the others (k - t) / R_t times their term; t is below k,
so only the k largest need be in order.
Of dots that may be off the terms may be, too, by `ROUGH` of themselves: made of a whole power of 2 and a
series, which the compiler computes eight at a time, where libm's come one by one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels import simd
from dretrieve.kernels.compiled import njit
from dretrieve.kernels.dot import canonical, frozen, stored_bits
from dretrieve.kernels.maxsim import Near, frozen_near, longest, token_dots

Texts = tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]
"""Token vectors, one text after another; a weight for each; [N + 1] where the texts begin and end."""
Pairs = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]
"""Query q with the passages ``rows[offsets[q]:offsets[q + 1]]``; to each how many of the largest."""
Sums = tuple[NDArray[np.float64], NDArray[np.float64]]

ROUGH = 2.0**-26
LOG2_E, LOG_2 = 1 / math.log(2), math.log(2)
SECOND, THIRD, FOURTH, FIFTH, SIXTH, SEVENTH = (1 / math.factorial(n) for n in range(2, 8))
LEAST_POWER = 1000.0  # of 2, and its negative: numbers still
TOKENS = 64  # of queries, side by side: their largest dots stay in the nearest cache


def aligned_sums(
    passages: Texts, queries: Texts, pairs: Pairs, soft: NDArray[np.float64], near: Near | None = None
) -> Sums:
    """Return Σ A S and Σ A, both [H, W + G]: column c - 1 with the c largest, then the soft alignments.

    A is a query token's weight times a passage token's, or that times a soft alignment's share. W is the
    largest number wanted; columns behind a pair's own hold zeros.

    Args:
        passages: vectors float16 or float32; each text has one at least.
        queries: vectors as `dretrieve.scoring.dot.widened` gives them; each text has one at least.
        pairs: numbers from 1 to the passage's tokens.
        soft: [G, 2] k and ε of each soft alignment; k is at least 1 and taken as the passage's tokens where
            it has fewer, ε is above 0.
        near: changes no bit; only where nothing is soft, which asks for every dot.
    """
    assert near is None or not len(soft)
    offsets, rows, widths = pairs
    assert queries[0].flags.c_contiguous
    found = _empty(len(rows), widths, soft)
    _aligned(
        (stored_bits(passages[0]), frozen(passages[1]), frozen(passages[2])),
        (queries[0], frozen(queries[1]), frozen(queries[2])),
        (frozen(offsets), frozen(rows), frozen(widths)),
        frozen(soft),
        frozen_near(near),
        found,
    )
    return found


def near_sums(
    products: NDArray[np.float32],
    weights: tuple[NDArray[np.float32], NDArray[np.float32]],
    borders: tuple[NDArray[np.int64], NDArray[np.int64]],
    widths: NDArray[np.int64],
    soft: NDArray[np.float64],
    slack: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return what `aligned_sums` returns for every query with every passage, of dots that may be off.

    Args:
        products: [T, S] finite, of the passages' tokens with the queries', one's beside each other.
        weights: [S] and [T].
        borders: [Q + 1] and [N + 1].
        widths: [N].
        soft: as there.
        slack: [S] how far two of a query token's dots may have changed places; 0: it does not matter.

    Returns:
        The sums, [Q N, W + G], with shares that are off by `ROUGH` of themselves, and as many bool: where a
        token behind those of the column may belong among them.
    """
    count = (len(borders[0]) - 1) * len(widths)
    sums, totals = _empty(count, widths, soft)
    doubtful = np.zeros(sums.shape, dtype=np.bool_)
    _near(
        products,
        (frozen(weights[0]), frozen(weights[1])),
        (frozen(borders[0]), frozen(borders[1])),
        frozen(widths),
        frozen(soft),
        frozen(slack),
        (sums, totals, doubtful),
    )
    return sums, totals, doubtful


def _empty(count: int, widths: NDArray[np.int64], soft: NDArray[np.float64]) -> Sums:
    columns = int(widths.max(initial=0)) + len(soft)
    return np.zeros((count, columns)), np.zeros((count, columns))


@njit(nogil=True, cache=True)
def _aligned(passages: Any, queries: Any, pairs: Any, soft: Any, near: Any, found: Any) -> None:
    values, weights, borders = passages
    vectors, query_weights, query_borders = queries
    offsets, rows, widths = pairs
    sums, totals = found
    most = longest(borders)
    lanes, dots = np.zeros((4, simd.LANES)), np.empty(most, dtype=np.float32)
    room = _room(most)
    for q in range(len(offsets) - 1):
        for h in range(offsets[q], offsets[q + 1]):
            own = weights[borders[rows[h]] : borders[rows[h] + 1]]
            for token in range(query_borders[q], query_borders[q + 1]):
                if len(near[0]):
                    start, count = borders[rows[h]], borders[rows[h] + 1] - borders[rows[h]]
                    for j in range(count):
                        dots[j] = near[0][start + j, token]
                    largest(dots[:count], widths[h], room)
                    floor = np.float32(np.float64(room[0][widths[h] - 1]) - near[1][token])
                    for j in range(count):
                        may = dots[j] >= floor
                        dots[j] = canonical(values, start + j, vectors, token, lanes[0]) if may else -np.inf
                else:
                    count = token_dots(values, borders, rows[h], vectors, token, lanes, dots)
                largest(dots[:count], _needed(widths[h], soft, count), room)
                weight = np.float64(query_weights[token])
                _add(own, weight, widths[h], room, (sums[h], totals[h]))
                for g in range(len(soft)):
                    at = len(sums[h]) - len(soft) + g
                    k = min(int(soft[g, 0]), count)
                    part, whole = softly(dots[:count], own, k, soft[g, 1], room)
                    sums[h, at] += weight * part
                    totals[h, at] += weight * whole


@njit(nogil=True, cache=True)
def _near(products: Any, weights: Any, borders: Any, widths: Any, soft: Any, slack: Any, found: Any) -> None:
    simd.whole_registers()
    query_borders, passage_borders = borders
    most, tokens = longest(passage_borders), len(slack)
    owners = np.empty(tokens, dtype=np.int64)
    for q in range(len(query_borders) - 1):
        owners[query_borders[q] : query_borders[q + 1]] = q
    placed = len(soft) > 0 or slack.any()
    top, places = np.empty((most, TOKENS), dtype=np.float32), np.zeros((most, TOKENS), dtype=np.int32)
    room = _room(most)
    dots = np.empty((TOKENS, most), dtype=np.float32)
    for p in range(len(widths)):
        start, stop = passage_borders[p], passage_borders[p + 1]
        count, width, own = stop - start, widths[p], weights[1][start:stop]
        more = min(width + 1, count) if slack.any() else width
        needed = _needed(more, soft, count)
        for first in range(0, tokens, TOKENS):
            some = min(TOKENS, tokens - first)
            table = products[start:stop, first : first + some]
            _largest_of_each(table, needed, placed, top, places)
            if len(soft):
                for j in range(count):
                    for s in range(some):
                        dots[s, j] = table[j, s]
            for s in range(some):
                token = first + s
                h = owners[token] * len(widths) + p
                for r in range(needed):
                    room[0][r], room[1][r] = top[r, s], places[r, s]
                for r in range(0 if slack[token] == 0 else more - 1):
                    found[2][h, r] |= top[r + 1, s] >= top[r, s] - slack[token]
                weight = np.float64(weights[0][token])
                _add(own, weight, width, room, (found[0][h], found[1][h]))
                for g in range(len(soft)):
                    at = found[0].shape[1] - len(soft) + g
                    k = min(int(soft[g, 0]), count)
                    part, whole = _roughly(dots[s, :count], own, k, soft[g, 1], room)
                    found[0][h, at] += weight * part
                    found[1][h, at] += weight * whole


@njit(nogil=True, cache=True)
def _room(most: Any) -> Any:
    """Return room for one query token: the largest dots, their places, the terms, powers of 2."""
    terms = np.empty((2, most))
    return np.empty(most, dtype=np.float32), np.empty(most, dtype=np.int64), terms[0], terms[1]


@njit(nogil=True, cache=True)
def _largest_of_each(table: Any, width: Any, placed: Any, top: Any, places: Any) -> None:
    """Put the ``width`` largest of each column, and their places if they are wanted, into rows of the room.

    Sixty-four columns at a time: each new row goes down the ranks, the larger of two stays and the smaller
    goes on, which the compiler makes steps of whole vectors; the loops over columns have a fixed length.
    """
    simd.whole_registers()
    falling, numbers = np.zeros(TOKENS, dtype=np.float32), np.zeros(TOKENS, dtype=np.int32)
    top[:width] = -np.inf
    for j in range(len(table)):
        for s in range(table.shape[1]):  # a slice would be copied number by number
            falling[s] = table[j, s]
        for s in range(TOKENS):
            numbers[s] = j
        for r in range(min(j + 1, width)):
            if placed:
                for s in range(TOKENS):
                    new, old, number, known = falling[s], top[r, s], numbers[s], places[r, s]
                    larger = new > old or (new == old and number < known)
                    top[r, s], falling[s] = (new, old) if larger else (old, new)
                    places[r, s], numbers[s] = (number, known) if larger else (known, number)
            else:
                for s in range(TOKENS):
                    new, old = falling[s], top[r, s]
                    top[r, s] = new if new > old else old
                    falling[s] = old if new > old else new


@njit(nogil=True, cache=True)
def _needed(width: Any, soft: Any, count: Any) -> Any:
    """Return how many of the largest must be in order."""
    for g in range(len(soft)):
        width = max(width, min(int(soft[g, 0]), count))
    return width


@njit(nogil=True, cache=True)
def largest(dots: Any, width: Any, room: Any) -> None:
    """Put the ``width`` largest dots, equal ones in their order, and their places into the room."""
    top, places = room[0], room[1]
    found = 0
    for j in range(len(dots)):
        dot = dots[j]
        if found == width and not dot > top[width - 1]:
            continue
        at = min(found, width - 1)
        while at > 0 and dot > top[at - 1]:
            top[at], places[at] = top[at - 1], places[at - 1]
            at -= 1
        top[at], places[at] = dot, j
        found = min(found + 1, width)


@njit(nogil=True, cache=True)
def _add(weights: Any, weight: Any, width: Any, room: Any, found: Any) -> None:
    """Add one query token's part of each hard column; ``room`` holds the largest."""
    top, places = room[0], room[1]
    sums, totals = found
    part = whole = 0.0
    for r in range(width):
        own = np.float64(weights[places[r]])
        part += own * np.float64(top[r])
        whole += own
        sums[r] += weight * part
        totals[r] += weight * whole


@njit(nogil=True, cache=True)
def softly(dots: Any, weights: Any, k: Any, epsilon: Any, room: Any) -> Any:
    """Return Σ λ u S and Σ λ u of one soft alignment; ``room`` holds the k largest."""
    top, places, terms = room[0], room[1], room[2]
    last, behind = np.float64(top[k - 1]), 0.0
    for j in range(len(dots)):
        terms[j] = -1.0  # of the k largest, equal ones in their order
        if dots[j] < top[k - 1] or (dots[j] == top[k - 1] and j > places[k - 1]):
            terms[j] = math.exp((np.float64(dots[j]) - last) / epsilon)
            behind += terms[j]
    share, part, whole = _of_largest(weights, k, epsilon, behind, room)
    for j in range(len(dots)):
        if terms[j] > 0:
            own = share * terms[j] * np.float64(weights[j])
            part += own * np.float64(dots[j])
            whole += own
    return part, whole


@njit(nogil=True, cache=True)
def _of_largest(weights: Any, k: Any, epsilon: Any, behind: Any, room: Any) -> Any:
    """Return what the term of a dot behind the k largest is multiplied by, and their Σ λ u S and Σ λ u."""
    top, places = room[0], room[1]
    last = np.float64(top[k - 1])
    t, spread = -1, 0.0
    while k - t > spread or t < 0:
        t += 1
        spread = math.exp((last - np.float64(top[t])) / epsilon) * behind
        for r in range(t, k):
            spread += math.exp((np.float64(top[r]) - np.float64(top[t])) / epsilon)
    share, part, whole = (k - t) / spread, 0.0, 0.0
    for r in range(k):
        own = np.float64(weights[places[r]])
        if r >= t:
            own *= share * math.exp((np.float64(top[r]) - np.float64(top[t])) / epsilon)
        part += own * np.float64(top[r])
        whole += own
    return share * math.exp((last - np.float64(top[t])) / epsilon), part, whole


@njit(nogil=True, cache=True)
def _roughly(dots: Any, weights: Any, k: Any, epsilon: Any, room: Any) -> Any:
    """Return what `softly` returns, its terms off by `ROUGH` of themselves at most."""
    behind, rest, rest_whole = _rough_terms(dots, weights, k, epsilon, room)
    share, part, whole = _of_largest(weights, k, epsilon, behind, room)
    return part + share * rest, whole + share * rest_whole


# It calls nothing that is compiled here: what is called from it would be computed in any order, too.
@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _rough_terms(dots: Any, weights: Any, k: Any, epsilon: Any, room: Any) -> Any:
    """Return of the dots behind the k largest the sums of terms, of terms u S, and of terms u."""
    simd.whole_registers()
    top, places, terms, powers = room
    last, scale, count = np.float64(top[k - 1]), LOG2_E / epsilon, len(dots)
    bits = powers.view(np.int64)
    for j in range(count):
        power = min(max((np.float64(dots[j]) - last) * scale, -LEAST_POWER), LEAST_POWER)
        whole_power = np.floor(power + 0.5)
        bits[j] = (np.int64(whole_power) + 1023) << 52  # the exponent of a float64
        x = (power - whole_power) * LOG_2  # within .35 of 0
        series = THIRD + x * (FOURTH + x * (FIFTH + x * (SIXTH + x * SEVENTH)))
        terms[j] = 1 + x * (1 + x * (SECOND + x * series))
    for j in range(count):
        terms[j] *= powers[j]
    for r in range(k):
        terms[places[r]] = 0.0
    behind = rest = rest_whole = 0.0
    for j in range(count):
        own = terms[j] * np.float64(weights[j])
        behind += terms[j]
        rest += own * np.float64(dots[j])
        rest_whole += own
    return behind, rest, rest_whole
