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
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dretrieve.models.experts import PADDING

Unit = Literal["seq", "tok"]
INITIAL_DEVIATION = 0.02


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate of one layer decided.

    Attributes:
        experts: [B, T] int64, `PADDING` where padding stands.
        entries: [B, T, I], the one-hot with the gradient of the soft probabilities.
        entropy: [B] in nats, ≥ 0: of the text's one decision, or the mean over its real tokens.
    """

    experts: Tensor
    entries: Tensor
    entropy: Tensor


class Router(nn.Module):
    """The gates: one for all layers with experts, read at each layer's own input, or one for each.

    They compute in float32 whatever the encoder's number type is.

    Args:
        layers: numbers of the layers with experts.
        dim: width of the states.
        num_experts: I.
        unit: ``seq`` or ``tok``.
        shared: one gate for all layers.
    """

    def __init__(
        self, layers: Sequence[int], dim: int, num_experts: int, *, unit: Unit, shared: bool
    ) -> None:
        super().__init__()
        self.unit: Unit = unit
        self._place = {layer: 0 if shared else place for place, layer in enumerate(layers)}
        gates = [nn.Linear(dim, num_experts) for _ in range(1 if shared else len(layers))]
        for gate in gates:
            nn.init.normal_(gate.weight, std=INITIAL_DEVIATION)
        self.gates = nn.ModuleList(gates)

    def logits(self, layer: int, states: Tensor) -> Tensor:
        """Return A u + c [..., I] float32 of that layer's gate."""
        found: Tensor = self.gates[self._place[layer]](states.float())
        return found

    def forward(self, layer: int, states: Tensor, mask: Tensor) -> Decision:
        """Return the layer's decision; in training mode with noise.

        Args:
            layer: its number.
            states: [B, T, D], the input of its feed-forward part.
            mask: [B, T] bool, True = real token.
        """
        with torch.autocast(states.device.type, enabled=False):
            if self.unit == "seq":
                first = mask.to(torch.uint8).argmax(dim=1)
                logits = self.logits(layer, states[torch.arange(len(states), device=states.device), first])
                of_texts = entropy(logits)
                logits = logits.unsqueeze(1)
            else:
                logits = self.logits(layer, states)
                of_texts = (entropy(logits) * mask).sum(dim=1) / mask.sum(dim=1)
            chosen, entries = straight_through(logits, noisy=self.training)
        chosen = chosen.expand(mask.shape).masked_fill(~mask, PADDING)
        return Decision(chosen, entries.expand(*mask.shape, -1), of_texts)

    def packed(self, layer: int, states: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return each token's expert [N] for texts that stand one after the other, without noise.

        Args:
            layer: its number.
            states: [N, D].
            lengths: tokens per text.
        """
        if self.unit == "tok":
            return self.logits(layer, states).argmax(dim=-1)
        sizes = torch.tensor(lengths, device=states.device)
        starts = sizes.cumsum(0) - sizes
        return self.logits(layer, states[starts]).argmax(dim=-1).repeat_interleave(sizes)


def straight_through(logits: Tensor, *, noisy: bool) -> tuple[Tensor, Tensor]:
    """Return the choice and its one-hot, whose gradient is that of the soft probabilities (eq. 3, tau = 1).

    Args:
        logits: [..., I] float32.
        noisy: add Gumbel noise from torch's global generator.

    Returns:
        choice [...] int64; entries [..., I], exactly 0 or 1.
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
