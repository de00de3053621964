"""MaxSim of a batch, with gradient: every query with every passage, in memory of a few passages at a time.

What a run is scored with is `dretrieve.scoring.maxsim`; this differs from it by rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dretrieve.models.base import Encoded

BLOCK_PRODUCTS = 1 << 24  # of query tokens with passage tokens at a time: 64 MiB in float32


def maxsim(query: Encoded, passage: Encoded, *, mean: bool = False) -> Tensor:
    """Return [Q, P] float32: over a query's tokens the sum, or mean, of the largest product with a passage's.

    Vectors are [Q, n, D] and [P, m, D]. The products of a block are computed again for the gradient, so that
    what is kept grows with Q x P alone. A token that takes no part has no product: it neither adds to a query
    nor is a passage's largest. A passage without tokens gives -inf.
    """
    assert query.mask is not None
    assert passage.mask is not None
    vectors, there = query.vectors.float(), query.mask.to(query.vectors.device)
    tokens = vectors[there]  # [N, D]
    owners = there.nonzero()[:, 0]
    width = passage.vectors.shape[1]
    step = max(1, BLOCK_PRODUCTS // max(1, len(tokens) * width))
    blocks = [
        recomputed(_sums, tokens, owners, len(vectors), values, mask)
        for values, mask in zip(
            passage.vectors.float().split(step), passage.mask.to(vectors.device).split(step), strict=True
        )
    ]
    found = torch.cat(blocks, dim=1)
    return found / there.sum(dim=1, keepdim=True).clamp(min=1) if mean else found


def weighed_maxsim(
    query: Encoded, passages: Iterable[tuple[Tensor, Tensor]], texts: Tensor, shares: Tensor
) -> Tensor:
    """Return [Q, P] float32: for each head the mean over a query's tokens of the largest product, weighed.

    Queries [Q, n, H, D] are compared with some of the passages, ``texts`` [P]; ``shares`` [H] weigh heads.
    Passages come in parts: the tokens [N, H, D], one passage behind the other, and how many each has. They
    are padded in their block alone, and no block goes over two parts, so that of all passages nothing is
    kept but their tokens as they came, and the gradient of these.
    """
    assert query.mask is not None
    asked, owners = query.vectors.float()[query.mask], query.mask.nonzero()[:, 0]
    room = BLOCK_PRODUCTS // max(1, len(asked) * len(shares))
    wanted = texts.sort()
    blocks, before = [], 0
    for tokens, lengths in passages:
        counts = lengths.tolist()
        bounds = list(pairwise([0, *_block_ends(counts, room)]))
        pieces = tokens.float().split([sum(counts[start:stop]) for start, stop in bounds])
        for piece, (start, stop) in zip(pieces, bounds, strict=True):
            own = wanted.values - before - start
            own = own[(own >= 0) & (own < stop - start)]
            if len(own):
                given = (asked, owners, len(query.mask), piece, lengths[start:stop], own, shares)
                blocks.append(recomputed(_weighed, *given))
        before += len(counts)
    found = torch.cat(blocks, dim=1).index_select(1, wanted.indices.argsort())
    return found / query.mask.sum(dim=1, keepdim=True)


def _block_ends(lengths: Sequence[int], room: int) -> list[int]:
    """Return where blocks of passages end: each has at most so many padded tokens, or one passage."""
    ends, begin, longest = [], 0, 0
    for row, length in enumerate(lengths):
        longest = max(longest, length)
        if row > begin and longest * (row + 1 - begin) > room:
            ends.append(row)
            begin, longest = row, length
    return [*ends, len(lengths)]


def padded(tokens: Tensor, lengths: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Return [len(texts), T, …] and mask of texts whose tokens stand one behind the other in [N, …]."""
    starts = (lengths.cumsum(0) - lengths)[texts].unsqueeze(1)
    place = torch.arange(int(lengths[texts].max()), device=lengths.device)
    mask = place < lengths[texts].unsqueeze(1)
    rows = (starts + place) * mask
    return tokens.index_select(0, rows.flatten()).view(*rows.shape, *tokens.shape[1:]), mask


def recomputed(function: Any, *given: Any) -> Tensor:
    """Return what the function gives; for the gradient, which keeps nothing else, it is called again."""
    found: Tensor = checkpoint(function, *given, use_reentrant=False, preserve_rng_state=False)
    return found


def _weighed(
    asked: Tensor,
    owners: Tensor,
    queries: int,
    tokens: Tensor,
    lengths: Tensor,
    texts: Tensor,
    shares: Tensor,
) -> Tensor:
    """Return [queries, len(texts)] of the query tokens [N, H, D] with a block's passages, over all heads."""
    values, mask = padded(tokens, lengths, texts)
    heads = zip(asked.unbind(1), values.unbind(2), strict=True)
    return torch.stack([_sums(one, owners, queries, other, mask) for one, other in heads], dim=-1) @ shares


def _sums(tokens: Tensor, owners: Tensor, queries: int, values: Tensor, mask: Tensor) -> Tensor:
    """Return [queries, p] of the query tokens [N, D] with the passages [p, m, D]."""
    products = tokens @ values.flatten(0, 1).T  # [N, p m]
    products = products.view(len(tokens), *mask.shape).masked_fill(~mask, -torch.inf)
    best = products.max(dim=2).values  # of several largest the first alone gets the gradient
    return best.new_zeros(queries, len(values)).index_add(0, owners, best)
