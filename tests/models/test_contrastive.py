from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from dretrieve.models.base import Distillation, Targets
from dretrieve.models.contrastive import in_batch_loss


def targets(positives, allowed=None, width=None):
    positives = torch.tensor(positives)
    if allowed is None:
        allowed = torch.ones(len(positives), width, dtype=torch.bool)
    return Targets(positives, torch.as_tensor(allowed))


def test_equals_the_equation_written_out():
    scores = [[2.0, 1.0, 0.0], [0.5, 3.0, 1.5]]
    found = in_batch_loss(torch.tensor(scores), targets([0, 2], width=3), temperature=0.5)
    by_hand = [
        -math.log(math.exp(row[place] / 0.5) / sum(math.exp(score / 0.5) for score in row))
        for row, place in zip(scores, (0, 2), strict=True)
    ]
    assert float(found.total) == pytest.approx(sum(by_hand) / 2, rel=1e-6)
    assert float(found.parts["accuracy"]) == 0.5


@given(some.floats(-50, 50), some.integers(0, 2**31))
def test_what_is_left_out_changes_nothing_and_gets_no_gradient(value, seed):
    scores = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    allowed = torch.ones(3, 5, dtype=torch.bool)
    allowed[1, 4] = False
    changed = scores.detach().clone()
    changed[1, 4] = value
    one = in_batch_loss(scores, targets([0, 1, 2], allowed), temperature=1.0)
    other = in_batch_loss(changed, targets([0, 1, 2], allowed), temperature=1.0)
    assert one.total.item() == pytest.approx(other.total.item(), rel=1e-6)
    one.total.backward()
    assert float(scores.grad[1, 4]) == 0.0
    assert torch.isfinite(scores.grad).all()


def taught(teacher, positives, **how):
    teacher = torch.as_tensor(teacher, dtype=torch.float32)
    allowed = torch.ones(teacher.shape, dtype=torch.bool)
    return Targets(torch.tensor(positives), allowed, teacher, Distillation(**{"weight": 1.0, **how}))


@given(some.integers(0, 2**31), some.sampled_from([(1.0, 1.0), (0.7, 0.7), (3.0, 0.05)]), some.integers(1, 4))
def test_both_losses_and_their_gradients_are_those_of_sentence_transformers(seed, temperatures, negatives):
    """Each query has passages of its own; the matrix holds them all, in another order of columns."""
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MarginMSELoss

    random = torch.Generator().manual_seed(seed)
    queries = torch.randn(3, 6, generator=random)
    passages = torch.randn(3, 1 + negatives, 6, generator=random)
    labels = torch.randn(3, 1 + negatives, generator=random) * 2
    order = torch.randperm(3 * (1 + negatives), generator=random)
    place = torch.argsort(order).view(3, 1 + negatives)
    teacher = torch.full((3, len(order)), torch.nan).scatter(1, place, labels)
    theirs = {
        "kl": DistillKLDivLoss(
            None, student_temperature=temperatures[1], teacher_temperature=temperatures[0]
        ),
        "margin-mse": MarginMSELoss(None),
    }
    for name, loss in theirs.items():
        leaves = [queries.clone().requires_grad_() for _ in range(2)]
        columns = [passages[:, column] for column in range(1 + negatives)]
        expected = loss.compute_loss_from_embeddings([leaves[0], *columns], labels)
        scores = leaves[1] @ passages.reshape(-1, 6)[order].T
        how = {"loss": name, "temperature": temperatures[0], "student_temperature": temperatures[1]}
        found = in_batch_loss(scores, taught(teacher, place[:, 0].tolist(), **how), temperature=0.3)
        torch.testing.assert_close(found.total, expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(found.parts["distillation"], found.total.detach())
        for value in (expected, found.total):
            value.backward()
        torch.testing.assert_close(leaves[1].grad, leaves[0].grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["kl", "margin-mse"])
def test_the_weight_shares_the_loss_between_labels_and_teacher(loss):
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.5, 3.0, 1.5]])
    teacher = [[3.0, 1.0, math.nan], [math.nan, 4.0, 1.0]]
    labels = float(in_batch_loss(scores, targets([0, 1], width=3), temperature=0.5).total)
    alone = float(in_batch_loss(scores, taught(teacher, [0, 1], loss=loss), temperature=0.5).total)
    both = in_batch_loss(scores, taught(teacher, [0, 1], loss=loss, weight=0.25), temperature=0.5)
    assert float(both.total) == pytest.approx(0.75 * labels + 0.25 * alone, rel=1e-6)
    by_hand = ((2 - 1) - (3 - 1)) ** 2 / 2 + ((3 - 1.5) - (4 - 1)) ** 2 / 2
    assert loss == "kl" or alone == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("loss", ["kl", "margin-mse"])
def test_a_query_without_scored_negatives_teaches_nothing(loss):
    scores = torch.randn(2, 3, requires_grad=True)
    teacher = [[1.0, math.nan, math.nan], [math.nan, 2.0, math.nan]]
    found = in_batch_loss(scores, taught(teacher, [0, 1], loss=loss), temperature=1.0)
    found.total.backward()
    assert torch.equal(found.total.detach(), torch.zeros(()))
    assert torch.isfinite(scores.grad).all()
