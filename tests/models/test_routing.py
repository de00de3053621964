"""The gate: exact one-hots, the gradient of the soft probabilities, Gumbel noise, entropy."""

from __future__ import annotations

import math

import pytest
import torch

from dretrieve.models.experts import PADDING
from dretrieve.models.hooks import Layout
from dretrieve.models.routing import Router, entropy, straight_through

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]], dtype=torch.bool)


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def router(unit, *, shared=True, experts=3):
    made = Router((2, 5), 6, experts, unit=unit, shared=shared)
    with torch.no_grad():
        for gate in made.gates:
            gate.weight.mul_(100)
    return made


@pytest.mark.parametrize("noisy", [True, False])
def test_straight_through_is_one_hot_forwards_and_soft_backwards(noisy):
    logits = torch.randn(50, 4, requires_grad=True)
    weights = torch.randn(50, 4)
    torch.manual_seed(5)
    choice, entries = straight_through(logits, noisy=noisy)
    assert torch.equal(entries.detach(), torch.nn.functional.one_hot(choice, 4).float())
    (entries * weights).sum().backward()
    found = logits.grad.clone()
    logits.grad = None
    torch.manual_seed(5)
    noise = -torch.empty(50, 4).exponential_().log() if noisy else 0.0
    soft = (logits + noise).softmax(-1)
    (soft * weights).sum().backward()
    torch.testing.assert_close(found, logits.grad)
    assert torch.equal(choice, soft.argmax(-1))


def test_noise_chooses_with_the_soft_probabilities():
    """Gumbel's theorem: the arg-max of logits with noise is a draw from their softmax."""
    logits = torch.tensor([0.0, 1.0, -1.0])
    draws, _ = straight_through(logits.expand(40_000, 3), noisy=True)
    shares = torch.bincount(draws, minlength=3) / len(draws)
    assert (shares - logits.softmax(-1)).abs().max() < 0.01
    still, _ = straight_through(logits.expand(10, 3), noisy=False)
    assert still.tolist() == [1] * 10


def test_entropy_is_that_of_the_probabilities():
    assert float(entropy(torch.zeros(4))) == pytest.approx(math.log(4))
    probabilities = torch.tensor([0.7, 0.2, 0.1])
    by_hand = -sum(float(p) * math.log(float(p)) for p in probabilities)
    assert float(entropy(probabilities.log())) == pytest.approx(by_hand)
    assert float(entropy(torch.tensor([200.0, 0.0]))) == 0.0


@pytest.mark.parametrize("side", ["right", "left"])
def test_seq_decides_once_for_a_text_by_its_first_token(side):
    mask = MASK if side == "right" else MASK.flip(1)
    made = router("seq").eval()
    states = torch.randn(3, 4, 6)
    decision = made(2, states, Layout(mask))
    first = [0, 0, 0] if side == "right" else [1, 0, 3]
    logits = made.gates[0](states[torch.arange(3), torch.tensor(first)])
    for row in range(3):
        assert set(decision.experts[row][mask[row]].tolist()) == {int(logits[row].argmax())}
        assert set(decision.experts[row][~mask[row]].tolist()) <= {PADDING}
    torch.testing.assert_close(decision.entropy, entropy(logits))
    assert decision.entries.shape == (3, 4, 3)


def test_tok_decides_for_each_token_and_averages_entropy_over_real_ones():
    made = router("tok").eval()
    states = torch.randn(3, 4, 6)
    decision = made(5, states, Layout(MASK))
    logits = made.gates[0](states)
    assert torch.equal(decision.experts, logits.argmax(-1).masked_fill(~MASK, PADDING))
    assert len(set(decision.experts[MASK].tolist())) > 1
    for row in range(3):
        mean = entropy(logits[row][MASK[row]]).mean()
        torch.testing.assert_close(decision.entropy[row], mean)


@pytest.mark.parametrize("unit", ["seq", "tok"])
def test_packed_and_padded_decide_alike(unit):
    made = router(unit).eval()
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]], dtype=torch.bool)  # longest first
    states = torch.randn(3, 4, 6)
    layout = Layout(mask, mask.sum(1).tolist(), torch.arange(3))
    found = made(2, states[mask], layout).experts
    assert torch.equal(layout.padded(found, PADDING), made(2, states, Layout(mask)).experts)


def test_noise_in_training_only():
    made = router("tok", experts=2)
    states, mask = torch.randn(40, 9, 6), torch.ones(40, 9, dtype=torch.bool)
    drawn = [made.train()(2, states, Layout(mask)).experts for _ in range(2)]
    assert not torch.equal(*drawn)
    still = [made.eval()(2, states, Layout(mask)).experts for _ in range(2)]
    assert torch.equal(*still)


def test_one_gate_for_all_layers_or_one_for_each():
    states = torch.randn(3, 4, 6)
    one, each = router("tok"), router("tok", shared=False)
    assert (len(one.gates), len(each.gates)) == (1, 2)
    assert torch.equal(one.logits(2, states), one.logits(5, states))
    assert not torch.equal(each.logits(2, states), each.logits(5, states))


def test_gates_start_small_as_in_the_released_code():
    made = Router((0,), 768, 64, unit="tok", shared=True)
    assert float(made.gates[0].weight.detach().std()) == pytest.approx(0.02, rel=0.02)


def test_the_gate_computes_in_float32():
    made = router("tok").eval()
    states = torch.randn(3, 4, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(2, states.bfloat16(), Layout(MASK))
    assert found.entropy.dtype == torch.float32
    torch.testing.assert_close(found.entropy, made(2, states.bfloat16().float(), Layout(MASK)).entropy)
