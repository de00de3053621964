"""Rows of encoded texts put together: pieces of a step, shares of several processes, back in batch order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dretrieve.models.base import Encoded
from dretrieve.training.processes import Processes


@dataclass(frozen=True, slots=True)
class Layout:
    """How a side's rows come back into batch order.

    Attributes:
        counts: rows of each process.
        local: [own rows] the place of each own row in the concatenation of this process's pieces.
        batch: [rows] the place of each batch row in the concatenation of the processes' rows.
    """

    counts: list[int]
    local: Tensor
    batch: Tensor


def inverse(order: NDArray[np.int64]) -> Tensor:
    """Return where each number of a permutation stands in it."""
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order), dtype=np.int64)
    return torch.from_numpy(places)


def widen(tensor: Tensor, width: int) -> Tensor:
    """Return [B, T, …] with zeros (False) added on the right up to ``width`` columns."""
    missing = width - tensor.shape[1]
    if missing <= 0:
        return tensor
    return functional.pad(tensor, [0, 0] * (tensor.dim() - 2) + [0, missing])


def join(parts: Sequence[Encoded], layout: Layout, processes: Processes) -> Encoded:
    """Return all rows of a side, of all pieces and processes, in batch order.

    Only this process's rows carry gradient.

    Args:
        parts: this process's pieces of the side, at least one.
        layout: of the side.
        processes: who takes part.
    """
    device = parts[0].vectors.device
    local, batch = layout.local.to(device), layout.batch.to(device)

    def arranged(get: Callable[[Encoded], Tensor], width: int | None = None) -> Tensor:
        rows = [get(part) if width is None else widen(get(part), width) for part in parts]
        own = torch.cat(rows).index_select(0, local)
        return processes.gather_rows(own, layout.counts).index_select(0, batch)

    if parts[0].mask is None:
        return Encoded(arranged(lambda part: part.vectors))
    width = processes.largest(max(part.vectors.shape[1] for part in parts))
    return Encoded(
        arranged(lambda part: part.vectors, width),
        arranged(lambda part: _given(part.mask), width),
        None if parts[0].salience is None else arranged(lambda part: _given(part.salience), width),
    )


def _given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None, "every piece of a side has the same tensors"
    return tensor
