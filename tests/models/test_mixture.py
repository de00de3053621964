"""The block of experts: its formula by hand, its gates, and which of them learn."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dretrieve.models.mixture import Mixture, balance, largest
from dretrieve.models.sb_moe_config import GATES, NO_NETWORK

DIM, EXPERTS = 12, 4
IDS = tuple(f"d{number}" for number in range(9))


def block(gate="noisy", experts=EXPERTS, dim=DIM, **more):
    torch.manual_seed(1)
    return Mixture(
        dim, experts, **({"hidden": dim // 2, "gate": gate, "gate_layers": 2, "activation": "relu"} | more)
    )


def rows(count=9, dim=DIM):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(2))


def by_hand(of, x, kept):
    """Return y of every row, expert by expert, as the paper's formula says."""
    first, _, last = of.network
    probabilities = functional.softmax(last(torch.relu(first(x))), dim=1)
    found = []
    for row, p in zip(x, probabilities, strict=True):
        chosen = p.argsort(descending=True)[:kept].tolist()
        m = sum(p[i] * of.experts[i][2](torch.relu(of.experts[i][0](row))) for i in chosen)
        found.append(row + m / m.norm())
    return torch.stack(found)


@pytest.mark.parametrize("kept", [1, 2, EXPERTS])
def test_y_is_x_and_the_mixture_of_length_1(kept):
    of, x = block().eval(), rows()
    with torch.no_grad():
        torch.testing.assert_close(of(x, kept).vectors, by_hand(of, x, kept))
        torch.testing.assert_close(of(x, 0).vectors, by_hand(of, x, EXPERTS))


@pytest.mark.parametrize("gate", GATES)
def test_experts_that_give_zeros_leave_the_vector_bit_for_bit(gate):
    of, x = block(gate), rows()
    with torch.no_grad():
        for expert in of.experts:
            expert[2].weight.zero_()
            expert[2].bias.zero_()
        for mode in (True, False):
            assert torch.equal(of.train(mode)(x, 1, IDS).vectors, x)


@pytest.mark.parametrize(
    ("gate", "learns"), [("noisy", False), ("soft", True), ("scaled", True), ("straight", True)]
)
def test_the_gate_of_the_paper_gets_no_gradient_and_the_others_do(gate, learns):
    of, x = block(gate).train(), rows(64)
    torch.manual_seed(3)
    (of(x, 1, ()).vectors * rows(64)).sum().backward()

    def length(module):
        return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]).norm().item()

    share = length(of.network) / length(of.experts)
    assert share > 1e-3 if learns else share <= 1e-6


def test_the_noise_is_in_training_alone():
    of, x = block(), rows()
    torch.manual_seed(5)
    first, second = of.train()(x, 1).weights, of(x, 1).weights
    assert not torch.equal(first, second)
    assert torch.equal(of.eval()(x, 1).weights, of(x, 1).weights)
    assert ((first > 0).sum(dim=1) == 1).all(), "training keeps one"


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_random_draws_by_the_texts_id_whatever_the_batch(kept):
    of, x = block("random").eval(), rows()
    whole = of(x, kept, IDS).weights
    assert torch.equal(whole[4:6], of(x[4:6], kept, IDS[4:6]).weights)
    assert ((whole > 0).sum(dim=1) == (kept or EXPERTS)).all()
    assert len({tuple(row.tolist()) for row in whole}) == len(whole)


def test_uniform_is_the_plain_mean_and_has_no_gate():
    of, x = block("uniform").eval(), rows()
    assert not [name for name, _ in of.named_parameters() if not name.startswith("experts.")]
    mean = sum(outer(torch.relu(inner(x))) for inner, _, outer in of.experts) / EXPERTS
    torch.testing.assert_close(of(x, 0).vectors, x + functional.normalize(mean, dim=1))


def test_scaled_multiplies_what_was_kept():
    noisy, scaled, x = block().eval(), block("scaled").eval(), rows()
    scaled.load_state_dict(noisy.state_dict())
    with torch.no_grad():
        kept = largest(noisy(x, 1).probabilities, 1).sum(dim=1, keepdim=True)
        torch.testing.assert_close(scaled(x, 1).vectors - x, kept * (noisy(x, 1).vectors - x))
        torch.testing.assert_close(scaled(x, 0).vectors, noisy(x, 0).vectors)


def test_one_expert_is_the_same_kept_or_all():
    of, x = block(experts=1).eval(), rows()
    assert torch.equal(of(x, 1).vectors, of(x, 0).vectors)


@pytest.mark.parametrize("gate", GATES)
def test_a_vector_of_zeros_has_a_finite_gradient(gate):
    of, x = block(gate).train(), torch.zeros(3, DIM, requires_grad=True)
    of(x, 1, IDS[:3]).vectors.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in of.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("dim", "experts", "parameters"), [(312, 6, 638_520), (768, 6, 3_848_076), (768, 12, 7_400_856)]
)
def test_as_many_parameters_as_the_released_block(dim, experts, parameters):
    assert sum(p.numel() for p in block(experts=experts, dim=dim).parameters()) == parameters


def test_the_balance_is_1_for_even_use_and_n_for_one_expert():
    of = block(gate_layers=1).eval()
    with torch.no_grad():
        of.network[0].weight.zero_()
        of.network[0].bias.zero_()
    assert balance(of(rows(), 0)).mean().item() == pytest.approx(1.0)
    with torch.no_grad():
        of.network[0].bias[2] = 50.0
    assert balance(of(rows(), 0)).mean().item() == pytest.approx(EXPERTS, rel=1e-4)


def test_largest_keeps_the_first_of_equal_ones():
    found = largest(torch.tensor([[0.2, 0.3, 0.3, 0.2]]), 1)
    assert found.tolist() == [[0, pytest.approx(0.3), 0, 0]]
    assert set(NO_NETWORK) < set(GATES)
