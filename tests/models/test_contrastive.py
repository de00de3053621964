from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from dretrieve.models.base import Targets
from dretrieve.models.contrastive import in_batch_loss


def targets(positives, allowed=None, teacher=None, width=None):
    positives = torch.tensor(positives)
    if allowed is None:
        allowed = torch.ones(len(positives), width, dtype=torch.bool)
    return Targets(positives, torch.as_tensor(allowed), teacher)


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


def test_a_sure_teacher_is_the_plain_loss():
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.5, 3.0, 1.5]])
    teacher = torch.full((2, 3), -1000.0)
    teacher[0, 0] = teacher[1, 2] = 1000.0
    plain = in_batch_loss(scores, targets([0, 2], width=3), temperature=0.7)
    taught = in_batch_loss(scores, targets([0, 2], width=3, teacher=teacher), temperature=0.7)
    assert float(taught.total) == pytest.approx(float(plain.total), rel=1e-5)


def test_a_teacher_with_left_out_passages_stays_finite():
    allowed = torch.tensor([[True, False, True]])
    scores = torch.zeros(1, 3, requires_grad=True)
    found = in_batch_loss(scores, targets([0], allowed, teacher=torch.zeros(1, 3)), temperature=1.0)
    found.total.backward()
    assert found.total.item() == pytest.approx(math.log(2))
    assert torch.isfinite(scores.grad).all()
