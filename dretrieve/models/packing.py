"""The real tokens of a batch, one text after the other."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dretrieve.models.base import TokenBatch


def pack(batch: TokenBatch) -> tuple[Tensor, Tensor, list[int], Tensor]:
    """Return the real tokens of a batch, longest texts first.

    Returns:
        ids [N] int64; positions [N] from 0 within each text; the texts' lengths in packed order; the batch's
        rows in that order [B].
    """
    mask = batch.mask.cpu().numpy()
    lengths = mask.sum(axis=1)
    order = np.argsort(-lengths, kind="stable")
    sizes = lengths[order]
    ids = batch.input_ids.cpu().numpy()[order][mask[order]]
    starts = np.cumsum(sizes) - sizes
    positions = np.arange(len(ids)) - np.repeat(starts, sizes)
    return torch.from_numpy(ids), torch.from_numpy(positions), sizes.tolist(), torch.from_numpy(order)
