"""From token states to one vector, found from the mask alone, wherever padding stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Pooling = Literal["cls", "mean", "last", "max", "weightedmean", "mean_sqrt_len"]


def pool(states: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """Return [B, D] float32 from padded states [B, T, D]; ``mask`` [B, T] has a real token in each row.

    ``how``: the first real token, the last, their mean, their greatest number in each place; their mean with
    weights 1, 2, 3 … from the first (weightedmean); their sum divided by the root of how many they are
    (mean_sqrt_len).
    """
    if how not in ("cls", "last"):
        lowest = -torch.inf if how == "max" else 0.0
        kept = states.float().masked_fill(~mask.unsqueeze(-1), lowest)
        if how == "max":
            return kept.amax(dim=1)
        if how == "weightedmean":
            weights = mask.cumsum(dim=1) * mask
            return (kept * weights.unsqueeze(-1)).sum(dim=1) / weights.sum(dim=1, keepdim=True)
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return kept.sum(dim=1) / (count if how == "mean" else count.sqrt())
    marks = mask.to(torch.uint8)
    if how == "cls":
        place = marks.argmax(dim=1)
    else:
        place = mask.shape[1] - 1 - marks.flip(1).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), place].float()


def pool_packed(states: Tensor, lengths: Sequence[int], how: Pooling) -> Tensor:
    """Return [B, D] float32 from states [N, D], one text of ``lengths``, at least 1, after the other."""
    sizes = torch.tensor(lengths, dtype=torch.int64)
    ends = sizes.cumsum(0)
    if how == "mean":
        on_device = sizes.to(states.device, non_blocking=True)
        # A GPU would be waited for if it had to check the lengths; they are right by construction.
        return torch.segment_reduce(states.float(), "mean", lengths=on_device, unsafe=states.is_cuda)
    if how not in ("cls", "last"):
        texts = states.split(list(lengths))
        return torch.cat([pool(of[None], of.new_ones(1, len(of), dtype=torch.bool), how) for of in texts])
    places = ends - sizes if how == "cls" else ends - 1
    return states[places.to(states.device, non_blocking=True)].float()


def unit(vectors: Tensor) -> Tensor:
    """Return the vectors divided by their Euclidean length; zeros stay zeros (and are refused on writing)."""
    return functional.normalize(vectors, dim=-1)
