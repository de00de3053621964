"""A step in pieces: the gradient of a loss over all vectors while only one piece's graph is in memory.

Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (2021): with vectors
v = f(x), dL/dθ = Σ_pieces (dL/dv_piece) · dv_piece/dθ. Pass 1 computes v without a graph; the loss over the
detached v gives dL/dv; pass 2 computes each piece again, with the same dropout seed, and pulls its part of
dL/dv through. Cost: one more forward.

Both ways run through here. Without ``recompute`` pass 1 keeps its graphs and pass 2 is skipped: the same
products in the same order, which is why a test can ask for equality.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a piece gives: ``cached`` tensors that the loss reads, and its own additive loss ``term``."""

    cached: tuple[Tensor, ...]
    term: Tensor | None = None


Piece = Callable[[], Outcome]


def backward(
    pieces: Sequence[Piece],
    loss: Callable[[list[tuple[Tensor, ...]]], Tensor],
    *,
    seed_piece: Callable[[int], None],
    recompute: bool,
    share_loss: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Add the gradient of ``loss + Σ terms`` to the parameters; return both values, detached scalars.

    Args:
        pieces: forwards over parts of the batch, each called once (twice with ``recompute``).
        loss: of the detached cached tensors of all pieces, in order.
        seed_piece: sets the dropout seed of that piece before every forward of it.
        recompute: drop the graphs of pass 1 and run each piece again.
        share_loss: called when the loss's own parameters (a temperature, head weights) have their gradient
            and the encoder's have none yet; several processes divide it there, because each computes it.
    """
    outcomes = []
    for index, piece in enumerate(pieces):
        seed_piece(index)
        with torch.set_grad_enabled(not recompute):
            outcomes.append(piece())
    leaves = [
        tuple(tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in outcome.cached)
        for outcome in outcomes
    ]
    value = loss(leaves)
    if value.requires_grad:
        value.backward()
    share_loss()
    terms = torch.zeros((), device=value.device)
    for index, piece in enumerate(pieces):
        outcome = outcomes[index]
        outcomes[index] = Outcome(())
        if recompute:
            seed_piece(index)
            outcome = piece()
        if outcome.term is not None:
            terms = terms + outcome.term.detach()
        _pull(outcome, leaves[index])
    return value.detach(), terms


def _pull(outcome: Outcome, leaves: tuple[Tensor, ...]) -> None:
    """Backward through one piece from the cached gradients and its own term together."""
    tensors = [tensor for tensor, leaf in zip(outcome.cached, leaves, strict=True) if leaf.grad is not None]
    gradients: list[Tensor | None] = [leaf.grad for leaf in leaves if leaf.grad is not None]
    if outcome.term is not None and outcome.term.requires_grad:
        tensors.append(outcome.term)
        gradients.append(None)
    pairs = [(tensor, grad) for tensor, grad in zip(tensors, gradients, strict=True) if tensor.requires_grad]
    if pairs:
        torch.autograd.backward([tensor for tensor, _ in pairs], [grad for _, grad in pairs])
