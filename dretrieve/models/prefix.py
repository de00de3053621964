"""Prefixes: keys and values before those of every layer, one for all texts or a sum of several for each.

"Dynamic Dense Retrieval" (arXiv 2602.22547), equations 1, 3 and 4; P keys and values for each of L layers of
width D, no network behind them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dretrieve.models.attention import drop
from dretrieve.models.encoder import States
from dretrieve.models.hooks import Hooks, KeysValues, Layout

DEVIATION = 0.02  # of new weights


def new_prefix(layers: int, length: int, width: int) -> nn.Parameter:
    """Return a prefix [L, 2, P, D], keys before values, drawn from N(0, .02)."""
    return nn.Parameter(torch.randn(layers, 2, length, width) * DEVIATION)


class Domain(nn.Module):
    """A domain's module.

    Attributes:
        prefix: [L, 2, P, D], what it adds to the general prefix; zeros at first.
        router: [D + 1], its row of the router, the bias last; drawn from N(0, .02), so that no two domains
            learn the same where nothing else tells them apart.
        record: where it comes from, by name; saved beside it.
    """

    def __init__(self, layers: int, length: int, width: int) -> None:
        super().__init__()
        self.prefix = nn.Parameter(torch.zeros(layers, 2, length, width))
        self.router = nn.Parameter(functional.pad(torch.randn(width) * DEVIATION, (0, 1)))
        self.record: Mapping[str, Any] = {}


class Prefixes(Hooks):
    """The same prefix [L, 2, P, D] before every text, its dropout with a mask for each.

    Where it is ``shifted``, the tokens' positions begin behind it.
    """

    def __init__(self, general: Tensor, *, dropout: float = 0.0, shifted: bool = False) -> None:
        self.general, self._dropout = general, dropout
        self.first_position = general.shape[2] if shifted else 0

    def of_layer(self, layer: int, states: Tensor, layout: Layout) -> Tensor:
        """Return the layer's prefix, [2, P, D] or each text's [B, 2, P, D] in the order of `Layout.first`."""
        return self.general[layer]

    def keys_values(self, layer: int, states: Tensor, layout: Layout) -> KeysValues:
        """Return the layer's keys and values, [P, D] or [B, P, D]; see `Hooks`."""
        with torch.autocast(states.device.type, enabled=False):
            found = self.of_layer(layer, states, layout)
            if self._dropout:
                each = found.expand(len(layout.mask), *found.shape[-3:])
                found = drop(each, self._dropout)
        keys, values = found.unbind(dim=-3)
        return keys, values


class RoutedPrefixes(Prefixes):
    """Before each text the general prefix and its domains', weighted: K_l = Kg_l + Σ_i b_i Kd_il, V_l alike.

    The sum is built one layer at a time. b is the softmax of the router over a text's domains alone, z = W x
    with the bias that the authors' code has; the paper's x is "the input at layer l" and leaves open how its
    tokens become one vector: here their mean.

    Args:
        general: [L, 2, P, D].
        domains: the N that some text of the batch may read, always in the same order.
        chosen: [B, N] bool, those that each text may read; a text without any reads the general prefix alone.
        top_k: so many of the chosen with the largest weights are kept; 0 keeps all.
        uniform: b is equal for all chosen, and there is no router.
        each_layer: the router reads each layer's input; else the first's, once.
        more: of `Prefixes`.
    """

    def __init__(
        self,
        general: Tensor,
        domains: Sequence[Domain],
        chosen: Tensor,
        *,
        top_k: int = 0,
        uniform: bool = False,
        each_layer: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(general, **more)
        self._domains, self._chosen, self._top_k = domains, chosen, top_k
        self._uniform, self._each_layer = uniform, each_layer
        self._weights: Tensor

    def of_layer(self, layer: int, states: Tensor, layout: Layout) -> Tensor:
        """Return [B, 2, P, D], or [2, P, D] where all texts have the same weights; of the states' type."""
        if layer == 0 or self._each_layer:  # the first again where checkpointing repeats it
            found = self.weights(states, layout)
            self._weights = layout.of_texts(found) if len(found) > 1 else found
        general = self.general[layer]
        own = torch.stack([domain.prefix[layer] for domain in self._domains]).flatten(1)
        parts = (of.to(states.dtype) for of in (general.reshape(1, -1), self._weights, own))
        summed = torch.addmm(*parts)
        return summed.view(-1, *general.shape) if len(summed) > 1 else summed.view_as(general)

    def weights(self, states: Tensor, layout: Layout) -> Tensor:
        """Return b [B, N] from a layer's input, 0 where not chosen; [1, N] where all texts' are equal."""
        chosen = self._chosen.to(states.device)
        if self._uniform:
            found = chosen / chosen.sum(dim=1, keepdim=True).clamp(min=1)
        else:
            rows = torch.stack([domain.router for domain in self._domains])
            z = States(states, layout).pooled("mean") @ rows[:, :-1].T + rows[:, -1]
            if 0 < self._top_k < len(rows):
                z_chosen = z.masked_fill(~chosen, -torch.inf)
                kept = z_chosen.topk(self._top_k, dim=1).indices
                chosen = chosen & torch.zeros_like(chosen).scatter(1, kept, True)
            found = softmax_over(z, chosen)
        return found[:1] if bool((found == found[:1]).all()) else found


def softmax_over(scores: Tensor, chosen: Tensor) -> Tensor:
    """Return the softmax [B, N] of the chosen scores of each row, 0 elsewhere; all 0 in a row without any."""
    kept = scores.masked_fill(~chosen, -torch.inf)
    kept = kept.masked_fill(~chosen.any(dim=1, keepdim=True), 0)  # which no softmax is of
    return kept.softmax(dim=1) * chosen
