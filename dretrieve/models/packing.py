"""The real tokens of a batch, one text after the other, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dretrieve.models.base import TokenBatch


def pack(batch: TokenBatch) -> tuple[Tensor, Tensor, list[int], Tensor]:
    """Return the real tokens of a batch, longest texts first.

    Returns:
        ids [N] int64; positions [N] from 0 within each text; the texts' lengths in packed order; for each
        text of the batch its place in packed order [B].
    """
    mask = batch.mask.cpu().numpy()
    order, sizes = _by_length(mask)
    ids = batch.input_ids.cpu().numpy()[order][mask[order]]
    starts = np.cumsum(sizes) - sizes
    positions = np.arange(len(ids)) - np.repeat(starts, sizes)
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return torch.from_numpy(ids), torch.from_numpy(positions), sizes.tolist(), torch.from_numpy(places)


def padded(values: Tensor, mask: Tensor, fill: int) -> Tensor:
    """Return [B, T] of what belongs to each token: what `pack` does, undone.

    Args:
        values: [N], in packed order.
        mask: [B, T] bool of the batch that was packed.
        fill: where padding stands.
    """
    real = mask.cpu().numpy()
    order, _ = _by_length(real)
    found = np.full(real.shape, fill, dtype=np.int64)
    rows, columns = np.nonzero(real[order])
    found[order[rows], columns] = values.cpu().numpy()
    return torch.from_numpy(found)


def _by_length(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows, longest first, and their lengths in that order."""
    lengths = mask.sum(axis=1)
    order = np.argsort(-lengths, kind="stable")
    return order, lengths[order]


def unpacked(vectors: Tensor, places: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return packed-order vectors [B, D] in the batch's order."""
    assert len(vectors) == len(lengths)
    return vectors[places.to(vectors.device, non_blocking=True)]
