"""Salience: the programme solved exactly, its gradient, what iterations reach, and the gate over it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.models.salience import Salience, exact, iterated, kept_of


def bisected(scores, k, epsilon):
    """Return min(1, exp((s + a) / ε)) with the a of Σ λ = k, found by halving, in float64."""
    scores = scores.double()
    low, high = -scores.max() - 900 * epsilon, -scores[scores.isfinite()].min() + 900 * epsilon
    for _ in range(200):
        a = (low + high) / 2
        found = ((scores + a) / epsilon).clamp(max=0).exp()
        low, high = (a, high) if found.sum() < k else (low, a)
    return found


@given(
    seed=st.integers(0, 2**31),
    m=st.integers(1, 512),
    share=st.floats(0.001, 1),
    kind=st.sampled_from(["normal", "large", "ties", "zeros", "equal"]),
    padding=st.integers(0, 5),
    epsilon=st.sampled_from([0.002, 0.05, 1.0]),
)
def test_the_sum_is_k_and_the_shares_are_the_optimum(seed, m, share, kind, padding, epsilon):
    scores = torch.randn(1, m, generator=torch.Generator().manual_seed(seed))
    scores = {
        "normal": scores,
        "large": 100 * scores,
        "ties": scores.round(),
        "zeros": scores.relu(),
        "equal": torch.full_like(scores, 0.3),
    }[kind]
    k = kept_of(torch.tensor([m]), share)
    padded = torch.nn.functional.pad(scores, [0, padding], value=-torch.inf)
    found = exact(padded, k, epsilon)
    assert found.dtype == torch.float32
    assert (found[:, m:] == 0).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert abs(float(found.double().sum()) - int(k)) <= 1e-5 * int(k)
    if k < m:
        torch.testing.assert_close(
            found[0, :m].double(), bisected(scores[0], int(k), epsilon), atol=2e-5, rtol=0
        )
    order = scores[0].argsort(descending=True, stable=True)
    hard = torch.zeros(m).index_fill(0, order[: int(k)], 1.0)
    assert torch.equal(exact(padded, k, 0.0)[0, :m], hard)


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_the_difference(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, 12, generator=generator, dtype=torch.float64) * 0.3
    scores[1, 9:] = -torch.inf
    k = torch.tensor([4, 5, 12])
    weights = torch.randn(3, 12, generator=generator, dtype=torch.float64)
    given = scores.clone().requires_grad_()
    (exact(given, k, 0.3) * weights).sum().backward()
    step = 1e-6
    for row in range(3):
        for column in range(12 if row != 1 else 9):
            move = torch.zeros_like(scores)
            move[row, column] = step
            up, down = (exact(scores + sign * move, k, 0.3) for sign in (1, -1))
            difference = float(((up - down) * weights).sum() / (2 * step))
            assert abs(float(given.grad[row, column]) - difference) < 1e-6
    assert (given.grad[2] == 0).all(), "a text that is kept whole"
    assert (given.grad[1, 9:] == 0).all()


def test_an_empty_text_has_no_share():
    scores, k = torch.tensor([[0.5, -torch.inf], [-torch.inf, -torch.inf]]), torch.tensor([1, 0])
    assert exact(scores, k, 0.1).tolist() == [[1, 0], [0, 0]]
    assert exact(scores, k, 0.0).tolist() == [[1, 0], [0, 0]]


def test_iterations_stay_away_from_the_sum_and_reach_it_in_the_end():
    """With the paper's ε: m 180, k 72, scores of order .1 to 1."""
    scores = torch.randn(8, 180, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3
    k = torch.full((8,), 72)
    reached = {
        (cooled, steps): iterated(scores, k, 0.002, steps, cooled=cooled).sum(dim=1)
        for cooled, steps in ((False, 20), (False, 100), (False, 4000), (True, 50))
    }
    assert ((reached[False, 20] > 0.9) & (reached[False, 20] < 24)).all()
    assert ((reached[False, 100] > 7) & (reached[False, 100] < 60)).all()
    assert ((reached[True, 50] > 50) & (reached[True, 50] < 64)).all()
    torch.testing.assert_close(reached[False, 4000], k.double(), atol=2, rtol=0)
    torch.testing.assert_close(iterated(scores, k, 0.5, 4000), exact(scores, k, 0.5), atol=1e-3, rtol=0)
    gate = Salience(1, rule="entropy", share=0.4, epsilon=0.002, solver="exact", iterations=0)
    mask = (torch.arange(189) < 180).expand(8, -1)
    sums = gate.solver_sums(torch.cat([scores, scores[:, :9]], dim=1), mask)
    for name, key in {"eq5_20": (False, 20), "eq5_100": (False, 100), "scaled50": (True, 50)}.items():
        torch.testing.assert_close(sums.pop(name), reached[key] / 72)
    torch.testing.assert_close(sums, {"exact": torch.ones(8, dtype=torch.float64)})


def test_an_iteration_is_equation_5():
    scores, k, epsilon = torch.tensor([[0.2, 0.1, 0.4]], dtype=torch.float64), torch.tensor([2]), 0.3
    b = [0.0, 0.0, 0.0]
    for _ in range(3):
        s = scores[0].tolist()
        a = epsilon * torch.tensor(2.0, dtype=torch.float64).log() - epsilon * torch.tensor(
            [(x + y) / epsilon for x, y in zip(s, b, strict=True)], dtype=torch.float64
        ).logsumexp(0)
        b = [min(-x - float(a), 0) for x in s]
    expected = [[float(((x + a + y) / epsilon).exp()) for x, y in zip(s, b, strict=True)]]
    torch.testing.assert_close(iterated(scores, k, epsilon, 3), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("solver", ["exact", "eq5", "scaled"])
@pytest.mark.parametrize("rule", ["entropy", "relu", "hard"])
def test_the_gate_sees_no_padding_and_learns(rule, solver):
    torch.manual_seed(2)
    gate = Salience(6, rule=rule, share=0.4, epsilon=0.05, solver=solver, iterations=9)
    states = torch.randn(2, 9, 6)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    equal = gate.weights(gate(states).squeeze(-1), mask)
    if rule == "relu":
        assert torch.equal(equal, mask.float()), "at first nothing is preferred"
    if (rule, solver) == ("entropy", "exact"):
        torch.testing.assert_close(equal, mask * torch.tensor([[4 / 9], [2 / 5]]))
    torch.nn.init.normal_(gate.score.weight)
    whole = gate.weights(gate(states).squeeze(-1), mask)
    alone = gate.weights(gate(states[1:, :5]).squeeze(-1), mask[1:, :5])
    torch.testing.assert_close(whole[1:, :5], alone)
    assert (whole[~mask] == 0).all()
    assert (whole >= 0).all()
    scores = gate(states).squeeze(-1)
    if rule == "hard":
        best = scores.masked_fill(~mask, -torch.inf).topk(4, dim=1).values.relu().sum(dim=1)
        torch.testing.assert_close(whole.sum(dim=1)[0], best[0])
    if rule == "relu":
        torch.testing.assert_close(whole, scores.relu() * mask)
    whole.sum().backward()
    gradient = gate.score.weight.grad
    assert gradient.isfinite().all()
    assert gradient.any()


def test_the_share_of_tokens_is_rounded_up():
    assert kept_of(torch.tensor([0, 1, 10, 11, 180]), 0.1).tolist() == [0, 1, 1, 2, 18]
    assert kept_of(torch.tensor([180, 5]), 0.4).tolist() == [72, 2]


@pytest.mark.parametrize("rule", ["entropy", "relu", "hard"])
def test_scores_are_float32_also_where_training_computes_in_bf16(rule):
    """Around 1, where the bias begins, a step of bf16 is four times ε."""
    torch.manual_seed(4)
    gate = Salience(16, rule=rule, share=0.4, epsilon=0.002, solver="exact", iterations=0)
    torch.nn.init.normal_(gate.score.weight, std=0.002)
    states, mask = torch.randn(2, 9, 16), torch.ones(2, 9, dtype=torch.bool)
    expected = gate(states)
    with torch.autocast("cpu", torch.bfloat16):
        found = gate(states)
        weights = gate.weights(found.squeeze(-1), mask)
    assert torch.equal(found, expected)
    assert torch.equal(weights, gate.weights(expected.squeeze(-1), mask))
