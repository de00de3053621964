"""What a query token's largest products with a passage's tokens add up to, by codes; compiled.

A MaxSim takes the largest, an alignment (`dretrieve.scoring.alignment`) several, or all in soft shares.
Scores in bytes (`dretrieve.kernels.token_tables.score_rows`) say which passages are likely, bound what they
can reach, and rule out the tokens whose canonical products need not be known.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels import simd
from dretrieve.kernels.alignment import largest, softly
from dretrieve.kernels.codes import ROUNDING
from dretrieve.kernels.compiled import njit
from dretrieve.kernels.dot import canonical
from dretrieve.kernels.scan import kth_largest
from dretrieve.kernels.token_lanes import MOST_LARGEST, lanes_above, soft_of_scores, top_of_scores
from dretrieve.kernels.token_tables import (
    lane_margin,
    lanes_in,
    measure,
    passage_rows,
    places_of,
    score_rows,
)


class Matches(NamedTuple):
    """With how many of its tokens a passage takes part.

    Attributes:
        counts: [N] int32, how many of the largest products of each query token; at least 1. Of a soft
            alignment, how many stand for it where passages are ordered by centroids alone.
        most: the largest of them.
        k: what the shares of a soft alignment sum to; 0: it is hard.
        epsilon: of a soft alignment.
        weights: [T] float32, how much each token counts; empty where all count the same.
        weighted: whether they do not.
        maxsim: whether it is the sum of the largest products and nothing else.
    """

    counts: NDArray[np.int32]
    most: int
    k: int
    epsilon: float
    weights: NDArray[np.float32]
    weighted: bool
    maxsim: bool


@njit(nogil=True, cache=True)
def add_matches(
    at: Any, group: Any, query: Any, matches: Any, wanted: Any, chosen: Any, first: Any, work: Any
) -> Any:
    """Return Σ A S and Σ A of one group of lanes, of the scores of some of a passage's tokens.

    Args:
        at: places of the query.
        group: of lanes, whose scores `score_rows` wrote to ``work.sums``, the largest to ``work.best``.
        query: whose they are.
        matches: the alignment.
        wanted: how many of the largest are taken, at most as many as are chosen.
        chosen: which of the passage's tokens were scored.
        first: the passage's first token.
        work: of this thread.
    """
    best, width, lanes, count = work.best, at.width, lanes_in(at, group), len(chosen)
    top, total, scores = 0.0, 0.0, work.sums.view(np.float32)
    if not matches.weighted and (matches.k == 1 or (matches.k == 0 and wanted <= MOST_LARGEST)):
        share = 1
        if matches.k == 1:
            best[width : 2 * width] = np.float32(min(1 / (matches.epsilon * math.log(2.0)), 1e30))
            soft_of_scores(width, np.uintp(at.sums), count, np.uintp(at.best))
        elif wanted > 1:
            share = wanted
            top_of_scores(width, wanted, np.uintp(at.sums), count, np.uintp(at.best))
        for lane in range(lanes):
            weight = query.weights[group * width + lane]
            top += weight * np.float64(best[lane])
            total += weight * share
        return top, total
    dots, own, room = work.dots[:count], work.own[:count], (work.top, work.places, work.terms)
    own[:] = 1
    if matches.weighted:
        for h in range(count):
            own[h] = matches.weights[first + chosen[h]]
    for lane in range(lanes):
        for h in range(count):
            dots[h] = scores[h * width + lane]
        k = min(matches.k, count) if matches.k > 0 else wanted
        largest(dots, k, room)
        part, whole = 0.0, 0.0
        if matches.k > 0:
            part, whole = softly(dots, own, k, matches.epsilon, room)
        else:
            for r in range(k):
                part += np.float64(own[work.places[r]]) * np.float64(work.top[r])
                whole += np.float64(own[work.places[r]])
        weight = query.weights[group * width + lane]
        top += weight * part
        total += weight * whole
    return top, total


@njit(nogil=True, cache=True)
def bound_passages(
    stored: Any, query: Any, matches: Any, first: Any, work: Any, near: Any, margins: Any
) -> None:
    """Write a score of each of some consecutive passages, and how far it may be from the canonical sum.

    The score is the sum over the query's tokens of the mean of the largest products, not yet divided.

    Args:
        stored: the passages.
        query: whose tables are filled.
        matches: a hard alignment, unweighted, of at most `MOST_LARGEST` tokens.
        first: the first of them.
        work: of this thread.
        near: [P] float64; -inf for a passage without tokens.
        margins: [P] float64.
    """
    at, best, plain = places_of(stored, query, work), work.best, stored.zero >= 0
    residuals, stride = stored.residuals.ctypes.data, stored.residuals.strides[0]
    borders, extents, longest = stored.borders, stored.extents, stored.longest
    lengths, errors = query.lengths, query.errors
    for place in range(len(near)):
        start, stop = borders[first + place], borders[first + place + 1]
        near[place], margins[place] = -np.inf, 0
        if start == stop:
            continue
        measure(stored, first + place, work)
        rows = residuals + start * stride, stride
        if not plain:
            rows = passage_rows(stored, start, stop - start, work)
        error, length = np.float64(extents[first + place, 0]), np.float64(extents[first + place, 1])
        total, margin = 0.0, 0.0
        for group in range(at.groups):
            best[: at.width] = np.float32(-np.inf)
            score_rows(at, group, rows, at.codes + 2 * start, stop - start)
            wanted = matches.counts[first + place]
            if wanted > 1:
                top_of_scores(at.width, wanted, np.uintp(at.sums), stop - start, np.uintp(at.best))
            for lane in range(lanes_in(at, group)):
                token = group * at.width + lane
                total += best[lane] / np.float32(wanted)
                margin += lane_margin(lengths[token], errors[token], longest, error, length)
                if wanted > 1:  # for the sum in float32
                    reach = (lengths[token] + errors[token]) * (longest + length + error)
                    margin += ROUNDING * reach
        near[place], margins[place] = total, margin


@njit(nogil=True, cache=True)
def set_floors(
    stored: Any, query: Any, group: Any, wanted: Any, count: Any, extents: Any, at: Any, work: Any
) -> None:
    """Write behind each lane's best what a token needs to be among its largest, then the margin.

    Args:
        stored: the passages.
        query: whose scores `score_rows` wrote to ``work.sums``, the largest to ``work.best``.
        group: of lanes.
        wanted: how many of the largest there are to be.
        count: the passage's tokens.
        extents: of the passage.
        at: places of the query.
        work: of this thread.
    """
    width, best, lanes = query.width, work.best, lanes_in(at, group)
    if 1 < wanted <= MOST_LARGEST:
        top_of_scores(width, wanted, np.uintp(at.sums), count, np.uintp(at.best))
        best[:width] = best[width : 2 * width]
    elif wanted > 1:
        scores = work.sums.view(np.float32)
        for lane in range(lanes):
            for t in range(count):
                work.dots[t] = scores[t * width + lane]
            best[lane] = kth_largest(work.dots[:count], wanted)
    best[width : 2 * width] = np.float32(np.inf)
    for lane in range(lanes):
        mine, off = query.lengths[group * width + lane], query.errors[group * width + lane]
        margin = lane_margin(mine, off, stored.longest, np.float64(extents[0]), np.float64(extents[1]))
        best[width + lane] = np.float64(best[lane]) - 2 * margin
        best[2 * width + lane] = margin * (1 + 2.0**-20)


@njit(nogil=True, cache=True)
def aligned_of_best(
    stored: Any,
    query: Any,
    matches: Any,
    vectors: Any,
    starts: Any,
    rows: Any,
    work: Any,
    found: Any,
) -> None:
    """Write the canonical Σ A S and Σ A of `dretrieve.kernels.alignment` for some passages.

    Args:
        stored: the passages.
        query: whose tables are filled.
        matches: a hard alignment.
        vectors: the stored vectors, from `dretrieve.kernels.dot.stored_bits`.
        starts: [H] where each passage begins among them.
        rows: [H] int32 passages, each with at least one token.
        work: of this thread.
        found: both, [H] float64.
    """
    sums, totals = found
    at = places_of(stored, query, work)
    room, tokens = (work.top, work.places, work.terms), work.near[: len(work.masks)]
    sums[:], totals[:] = 0, 0
    for h in range(len(rows)):
        start, stop = stored.borders[rows[h]], stored.borders[rows[h] + 1]
        wanted, count = matches.counts[rows[h]], stop - start
        measure(stored, rows[h], work)
        residuals = passage_rows(stored, start, count, work)
        for group in range(at.groups):
            work.best[: at.width] = np.float32(-np.inf)
            score_rows(at, group, residuals, at.codes + 2 * start, count)
            set_floors(stored, query, group, wanted, count, stored.extents[rows[h]], at, work)
            floors, masks = np.uintp(at.best + 4 * at.width), np.uintp(work.masks.ctypes.data)
            lanes_above(at.width, np.uintp(at.sums), count, floors, masks)
            fetch(vectors, starts[h], work.masks[:count])
            for lane in range(lanes_in(at, group)):
                token, some = group * at.width + lane, 0
                for t in range(count):
                    if work.masks[t] >> np.uint32(lane) & np.uint32(1):
                        work.dots[some] = canonical(vectors, starts[h] + t, query.exact, token, work.doubles)
                        tokens[some] = t
                        some += 1
                largest(work.dots[:some], wanted, room)
                part, whole = 0.0, 0.0
                for r in range(wanted):
                    own = 1.0
                    if matches.weighted:
                        own = np.float64(matches.weights[start + tokens[work.places[r]]])
                    part += own * np.float64(work.top[r])
                    whole += own
                sums[h] += query.weights[token] * part
                totals[h] += query.weights[token] * whole


@njit(nogil=True, cache=True)
def fetch(vectors: Any, first: Any, masks: Any) -> None:
    """Ask for the vectors of the tokens that some lane needs: they lie anywhere."""
    base, stride = vectors.ctypes.data + first * vectors.strides[0], vectors.strides[0]
    for t in range(len(masks)):
        if masks[t] != 0:
            for line in range(0, stride, simd.LINE):
                simd.prefetch(np.uintp(base + t * stride + line))
