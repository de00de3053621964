"""The loss that all bi-encoders here share: cross-entropy over every passage of the batch, and a teacher's.

L = - log( exp(s(q, p⁺) / τ) / Σ_p exp(s(q, p) / τ) ), averaged over queries (DPR eq. 2, TASER eq. 2, DDR
eq. 8). The sum runs over all passages of all processes except the query's other positives: DPR counts those
as negatives, which punishes the model for being right.

With a teacher's scores t(q, p), the loss is (1 - w) L + w D, where D is one of sentence-transformers' two:
kl: D = τₛ² · KL( softmax(t / τₜ) ‖ softmax(s / τₛ) ) over the query's own passages, averaged over queries
(DistillKLDivLoss); margin-mse: the mean of ((s(q, p⁺) - s(q, p⁻)) - (t(q, p⁺) - t(q, p⁻)))² over the
queries' own negatives (MarginMSELoss). Both take the scores s as they are, before τ.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dretrieve.models.base import Distillation, Loss, Targets


def in_batch_loss(scores: Tensor, targets: Targets, *, temperature: float) -> Loss:
    """Return the loss of scores [Q, P], higher is better; ``temperature``, above 0, divides them.

    ``parts["accuracy"]`` is the share of queries whose positive has the highest score; with a teacher
    ``parts["distillation"]`` is D.
    """
    logits = (scores.float() / temperature).masked_fill(~targets.allowed, -torch.inf)
    total = functional.cross_entropy(logits, targets.positives)
    hit = (logits.detach().argmax(dim=1) == targets.positives).float().mean()
    if targets.teacher_scores is None or targets.distillation is None:
        return Loss(total, {"accuracy": hit})
    weight = targets.distillation.weight
    taught = distillation_loss(
        scores.float(), targets.teacher_scores, targets.positives, targets.distillation
    )
    return Loss((1 - weight) * total + weight * taught, {"accuracy": hit, "distillation": taught.detach()})


def distillation_loss(scores: Tensor, teacher: Tensor, positives: Tensor, how: Distillation) -> Tensor:
    """Return D of scores [Q, P] float32 and a teacher's [Q, P], NaN where it gave none.

    It gave one to every query's positive, whose column ``positives`` [Q] has.
    """
    known = ~teacher.isnan()
    if how.loss == "kl":
        student = (scores / how.student_temperature).masked_fill(~known, -torch.inf)
        wanted = (teacher / how.temperature).masked_fill(~known, -torch.inf)
        ratio = functional.log_softmax(wanted, dim=1) - functional.log_softmax(student, dim=1)
        divergence = functional.softmax(wanted, dim=1) * ratio.masked_fill(~known, 0.0)
        return divergence.sum(dim=1).mean() * how.student_temperature**2
    own = positives.unsqueeze(1)
    pairs = known.scatter(1, own, value=False)
    margins = scores.gather(1, own) - scores
    errors = (margins - (teacher.gather(1, own) - teacher)).masked_fill(~pairs, 0.0)
    return errors.square().sum() / pairs.sum().clamp(min=1)
