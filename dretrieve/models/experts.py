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

from dretrieve.models.hooks import Run

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
    """The experts of one layer beside its own feed-forward part, which is expert 0."""

    @classmethod
    def copies(cls, layer: Any, count: int) -> Experts:
        """Return ``count`` copies of a layer's feed-forward part."""
        return cls(
            FeedForward(copy.deepcopy(layer.intermediate), copy.deepcopy(layer.output)) for _ in range(count)
        )


def by_rows(run: Run, states: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return [B, T, D]: the first ``sizes[0]`` rows by expert 0, the next ``sizes[1]`` by expert 1."""
    parts = states.split(list(sizes))
    found = [run(part, number) for number, part in enumerate(parts) if len(part)]
    return found[0] if len(found) == 1 else torch.cat(found)


def by_tokens(
    run: Run,
    states: Tensor,
    experts: Tensor,
    count: int,
    entries: Tensor | None = None,
    *,
    rest: bool = False,
) -> Tensor:
    """Return the states, each token through its own expert; zeros where padding stands.

    Args:
        run: an engine's way through an expert.
        states: [B, T, D] or [N, D].
        experts: [B, T] or [N] int64, `PADDING` where padding stands.
        count: I, how many experts there are.
        entries: [B, T, I], the gate's decision: 1 for the chosen expert, 0 for the others, with a gradient.
            The chosen expert's output is multiplied by its entry. None: nothing is.
        rest: run the other experts too, so that all entries get the gradient of sum_i entry_i FFN_i(u)
            (eq. 3). Their entries are 0, so nothing reaches their weights and none is recorded.
    """
    width = states.shape[-1]
    group = experts.reshape(-1).remainder(count + 1)  # padding is the last group
    order = group.argsort(stable=True)
    places = order.argsort()
    *counts, padding = counted(group, count + 1)
    rows = permuted(states.reshape(-1, width), order, places)
    parts = rows.split([*counts, padding])[:-1]
    trained = torch.is_grad_enabled()  # then an expert without a token gets a gradient of zeros
    found = torch.cat([run(part, number) for number, part in enumerate(parts) if len(part) or trained])
    if entries is not None:
        weights = permuted(entries.reshape(-1, count), order, places)[: len(found)]
        found = found * (weights * weights.detach()).sum(dim=1, keepdim=True)  # 1, the chosen one's
        if rest:
            found = found + _rest(run, rows[: len(found)], weights, counts)
    whole = torch.cat([found, found.new_zeros(padding, width)]) if padding else found
    return permuted(whole, places, order).view(states.shape)


def _rest(run: Run, rows: Tensor, weights: Tensor, counts: Sequence[int]) -> Tensor:
    """Return zeros [N, D] whose gradient reaches the entries of the experts that were not chosen.

    ``rows`` [N, D] are the tokens in order of their experts, ``weights`` [N, I] their entries.
    """
    total = torch.zeros_like(rows)
    stop = 0
    for number, count in enumerate(counts):
        start, stop = stop, stop + count
        with torch.no_grad():
            others = run(torch.cat([rows[:start], rows[stop:]]), number)
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
    """Return ``rows[order]``, a permutation with the inverse ``places``.

    Its gradient is copied back, where indexing would sum, in any order on a GPU.
    """
    found: Tensor = _Permuted.apply(rows, order, places)  # type: ignore[no-untyped-call]  # torch has no types
    return found
