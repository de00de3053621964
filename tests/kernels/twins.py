"""The plain twins of compiled loops, in numpy: what each returns, bit for bit but where it says otherwise."""

from __future__ import annotations

import math

import numpy as np

from dretrieve.kernels.codes import PANEL_ROWS, margin
from dretrieve.kernels.dot import LANES
from dretrieve.types import offsets_of


def score_pairs(vectors, queries, offsets, rows):
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    dim = vectors.shape[1]
    padded = -(-dim // LANES) * LANES
    products = np.zeros((len(rows), padded), dtype=np.float64)
    products[:, :dim] = vectors[rows].astype(np.float64) * queries[owners]
    lanes = np.zeros((len(rows), LANES), dtype=np.float64)
    for first in range(0, padded, LANES):
        lanes += products[:, first : first + LANES]
    pairs = lanes[:, 0::2] + lanes[:, 1::2]
    halves = pairs[:, 0::2] + pairs[:, 1::2]
    # + 0 turns a rounded -0 into 0
    return (halves[:, 0] + halves[:, 1]).astype(np.float32) + np.float32(0)


def sums_of_best(values, borders, queries, query_borders, offsets, rows):
    sums = np.empty(len(rows), dtype=np.float64)
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    for h, q in enumerate(owners):
        tokens = queries[query_borders[q] : query_borders[q + 1]]
        places = np.arange(borders[rows[h]], borders[rows[h] + 1], dtype=np.int32)
        every = np.arange(len(tokens) + 1, dtype=np.int64) * len(places)
        dots = score_pairs(values, tokens, every, np.tile(places, len(tokens)))
        best = dots.reshape(len(tokens), len(places)).max(axis=1).astype(np.float64)
        sums[h] = np.cumsum(best)[-1]  # one after the other, where np.sum would add pairs
    return sums


def aligned_sums(passages, queries, pairs, soft):
    values, weights, borders = passages
    offsets, rows, widths = pairs
    columns = int(widths.max(initial=0)) + len(soft)
    sums, totals = np.zeros((2, len(rows), columns))
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    for h, (q, row, width) in enumerate(zip(owners, rows, widths, strict=True)):
        every = np.arange(borders[row], borders[row + 1], dtype=np.int32)
        own = weights[every].astype(np.float64)
        for token in range(queries[2][q], queries[2][q + 1]):
            ends = np.array([0, len(every)])
            dots = score_pairs(values, queries[0][token : token + 1], ends, every).astype(np.float64)
            order = np.argsort(-dots, kind="stable")  # equal ones in their order
            weight = float(queries[1][token])
            sums[h, :width] += weight * np.cumsum((own * dots)[order])[:width]
            totals[h, :width] += weight * np.cumsum(own[order])[:width]
            for g, (k, epsilon) in enumerate(soft, start=sums.shape[1] - len(soft)):
                first = min(int(k), len(dots))
                places = np.concatenate([order[:first], np.sort(order[first:])])
                shared = shares(dots[places], first, epsilon) * own[places]
                # one after the other, where np.sum would add pairs
                sums[h, g] += weight * np.cumsum(shared * dots[places])[-1]
                totals[h, g] += weight * np.cumsum(shared)[-1]
    return sums, totals


def shares(dots, k, epsilon):
    """Return λ of dots of which the k largest stand in front, in order."""

    def terms(some, base):
        return np.array([math.exp((dot - base) / epsilon) for dot in some.tolist()])

    top, rest = dots[:k], terms(dots[k:], dots[k - 1])
    behind = np.cumsum(np.append(0.0, rest))[-1]
    for t in range(k):
        scale = math.exp((top[-1] - top[t]) / epsilon)
        spread = np.cumsum(np.append(scale * behind, terms(top[t:], top[t])))[-1]
        if k - t <= spread:
            break
    share = (k - t) / spread
    return np.concatenate([np.ones(t), share * terms(top[t:], top[t]), share * scale * rest])


def scan(codes, queries, floors, k):
    """Return another superset of the k best, from the whole matrix of byte scores."""
    panels, steps = codes.codes.shape[:2]
    rows = codes.codes.transpose(0, 2, 1, 3).reshape(panels * PANEL_ROWS, steps * 4).astype(np.int64) - 128
    scales = codes.scales.ravel().astype(np.float64)
    scores = (queries.codes.astype(np.int64) @ rows.T) * scales * queries.scales[:, None]
    worst = codes.errors.max(initial=0), codes.lengths.max(initial=0), codes.reach
    margins = margin(queries.lengths, queries.errors, *worst)
    real = ~np.isnan(scales)
    lowest = floors - queries.exact @ codes.centre.astype(np.float64)
    if np.count_nonzero(real) >= k:
        lowest = np.maximum(lowest, np.sort(scores[:, real], axis=1)[:, -k] - margins)
    found = real & (scores + margins[:, None] >= lowest[:, None])
    return offsets_of(found.sum(axis=1)), np.nonzero(found)[1].astype(np.int32)


def mark_largest(weights, borders, counts):
    owners = np.repeat(np.arange(len(counts)), np.diff(borders))
    order = np.lexsort((np.arange(len(weights)), -weights, owners))
    marks = np.zeros(len(weights), dtype=np.bool_)
    marks[order[np.arange(len(weights)) - borders[owners] < counts[owners]]] = True
    return marks


def code_residuals(values, codes, coding):
    centroids, bits = coding.centroids[codes], coding.bits
    found = np.searchsorted(coding.cuts, values - centroids)
    off = values.astype(np.float64) - (centroids + coding.steps[found])
    # one after the other, where np.sum would add pairs
    errors = np.sqrt(np.cumsum(off * off, axis=1)[:, -1]).astype(np.float32)
    each = 8 // bits
    full = np.zeros((len(values), -(-values.shape[1] // each) * each), np.uint8)
    full[:, : values.shape[1]] = found
    shifted = full.reshape(len(values), -1, each) << np.arange(0, 8, bits, dtype=np.uint8)
    return np.bitwise_or.reduce(shifted, axis=2), np.nextafter(errors, np.float32(np.inf))


def add_rows(rows, owners, count):
    sums = np.zeros((count, rows.shape[1]), np.int64)
    np.add.at(sums, owners, rows)
    return sums


def lists_of(codes, borders, count):
    texts = np.repeat(np.arange(len(borders) - 1), np.diff(borders))
    pairs = np.unique(np.stack([codes.astype(np.int64), texts]), axis=1)
    kind = np.uint16 if len(borders) - 1 <= 1 << 16 else np.int32
    return np.searchsorted(pairs[0], np.arange(count + 1)), pairs[1].astype(kind)


def raise_squares(scores, before, lengths, reads, scales):
    """Equal to the last bit but one of bfloat16."""
    for square in range(len(scores)):
        length, read = lengths[square % len(lengths)], reads[square % len(lengths)]
        parts = scores[square, :length, :read], before[square, :length]
        numbers = (np.concatenate(parts, axis=1).astype(np.int32) << 16).view(np.float32)
        powers = np.ascontiguousarray(np.exp(numbers - numbers.max(axis=1, keepdims=True)), dtype=np.float32)
        scales[square, :length] = 1 / powers.sum(axis=1)
        bits = ((powers.view(np.int32) + 0x8000) >> 16).astype(np.int16)
        for part, raised in zip(parts, np.split(bits, [read], axis=1), strict=True):
            part[:] = raised
        scores[square, :length, read:] = 0
