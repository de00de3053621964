"""Which passages with a vector per token may be the best for a query, and their canonical scores; compiled.

Three scores, each dearer and nearer than the one before (see `dretrieve.kernels.token_tables` for the words):

1. of each query token the largest y'·c in one byte, added up: a look into a table for each token of all
   passages, or of those that share the query tokens' best centroids (`propose`);
2. y'·c + y'·r, but only of tokens whose y'·c comes near the passage's largest (`propose`);
3. the canonical sum of `dretrieve.kernels.maxsim`, whose products are computed only where the bound of y'·c +
   y'·r does not rule a token out: for two to three tokens of the passage a query token (`sums_of_best`).

An alignment takes the mean of a passage's own number of largest (`dretrieve.kernels.token_matches`), else
short passages would come too late.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dretrieve.kernels import simd
from dretrieve.kernels.compiled import njit
from dretrieve.kernels.dot import canonical
from dretrieve.kernels.scan import kth_largest
from dretrieve.kernels.token_lanes import MOST_LARGEST, codes_above, lanes_above, top_of_codes
from dretrieve.kernels.token_matches import add_matches, fetch, set_floors
from dretrieve.kernels.token_tables import (
    lanes_in,
    measure,
    passage_rows,
    places_of,
    score_rows,
    unpack,
)

BINS = 1 << 12
PARTS = 16  # of a mean of whole numbers
SAMPLED_CENTROIDS = 1 << 11


class Counts(NamedTuple):
    """How many are looked at: the more, the surer and the slower.

    Attributes:
        probes: centroids of each query token whose lists are read; 0 reads the codes of all passages.
        listed: passages from these lists whose codes are read.
        coded: passages scored in bytes.
        rescored: passages scored canonically.
        near: tokens are scored in bytes whose product with the centroid is less than so many times the
            typical product with a residual below the passage's largest.
    """

    probes: int
    listed: int
    coded: int
    rescored: int
    near: float


@njit(nogil=True, cache=True)
def propose(stored: Any, query: Any, matches: Any, counts: Any, work: Any) -> Any:
    """Write the passages to score canonically, rising, to ``work.found``; return how many.

    The query's tables are filled.
    """
    at, borders, order = places_of(stored, query, work), stored.borders, work.order
    passages = len(borders) - 1
    if counts.probes > 0:
        _count_lists(stored, at, matches, counts.probes, work)
        listed = _select(order, passages, counts.listed, work.found, work.counted)
        for h in range(listed):
            order[h] = _largest_entries(at, borders, matches, work.found[h])
        found = _select(order, listed, counts.coded, work.keys, work.counted)
        for h in range(found):
            work.found[h] = work.found[work.keys[h]]
    else:
        for passage in range(passages):
            order[passage] = _largest_entries(at, borders, matches, passage)
        found = _select(order, passages, counts.coded, work.found, work.counted)
    if found <= counts.rescored:
        return found
    _score_near(stored, query, matches, counts.near, found, work)
    last = kth_largest(work.scores[:found].copy(), counts.rescored)
    equal = counts.rescored - np.count_nonzero(work.scores[:found] > last)
    kept = 0
    for h in range(found):
        score = work.scores[h]
        if score > last or (score == last and equal > 0):
            equal -= score == last
            work.found[kept] = work.found[h]
            kept += 1
    return kept


@njit(nogil=True, cache=True)
def _select(values: Any, count: Any, wanted: Any, out: Any, counted: Any) -> Any:
    """Write the places of the largest of some numbers, rising; return how many.

    Numbers below zero are left out; of those that share a bin with the last, the first are taken.
    """
    largest, shift = 0, 0
    for i in range(count):
        largest = max(largest, values[i])
    while largest >> shift >= BINS:
        shift += 1
    counted[:BINS] = 0
    for i in range(count):
        if values[i] >= 0:
            counted[values[i] >> shift] += 1
    last, room = BINS - 1, wanted
    while last > 0 and counted[last] < room:
        room -= counted[last]
        last -= 1
    kept = 0
    for i in range(count):
        place = values[i] >> shift
        if values[i] >= 0 and (place > last or (place == last and room > 0)):
            room -= place == last
            out[kept] = i
            kept += 1
    return kept


@njit(nogil=True, cache=True)
def _largest_entries(at: Any, borders: Any, matches: Any, passage: Any) -> Any:
    """Return the sum over lanes of the mean of a passage's largest small table entries; -1 without tokens."""
    start, stop, total = borders[passage], borders[passage + 1], 0
    if start == stop:
        return -1
    wanted = min(matches.counts[passage], MOST_LARGEST)
    for group in range(at.groups):
        small = np.uintp(at.small + group * at.centroids * at.width)
        codes = np.uintp(at.codes + 2 * start)
        total += top_of_codes(at.width, wanted, codes, stop - start, small, np.uintp(at.bytes))
    return total if matches.most == 1 else total * PARTS // wanted


@njit(nogil=True, cache=True)
def _count_lists(stored: Any, at: Any, matches: Any, probes: Any, work: Any) -> None:
    """Write for each passage what `_largest_entries` returns, of each lane's best centroids alone.

    What a passage does not have of a lane's centroids counts as the least of them; -1 where no lane has any.
    Several tokens of one centroid are one.
    """
    order, stamps, keys, found, floors = work.order, work.stamps, work.keys, work.near, work.bytes
    offsets, lists, width = stored.list_offsets, stored.lists, at.width
    order[:] = -1
    stamps[:] = -1
    for group in range(at.groups):
        first = group * at.centroids * width
        small = work.small[first : first + at.centroids * width]
        _probe_floors(small, at, group, probes, work.counted, floors)
        numbers, table = np.uintp(stored.numbers.ctypes.data), np.uintp(small.ctypes.data)
        places = np.uintp(at.bytes), np.uintp(found.ctypes.data)
        num_found = codes_above(width, numbers, at.centroids, table, places[0], places[1])
        for lane in range(lanes_in(at, group)):
            count, floor = 0, np.int32(floors[lane])
            stamp = np.int32((group * width + lane) * (matches.most + 1))
            for h in range(num_found):
                centroid = found[h]
                entry = np.int32(small[centroid * width + lane])
                if entry >= floor:
                    keys[count] = (255 - entry) << 16 | centroid
                    count += 1
            keys[:count].sort()  # the best first: they alone count for a passage
            for key in keys[:count]:
                more, centroid = np.int32(255 - (key >> 16)) - floor, key & 0xFFFF
                for h in range(offsets[centroid], offsets[centroid + 1]):
                    passage = lists[h]
                    counted = stamps[passage] - stamp  # of this lane, if it is not below zero
                    if counted < matches.counts[passage]:
                        stamps[passage] = stamp + max(counted, 0) + 1
                        order[passage] = max(order[passage], 0) + more
    if matches.most > 1:
        for passage in range(len(order)):
            if order[passage] > 0:
                order[passage] = np.int64(order[passage]) * PARTS // matches.counts[passage]


@njit(nogil=True, cache=True)
def _probe_floors(small: Any, at: Any, group: Any, probes: Any, counted: Any, floors: Any) -> None:
    """Write the entry that about so many centroids of each lane reach, from a sample of centroids."""
    width, step = at.width, max(1, at.centroids // SAMPLED_CENTROIDS)
    counted[: 256 * width] = 0
    for centroid in range(0, at.centroids, step):
        for lane in range(width):
            counted[256 * lane + np.int64(small[centroid * width + lane])] += 1
    floors[:width] = 255
    for lane in range(lanes_in(at, group)):
        entry, left = 255, max(1, probes // step)
        while entry > 0 and counted[256 * lane + entry] < left:
            left -= counted[256 * lane + entry]
            entry -= 1
        floors[lane] = entry


@njit(nogil=True, cache=True)
def _score_near(stored: Any, query: Any, matches: Any, near: Any, count: Any, work: Any) -> None:
    """Write to ``work.scores`` what the found passages get from the tokens near their largest entries.

    The residuals of the next passage are asked for while one is scored: they lie anywhere.
    """
    at, room, borders = places_of(stored, query, work), len(work.near) // 2, stored.borders
    scores, best, codes, picked = work.scores, work.best, stored.codes, work.picked
    rows = work.rows.ctypes.data, work.rows.strides[0]
    residuals, stride = stored.residuals.ctypes.data, stored.residuals.strides[0]
    reach = query.lengths * query.weights * (near * stored.typical / work.unit[0])
    scores[:count] = 0
    top, total = 0.0, 0.0
    waiting = work.near[:0]
    for item in range(count * at.groups + 1):
        chosen = work.near[:0]
        if item < count * at.groups:
            passage = work.found[item // at.groups]
            start, stop, wanted = borders[passage], borders[passage + 1], matches.counts[passage]
            chosen = work.near[item % 2 * room : (item % 2 + 1) * room]
            if matches.k > 0 or wanted > MOST_LARGEST:
                chosen = chosen[: stop - start]
                for h in range(stop - start):
                    chosen[h] = h
            else:
                tokens = start, stop, wanted
                chosen = chosen[: _choose_near(at, item % at.groups, reach, tokens, chosen, work.bytes)]
            for h in range(len(chosen)):
                row = residuals + (start + chosen[h]) * stride
                for line in range(0, stride, simd.LINE):
                    simd.prefetch(np.uintp(row + line))
        if item > 0:
            place, group = (item - 1) // at.groups, (item - 1) % at.groups
            first = borders[work.found[place]]
            unpack(stored, waiting, first, work.rows)
            for h in range(len(waiting)):
                picked[h] = codes[first + waiting[h]]
            best[: at.width] = np.float32(-np.inf)
            score_rows(at, group, rows, picked.ctypes.data, len(waiting))
            if matches.maxsim:
                for lane in range(lanes_in(at, group)):
                    scores[place] += best[lane]
            else:
                if group == 0:
                    top, total = 0.0, 0.0
                wanted = matches.counts[work.found[place]]
                more = add_matches(at, group, query, matches, wanted, waiting, first, work)
                top, total = top + more[0], total + more[1]
                scores[place] = top / total if total > 0 else 0.0
        waiting = chosen


@njit(nogil=True, cache=True)
def _choose_near(at: Any, group: Any, reach: Any, tokens: Any, chosen: Any, best: Any) -> Any:
    """Write which of a passage's tokens come near its largest entries in some lane; return how many."""
    small, codes = np.uintp(at.small + group * at.centroids * at.width), np.uintp(at.codes + 2 * tokens[0])
    count = tokens[1] - tokens[0]
    top_of_codes(at.width, tokens[2], codes, count, small, np.uintp(at.bytes))
    for lane in range(at.width):
        if lane < lanes_in(at, group):
            best[lane] -= np.uint8(min(reach[group * at.width + lane], np.float64(best[lane])))
        else:
            best[lane] = 255  # its entries are 0
    return codes_above(at.width, codes, count, small, np.uintp(at.bytes), np.uintp(chosen.ctypes.data))


@njit(nogil=True, cache=True)
def sums_of_best(stored: Any, query: Any, vectors: Any, starts: Any, rows: Any, work: Any, sums: Any) -> None:
    """Write the canonical sums of `dretrieve.kernels.maxsim` for some passages.

    Args:
        stored: the passages.
        query: whose tables are filled.
        vectors: the stored vectors, from `dretrieve.kernels.dot.stored_bits`.
        starts: [H] where each passage begins among them.
        rows: [H] int32 passages, each with at least one token, all of them in ``vectors``.
        work: of this thread.
        sums: [H] float64.
    """
    at = places_of(stored, query, work)
    best = work.best[: 4 * at.width]
    for h in range(len(rows)):
        start, stop = stored.borders[rows[h]], stored.borders[rows[h] + 1]
        measure(stored, rows[h], work)
        residuals = passage_rows(stored, start, stop - start, work)
        total = 0.0
        for group in range(at.groups):
            lanes = lanes_in(at, group)
            best[: at.width] = np.float32(-np.inf)
            score_rows(at, group, residuals, at.codes + 2 * start, stop - start)
            set_floors(stored, query, group, 1, stop - start, stored.extents[rows[h]], at, work)
            floors, masks = np.uintp(at.best + 4 * at.width), np.uintp(work.masks.ctypes.data)
            lanes_above(at.width, np.uintp(at.sums), stop - start, floors, masks)
            masks_of, scores, token = work.masks[: stop - start], work.sums.view(np.float32), group * at.width
            _best_canonical(vectors, starts[h], masks_of, scores, query.exact, token, best, work.doubles)
            for lane in range(lanes):
                total += np.float64(best[lane])
        sums[h] = total


@njit(nogil=True, cache=True)
def _best_canonical(
    vectors: Any, first: Any, masks: Any, scores: Any, queries: Any, token: Any, best: Any, doubles: Any
) -> None:
    """Write each lane's largest canonical product: row ``first + t`` counts for the lanes in ``masks[t]``.

    Tokens with the best score come first; after them those are left out that cannot reach what was found.
    """
    width = len(best) // 4
    for lane in range(width):
        best[3 * width + lane] = best[lane]
    best[:width] = np.float32(-np.inf)
    fetch(vectors, first, masks)
    for turn in range(2):
        for t in range(len(masks)):
            mask = masks[t]
            while mask != 0:
                lane = simd.lowest_bit(mask)
                mask &= mask - np.uint32(1)  # clears that bit
                score = scores[t * width + lane]
                if (turn == 0) != (score >= best[3 * width + lane]):
                    continue
                if np.float64(score) + np.float64(best[2 * width + lane]) < np.float64(best[lane]):
                    continue
                product = canonical(vectors, first + t, queries, token + lane, doubles)
                best[lane] = max(best[lane], product)
