"""Linear layers of the packed engine: weights laid out once for the processor, results in kept buffers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# Rows that the processor's layout of the weights is chosen for; other numbers of rows work as well.
USUAL_ROWS = 2048


class Workspace:
    """The buffers of one thread, grown to the largest batch met."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Return an uninitialised tensor of that shape, of the type and device of ``like``."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != like.dtype:
            buffer = torch.empty(size, dtype=like.dtype, device=like.device)
            self._buffers[name] = buffer
        return buffer[:size].view(shape)


class PackedLinear:
    """x · weight [in, out] + bias [out], and behind it GELU or the sum with what went around, if wanted.

    On a CPU in bfloat16 the weights are kept in the blocks that oneDNN multiplies by, where torch has that
    (a tenth faster over all; GELU and the sum are computed before the result leaves the cache and is
    rounded); else torch's addmm.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.width = weight.shape[1]
        self._bias = bias
        self._blocks = _blocks(weight)
        self._weight = weight if self._blocks is None else None

    def __call__(
        self, states: Tensor, buffers: Workspace, name: str, *, gelu: bool = False, plus: Tensor | None = None
    ) -> Tensor:
        """Return [N, out]; it may stand in the buffer of that name. ``plus`` [N, out] excludes ``gelu``."""
        if self._blocks is not None and plus is not None:
            summed: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
                states, plus, self._blocks, self._bias, "add"
            )
            return summed
        if self._blocks is not None:
            after: tuple[Any, ...] = ("gelu", [], "none") if gelu else ("none", [], "")
            found: Tensor = torch.ops.mkldnn._linear_pointwise(states, self._blocks, self._bias, *after)
            return found
        assert self._weight is not None
        out = buffers.take(name, states, len(states), self.width)
        torch.addmm(self._bias, states, self._weight, out=out)
        if plus is not None:
            return out.add_(plus)
        return torch.ops.aten.gelu_(out) if gelu else out


def _blocks(weight: Tensor) -> Any:
    """Return the weights as oneDNN wants them; None where that is not to be had."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return None
    theirs: Any = torch.ops.mkldnn
    usable = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not usable or not hasattr(theirs, "_linear_pointwise"):
        return None
    return theirs._reorder_linear_weight(weight.t().contiguous(), USUAL_ROWS)
