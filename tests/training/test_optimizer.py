from __future__ import annotations

import itertools

import pytest

from dretrieve.training.optimizer import rate_factor, warmup_steps


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_warm_up_rises_to_one_and_the_rest_never_rises(schedule):
    factors = [rate_factor(step, total=100, warmup=10, schedule=schedule) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert all(a >= b for a, b in itertools.pairwise(factors[9:]))
    assert 0 <= min(factors)
    assert max(factors) == 1.0


def test_shapes():
    assert rate_factor(50, total=100, warmup=0, schedule="linear") == 0.5
    assert rate_factor(50, total=100, warmup=0, schedule="cosine") == pytest.approx(0.5)
    assert rate_factor(99, total=100, warmup=0, schedule="constant") == 1.0
    assert rate_factor(5, total=5, warmup=5, schedule="linear") == 1.0


def test_warm_up_by_steps_or_by_ratio():
    assert warmup_steps(7, 0.5, 100) == 7
    assert warmup_steps(0, 0.05, 90) == 5
    assert warmup_steps(0, 0.0, 90) == 0
