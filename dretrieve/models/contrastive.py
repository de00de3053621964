"""The loss that all bi-encoders here share: cross-entropy over every passage of the batch.

L = - log( exp(s(q, p⁺) / τ) / Σ_p exp(s(q, p) / τ) ), averaged over queries (DPR eq. 2, TASER eq. 2, DDR
eq. 8). The sum runs over all passages of all processes except the query's other positives: DPR counts those
as negatives, which punishes the model for being right.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dretrieve.models.base import Loss, Targets


def in_batch_loss(scores: Tensor, targets: Targets, *, temperature: float) -> Loss:
    """Return the loss of a score matrix.

    Args:
        scores: [Q, P], higher is better.
        targets: positives and what is left out; with teacher scores the loss is the cross-entropy with the
            teacher's softmax (at the same temperature) instead of with the one positive.
        temperature: divides the scores; above 0.

    Returns:
        ``parts["accuracy"]`` is the share of queries whose positive has the highest score.
    """
    logits = (scores.float() / temperature).masked_fill(~targets.allowed, -torch.inf)
    if targets.teacher_scores is None:
        total = functional.cross_entropy(logits, targets.positives)
    else:
        wanted = (targets.teacher_scores / temperature).masked_fill(~targets.allowed, -torch.inf)
        log_probabilities = functional.log_softmax(logits, dim=1).masked_fill(~targets.allowed, 0.0)
        total = -(functional.softmax(wanted, dim=1) * log_probabilities).sum(dim=1).mean()
    hit = (logits.detach().argmax(dim=1) == targets.positives).float().mean()
    return Loss(total, {"accuracy": hit})
