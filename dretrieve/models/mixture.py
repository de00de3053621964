"""A block of experts behind a pooled vector: SB-MoE's y = x + m / |m| with m = sum_i w_i E_i(x).

Sokli et al., "Mixture of Experts approaches in dense retrieval tasks" (arXiv 2510.15683) and their first
study (2412.11864). E_i(x) = V_i act(U_i x + a_i) + b_i from d over h to d; the gate is a small network from d
over d/2 to N logits g(x). While training, the paper adds noise, z = g(x) + e * softplus(W x + c), e ~ N(0, I)
for each text and expert, and keeps the largest of softmax(z); in use there is no noise, and the K largest
of softmax(g(x)) are kept (K = 1 is the paper's TOP-1, 0 keeps all, its ALL). Kept values stay as they are.

Because m is divided by its length, with one kept expert its weight cancels: what reaches the gate of
``noisy`` as a gradient is rounding alone. It teaches nothing, but AdamW's steps are as long for small
gradients as for large ones, so that the gate wanders. Hence the other gates, which the paper does not have:
``soft`` keeps all in training too; ``scaled`` is ``noisy`` with the kept probability multiplied behind the
division, y = x + (sum_i w_i) m / |m|; ``straight`` draws one expert with Gumbel noise and gives its one-hot
the gradient of the soft probabilities (`models.routing.straight_through`). Controls: ``random`` keeps K
experts drawn evenly, in training and in use; ``uniform`` takes the plain mean.

In the released code the noise layer is in no parameter group and never learns; so it is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dretrieve.models.routing import straight_through
from dretrieve.models.sb_moe_config import NO_NETWORK
from dretrieve.store.seeds import generator

Gate = Literal["noisy", "soft", "scaled", "straight", "random", "uniform"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}
SMALLEST = 1e-6  # m is divided by its length, or by this: experts that give zeros leave x as it is
DRAWS = 2412  # the seed of the draws of ``random`` in use


@dataclass(frozen=True, slots=True)
class Mixed:
    """What the block gives.

    Attributes:
        vectors: y [B, d].
        weights: w [B, N], 0 for an expert that was not kept.
        probabilities: softmax(g(x)) [B, N] without noise; None without a gate.
    """

    vectors: Tensor
    weights: Tensor
    probabilities: Tensor | None

    def rows(self, start: int, stop: int) -> Mixed:
        """Return some of the texts."""
        soft = None if self.probabilities is None else self.probabilities[start:stop]
        return Mixed(self.vectors[start:stop], self.weights[start:stop], soft)


class Mixture(nn.Module):
    """The block of N experts, d over ``hidden`` h to d; it computes in float32 whatever the encoder does.

    Of the gate's 1 to 3 linear layers those between are d/2 wide; the activation is also that of experts.
    """

    def __init__(
        self, dim: int, num_experts: int, *, hidden: int, gate: Gate, gate_layers: int, activation: str
    ) -> None:
        super().__init__()
        self.num_experts, self.gate = num_experts, gate
        self.experts = nn.ModuleList(_network((dim, hidden, dim), activation) for _ in range(num_experts))
        inside = (dim // 2,) * (gate_layers - 1)
        has_network = gate not in NO_NETWORK
        self.network = _network((dim, *inside, num_experts), activation) if has_network else None
        self.noise = nn.Linear(dim, num_experts) if gate in ("noisy", "scaled") else None

    def forward(self, vectors: Tensor, activated: int, text_ids: Sequence[str] = ()) -> Mixed:
        """Return y of x [B, d], with the weights that were used.

        ``activated`` is K, how many experts are kept in use; training keeps what the gate says. ``random``
        draws by ``text_ids`` in use, so that batches change nothing.
        """
        with torch.autocast(vectors.device.type, enabled=False):
            x = vectors.float()
            logits: Tensor | None = None if self.network is None else self.network(x)  # g(x) [B, N]
            weights = self._weights(x, logits, activated, text_ids)
            mixed = self._mixed(x, weights)
            length = mixed.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
            scale = weights.sum(dim=1, keepdim=True) if self.gate == "scaled" else 1.0
            soft = None if logits is None else logits.softmax(dim=1)
            return Mixed(x + scale * mixed / length, weights, soft)

    def _weights(self, x: Tensor, logits: Tensor | None, activated: int, text_ids: Sequence[str]) -> Tensor:
        kept = activated or self.num_experts
        if logits is None:
            if self.gate == "uniform":
                return x.new_full((len(x), self.num_experts), 1 / self.num_experts)
            drawn = (
                torch.rand(len(x), self.num_experts) if self.training else _drawn(text_ids, self.num_experts)
            )
            return largest(drawn.to(x), 1 if self.training else kept)
        if not self.training:
            return largest(logits.softmax(dim=1), kept)
        if self.gate == "soft":
            return logits.softmax(dim=1)
        if self.gate == "straight":
            return straight_through(logits, noisy=True)[1]
        assert self.noise is not None
        noisy = logits + torch.randn_like(logits) * functional.softplus(self.noise(x))
        return largest(noisy.softmax(dim=1), 1)

    def _mixed(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return m [B, d]; an expert computes only the texts that it was kept for."""
        # A one-hot with a gradient needs the outputs of all experts: they are what the gradient points to.
        everywhere = weights.requires_grad and self.gate == "straight"
        if everywhere or bool(weights.all()):
            return self._mixed_of_all(x, weights)
        found = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = torch.nonzero(weights[:, number]).flatten()
            if len(rows):
                found = found.index_add(0, rows, weights[rows, number : number + 1] * expert(x[rows]))
        return found

    def _mixed_of_all(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return m [B, d] from two products: all U_i one under the other, all V_i side by side."""
        experts: list[Any] = list(self.experts)
        inner, activation, outer = zip(*experts, strict=True)
        first, bias = torch.cat([of.weight for of in inner]), torch.cat([of.bias for of in inner])
        hidden = activation[0](functional.linear(x, first, bias)).view(len(x), self.num_experts, -1)
        last = torch.cat([of.weight for of in outer], dim=1)
        found = functional.linear((weights.unsqueeze(2) * hidden).flatten(1), last)
        return found + weights @ torch.stack([of.bias for of in outer])


def _network(widths: Sequence[int], activation: str) -> nn.Sequential:
    """Return linear layers of those widths with the activation between them."""
    parts: list[nn.Module] = []
    for width, following in pairwise(widths):
        parts += [ACTIVATIONS[activation](), nn.Linear(width, following)]
    return nn.Sequential(*parts[1:])


def largest(weights: Tensor, count: int) -> Tensor:
    """Return [B, N] with all but the ``count`` largest of each row set to 0; of equal ones the first stay."""
    if count >= weights.shape[1]:
        return weights
    order = weights.detach().argsort(dim=1, descending=True, stable=True)
    keep = torch.zeros_like(weights, dtype=torch.bool).scatter(1, order[:, :count], value=True)
    return weights * keep


def _drawn(text_ids: Sequence[str], count: int) -> Tensor:
    """Return [B, N] numbers between 0 and 1 that depend on each text's id alone."""
    rows = [generator(DRAWS, text_id).random(count, dtype=np.float32) for text_id in text_ids]
    return torch.from_numpy(np.array(rows))


def balance(mixed: Mixed) -> Tensor:
    """Return N * sum_i f_i p_i [B]: 1 where all experts are used alike, N where one is used alone.

    Fedus et al., "Switch Transformers" (2021), eq. 4: f_i is the share of these texts that expert i has the
    largest weight for, p_i its probability. The share is of one side's texts in a piece of a step.
    """
    assert mixed.probabilities is not None, "a gate with a network"
    count = mixed.weights.shape[1]
    share = torch.bincount(mixed.weights.detach().argmax(dim=1), minlength=count) / len(mixed.weights)
    return count * (mixed.probabilities * share).sum(dim=1)
