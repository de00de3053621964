"""Scores of a batch by any alignment, with gradient, in memory of a few passages at a time.

What a run is scored with is `dretrieve.scoring.alignment`; this differs from it by rounding. Hard alignments
choose tokens by their products and carry no gradient of the choice; soft ones carry it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dretrieve.models import maxsim as blocks
from dretrieve.models.base import Encoded
from dretrieve.models.maxsim import maxsim, recomputed
from dretrieve.models.salience import exact
from dretrieve.scoring.alignment import Alignment

SOFT_COPIES = 8  # of a block's products that a soft alignment needs beside them
# Z of tokens without salience is next to nothing, and a gradient divided by its square no number.
FAINTEST = 1e-9


def aligned(query: Encoded, passage: Encoded, alignment: Alignment) -> Tensor:
    """Return [Q, P] float32, Σ S ⊙ A / Z of equations 1 and 2; Z counts as `FAINTEST` at least.

    Vectors are [Q, n, D] and [P, m, D]. Top-1 without salience is the mean `maxsim`, bit for bit. What is
    kept for the gradient grows with Q x P alone.
    """
    assert query.mask is not None
    assert passage.mask is not None
    if query.salience is None and passage.salience is None and alignment == Alignment(k=1):
        return maxsim(query, passage, mean=True)
    vectors, there = query.vectors.float(), query.mask.to(query.vectors.device)
    tokens, owners = vectors[there], there.nonzero()[:, 0]
    weights = tokens.new_ones(len(tokens)) if query.salience is None else query.salience.float()[there]
    mask = passage.mask.to(vectors.device)
    counts = torch.from_numpy(alignment.counts(mask.sum(dim=1).cpu().numpy())).to(vectors.device)
    salience = mask.float() if passage.salience is None else passage.salience.float()
    products = blocks.BLOCK_PRODUCTS // (SOFT_COPIES if alignment.epsilon else 1)
    step = max(1, products // max(1, len(tokens) * mask.shape[1]))
    sides = (passage.vectors.float(), mask, salience, counts)
    parts = [
        recomputed(_sums, tokens, weights, owners, len(vectors), alignment.epsilon, *some)
        for some in zip(*(of.split(step) for of in sides), strict=True)
    ]
    sums, totals = torch.cat(parts, dim=2)
    scores: Tensor = sums / totals.clamp(min=FAINTEST)
    return scores


def _sums(
    tokens: Tensor, weights: Tensor, owners: Tensor, queries: int, epsilon: float, *passages: Tensor
) -> Tensor:
    """Return [2, queries, p], Σ A S and Σ A of query tokens [N, D] of ``weights`` [N] with some passages.

    ``owners`` [N] are the tokens' queries, ``epsilon`` is of a soft alignment, or 0, and the passages are
    vectors [p, m, D], mask and salience [p, m], and with how many tokens each is aligned [p].
    """
    values, mask, salience, counts = passages
    products = (tokens @ values.flatten(0, 1).T).view(len(tokens), *mask.shape)
    products = products.masked_fill(~mask, -torch.inf)
    if epsilon:
        shares = exact(products.flatten(0, 1), counts.repeat(len(tokens)), epsilon).view_as(products)
        dots, aligned_ones = products.masked_fill(~mask, 0.0), shares * salience
    else:
        top = products.topk(int(counts.max()), dim=2)
        kept = torch.arange(top.values.shape[2], device=counts.device) < counts.unsqueeze(1)
        dots = top.values.masked_fill(~kept, 0.0)
        aligned_ones = salience.expand_as(products).gather(2, top.indices) * kept
    aligned_ones = aligned_ones * weights[:, None, None]
    both = torch.stack([(aligned_ones * dots).sum(dim=2), aligned_ones.sum(dim=2)])
    return both.new_zeros(2, queries, len(values)).index_add(1, owners, both)
