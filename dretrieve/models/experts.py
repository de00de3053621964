"""Experts: several whole feed-forward sub-layers where an encoder of BERT's layout has one.

Cheng et al., "Task-Aware Specialization for Efficient and Robust Dense Retrieval for Open-Domain Question
Answering" (2023), eq. 1: expert i is FFN_i(u) = LayerNorm(u + Dropout(W2 g(W1 u + b1) + b2)), the sub-layer
with its own dropout and norm (the published numbers of parameters hold only so). The paper writes a ReLU
for g; g is the backbone's own activation, as in the released code. Every expert starts as a copy of the
pretrained sub-layer. A token goes through its own expert only; the released code runs all experts on all
tokens and selects.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dretrieve.errors import UsageError
from dretrieve.models.backbone import WITH_POOLER

PADDING = -1


class FeedForward(nn.Module):
    """One expert: [..., D] to [..., D]; its parts have the names that they have in a layer of BERT."""

    def __init__(self, intermediate: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.intermediate, self.output = intermediate, output

    def forward(self, states: Tensor) -> Tensor:
        """Return the layer's output for the states that its attention gave."""
        found: Tensor = self.output(self.intermediate(states), states)
        return found


class Experts(nn.ModuleList):
    """The experts of one layer."""

    @classmethod
    def copies(cls, layer: Any, count: int) -> Experts:
        """Return ``count`` copies of a layer's feed-forward part."""
        return cls(
            FeedForward(copy.deepcopy(layer.intermediate), copy.deepcopy(layer.output)) for _ in range(count)
        )

    def by_rows(self, states: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return [B, T, D]: the first ``sizes[0]`` rows by expert 0, the next ``sizes[1]`` by expert 1."""
        parts = states.split(list(sizes))
        found = [expert(part) for expert, part in zip(self, parts, strict=True) if len(part)]
        return found[0] if len(found) == 1 else torch.cat(found)

    def by_tokens(self, states: Tensor, experts: Tensor, entries: Tensor | None, *, rest: bool) -> Tensor:
        """Return [B, T, D], each token through its own expert; zeros where padding stands.

        Args:
            states: [B, T, D].
            experts: [B, T] int64, `PADDING` where padding stands.
            entries: [B, T, I], the gate's decision: 1 for the chosen expert, 0 for the others, with a
                gradient. The chosen expert's output is multiplied by its entry. None: nothing is.
            rest: run the other experts too, so that all entries get the gradient of sum_i entry_i FFN_i(u)
                (eq. 3). Their entries are 0, so nothing reaches their weights and none is recorded.
        """
        width = states.shape[-1]
        group = experts.reshape(-1).remainder(len(self) + 1)  # padding is the last group
        order = group.argsort(stable=True)
        places = order.argsort()
        *counts, padding = counted(group, len(self) + 1)
        rows = permuted(states.reshape(-1, width), order, places)
        parts = rows.split([*counts, padding])
        found = torch.cat([expert(part) for expert, part in zip(self, parts[:-1], strict=True)])
        if entries is not None:
            weights = permuted(entries.reshape(-1, len(self)), order, places)[: len(found)]
            found = found * (weights * weights.detach()).sum(dim=1, keepdim=True)  # 1, the chosen one's
            if rest:
                found = found + self._rest(rows[: len(found)], weights, counts)
        whole = torch.cat([found, found.new_zeros(padding, width)]) if padding else found
        return permuted(whole, places, order).view(states.shape)

    def _rest(self, rows: Tensor, weights: Tensor, counts: Sequence[int]) -> Tensor:
        """Return zeros [N, D] whose gradient reaches the entries of the experts that were not chosen.

        Args:
            rows: [N, D], the tokens in order of their experts.
            weights: [N, I], their entries.
            counts: tokens of each expert.
        """
        total = torch.zeros_like(rows)
        stop = 0
        for number, (expert, count) in enumerate(zip(self, counts, strict=True)):
            start, stop = stop, stop + count
            with torch.no_grad():
                others = expert(torch.cat([rows[:start], rows[stop:]]))
            part = others * torch.cat([weights[:start, number], weights[stop:, number]]).unsqueeze(1)
            total = total + torch.cat([part[:start], part.new_zeros(count, rows.shape[1]), part[start:]])
        return total


def counted(groups: Tensor, count: int) -> list[int]:
    """Return how often each of ``count`` numbers stands in ``groups`` [N]; a GPU is waited for once."""
    numbers = torch.arange(count, device=groups.device)
    found: list[int] = (groups == numbers.unsqueeze(1)).sum(dim=1).tolist()
    return found


class _Permuted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return rows.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return gradient.index_select(0, places), None, None


def permuted(rows: Tensor, order: Tensor, places: Tensor) -> Tensor:
    """Return ``rows[order]``; its gradient is copied back, where indexing would sum, in any order on a GPU.

    Args:
        rows: [N, D].
        order: [N], a permutation.
        places: [N], its inverse.
    """
    found: Tensor = _Permuted.apply(rows, order, places)  # type: ignore[no-untyped-call]  # torch has no types
    return found


def specialised_layers(config: Any, every: int) -> tuple[int, ...]:
    """Return the numbers, from 0, of the layers that get experts: those with (i + 1) mod ``every`` = 0.

    Args:
        config: of a transformers encoder.
        every: 3 gives the layers 2, 5, 8, 11 of twelve: two shared blocks, then a specialised one.

    Raises:
        UsageError: no layer has such a number; the backbone's layers are not laid out as BERT's.
    """
    if config.model_type not in WITH_POOLER or getattr(config, "is_decoder", False):
        raise UsageError(
            f"experts take the place of feed-forward layers as BERT has them, and a {config.model_type} "
            f"backbone is laid out otherwise; give an encoder of type {', '.join(WITH_POOLER)}"
        )
    layers = int(config.num_hidden_layers)
    if every > layers:
        raise UsageError(
            f"--every {every} fits no layer: this backbone has {layers} layers; give 1 to {layers}"
        )
    return tuple(number for number in range(layers) if (number + 1) % every == 0)


def specialise(module: nn.Module, layers: Sequence[int], count: int) -> None:
    """Put ``count`` experts, copies of what stands there, into those layers of an encoder."""
    encoder: Any = module
    for number in layers:
        layer = encoder.encoder.layer[number]
        layer.experts = Experts.copies(layer, count)
        del layer.intermediate, layer.output
