"""Which expert reads a token: a gate on its state, or on that of its text's first token.

Cheng et al. (2023), eq. 3: R(u) = GumbelSoftmax(A u + c), one-hot forwards, the gradient of the soft
probabilities backwards (straight-through), temperature 1; without noise, the arg-max, once training is over.
Seq-R: u is the state of [CLS], one decision for the text. Tok-R: each token's own state.

Where paper and released code differ, and what is done here:

* u is the input of the feed-forward layer, as the paper says. The code gives the gate the input of the whole
  block, before its attention.
* The chosen expert's output is multiplied by its entry of the one-hot (`dretrieve.models.experts`), so the
  gate learns from the task. In the code this product is commented out, and the weight is the sum of a
  one-hot, whose gradient is zero: its gate never learns.
* The entropy term keeps the gate from choosing one expert always, so training *raises* the entropy H of
  softmax(A u + c): the loss is L - beta H. Eq. 4 and 5 of the paper have the other sign, which would reward
  the collapse that the text wants to prevent; the code's term has the sign used here, but its encoder
  returns the output of the embeddings in the term's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from dretrieve.models.base import TokenBatch
from dretrieve.models.experts import PADDING
from dretrieve.models.hooks import Layout
from dretrieve.types import Side

Unit = Literal["seq", "tok"]
INITIAL_DEVIATION = 0.02


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate of one layer decided.

    Attributes:
        experts: [B, T] int64, `PADDING` where padding stands; [N] where states are packed.
        entries: [B, T, I] or [N, I], the one-hot with the gradient of the soft probabilities.
        entropy: [B] in nats, ≥ 0: of the text's one decision, or the mean over its real tokens (packed: [N]).
    """

    experts: Tensor
    entries: Tensor
    entropy: Tensor


@dataclass(frozen=True, slots=True)
class Routes:
    """Which expert read which token.

    Attributes:
        layers: [L] numbers of the layers with experts, from 0, ascending.
        experts: [L, B, T] int64, the expert that read the token; -1 where padding stands.
        num_experts: in each layer.
    """

    layers: tuple[int, ...]
    experts: Tensor
    num_experts: int


@runtime_checkable
class Routed(Protocol):
    """A method whose layers have experts."""

    def routes(self, batch: TokenBatch, side: Side) -> Routes | None:
        """Return who read what when the batch is encoded for vectors; None where nothing is routed."""
        ...


class Router(nn.Module):
    """The gates: one for all ``layers``, ``shared`` and read at each one's own input, or one for each.

    They compute in float32 whatever the encoder's number type is.
    """

    def __init__(
        self, layers: Sequence[int], dim: int, num_experts: int, *, unit: Unit, shared: bool
    ) -> None:
        super().__init__()
        self.unit: Unit = unit
        self.layers = tuple(layers)
        self._place = {layer: 0 if shared else place for place, layer in enumerate(layers)}
        gates = [nn.Linear(dim, num_experts) for _ in range(1 if shared else len(layers))]
        for gate in gates:
            nn.init.normal_(gate.weight, std=INITIAL_DEVIATION)
        self.gates = nn.ModuleList(gates)

    def logits(self, layer: int, states: Tensor) -> Tensor:
        """Return A u + c [..., I] float32 of that layer's gate."""
        found: Tensor = self.gates[self._place[layer]](states.float())
        return found

    def forward(self, layer: int, states: Tensor, layout: Layout) -> Decision:
        """Return the layer's decision on the input of its feed-forward part; in training mode with noise."""
        of_text = self.unit == "seq"
        with torch.autocast(states.device.type, enabled=False):
            logits = self.logits(layer, layout.first(states) if of_text else states)
            chosen, entries = straight_through(logits, noisy=self.training)
            entropies = entropy(logits)
        if of_text:
            chosen, entries = layout.spread(chosen), layout.spread(entries)
        elif layout.lengths is None:
            entropies = (entropies * layout.mask).sum(dim=1) / layout.mask.sum(dim=1)
        if layout.lengths is None:
            chosen = chosen.masked_fill(~layout.mask, PADDING)
        return Decision(chosen, entries, entropies)


def straight_through(logits: Tensor, *, noisy: bool) -> tuple[Tensor, Tensor]:
    """Return the choice and its one-hot, whose gradient is that of the soft probabilities (eq. 3, tau = 1).

    Of logits [..., I] float32 the choice is [...] int64, the one-hot [..., I] exactly 0 or 1; ``noisy`` adds
    Gumbel noise from torch's global generator.
    """
    if noisy:
        waiting = torch.empty_like(logits).exponential_().clamp_min(torch.finfo(logits.dtype).tiny)
        logits = logits - waiting.log()
    soft = logits.softmax(dim=-1)
    choice = logits.argmax(dim=-1)
    hard = functional.one_hot(choice, logits.shape[-1]).to(soft.dtype)
    return choice, hard + (soft - soft.detach())


def entropy(logits: Tensor) -> Tensor:
    """Return - sum_i p_i log p_i [...] in nats of p = softmax(logits [..., I])."""
    log_probabilities = logits.log_softmax(dim=-1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=-1)
