"""What a method changes inside the layers of an encoder, whichever engine runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# (states [n, D] of some tokens, number of a feed-forward part: 0 the layer's own, then the experts beside it)
Run = Callable[[Tensor, int], Tensor]
KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tokens of a batch stand in an engine's states.

    Attributes:
        mask: [B, T] bool of the batch, True = real token.
        lengths: tokens per text in the packed order; None where states are padded.
        order: [B] the batch's rows in the packed order; None where states are padded.
    """

    mask: Tensor
    lengths: Sequence[int] | None = None
    order: Tensor | None = None

    def first(self, states: Tensor) -> Tensor:
        """Return [B, …] of each text's first token, in the packed order where states are packed."""
        if self.lengths is None:
            place = self.mask.to(torch.uint8).argmax(dim=1)
            return states[torch.arange(len(states), device=states.device), place]
        sizes = torch.tensor(self.lengths, device=states.device)
        return states[sizes.cumsum(0) - sizes]

    def of_texts(self, values: Tensor) -> Tensor:
        """Return [B, …], one entry for each text of the batch, in the order of `first`."""
        return values if self.order is None else values[self.order.to(values.device)]

    def spread(self, values: Tensor) -> Tensor:
        """Return what each text has, in the order of `first`, for each of its tokens: [B, T, …] or [N, …]."""
        if self.lengths is None:
            shape = (*self.mask.shape, *values.shape[1:])
            return values.unsqueeze(1).expand(shape)
        return values.repeat_interleave(torch.tensor(self.lengths, device=values.device), dim=0)

    def padded(self, values: Tensor, fill: float = 0) -> Tensor:
        """Return [B, T, …] of what belongs to each token, ``fill`` where padding stands."""
        if self.lengths is None or self.order is None:
            away = ~self.mask.view(*self.mask.shape, *[1] * (values.dim() - 2))
            return values.masked_fill(away.to(values.device), fill)
        mask = self.mask.to(values.device)
        rows = values.new_full((*self.mask.shape, *values.shape[1:]), fill)
        order = self.order.to(values.device)
        rows[mask[order]] = values  # here the packed order, so that each text's tokens are its own
        found = torch.empty_like(rows)
        found[order] = rows
        return found


class Hooks:
    """An engine asks these at every layer, in order; as they stand, they change nothing.

    Attributes:
        first_position: of each text's first token.
    """

    first_position: int = 0

    def keys_values(self, layer: int, states: Tensor, layout: Layout) -> KeysValues | None:
        """Return keys and values that every token of a text reads beside those of its text; None for none.

        ``states`` [B, T, D] or [N, D] are the input of the layer, counted from 0. Both found are [P, D], or
        [B, P, D] where each text has its own, in the order of `Layout.first`; all heads beside each other.
        """
        return None

    def feed_forward(self, layer: int, states: Tensor, layout: Layout, run: Run) -> Tensor | None:
        """Return what stands in the place of the layer's feed-forward part (its norm and residual included).

        ``states`` [B, T, D] or [N, D] are what its attention gave, and the layer's output has their shape;
        None leaves the layer as it is. ``run`` is the engine's own way through a feed-forward part, for rows
        of any number and shape [..., D].
        """
        return None


def split_heads(rows: Tensor, heads: int) -> Tensor:
    """Return [B or 1, heads, P, D / heads] of [B, P, D] or [P, D]."""
    rows = rows if rows.dim() == 3 else rows.unsqueeze(0)
    return rows.view(*rows.shape[:2], heads, -1).transpose(1, 2)
