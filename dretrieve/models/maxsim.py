"""MaxSim of a batch, with gradient: every query with every passage, in memory of a few passages at a time.

What a run is scored with is `dretrieve.scoring.maxsim`; this differs from it by rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dretrieve.models.base import Encoded

BLOCK_PRODUCTS = 1 << 24  # of query tokens with passage tokens at a time: 64 MiB in float32


def maxsim(query: Encoded, passage: Encoded, *, mean: bool = False) -> Tensor:
    """Return [Q, P] float32: the sum over a query's tokens of the largest product with a passage's.

    The products of a block are computed again for the gradient, so that what is kept grows with Q x P alone.
    A token that takes no part has no product: it neither adds to a query nor is a passage's largest. A
    passage without tokens gives -inf.

    Args:
        query: [Q, n, D] and which tokens take part.
        passage: [P, m, D], the same.
        mean: divide by the number of the query's tokens.
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


def recomputed(function: Any, *given: Any) -> Tensor:
    """Return what the function gives; for the gradient, which keeps nothing else, it is called again."""
    found: Tensor = checkpoint(function, *given, use_reentrant=False, preserve_rng_state=False)
    return found


def _sums(tokens: Tensor, owners: Tensor, queries: int, values: Tensor, mask: Tensor) -> Tensor:
    """Return [queries, p] of the query tokens [N, D] with the passages [p, m, D]."""
    products = tokens @ values.flatten(0, 1).T  # [N, p m]
    products = products.view(len(tokens), *mask.shape).masked_fill(~mask, -torch.inf)
    best = products.max(dim=2).values  # of several largest the first alone gets the gradient
    return best.new_zeros(queries, len(values)).index_add(0, owners, best)
