"""Which tokens of a text matter: shares λ of a linear programme with an entropy, and the salience over them.

Source: Qian et al., Multi-Vector Retrieval as Sparse Alignment (ALIGNER), 2022, equations 3 to 8:
λ = argmax s·λ + ε H(λ) under Σ λ = k and 0 ≤ λ ≤ 1, with k = ⌈α m⌉ of a text of m tokens whose scores are s;
the salience is λ ReLU(s). The paper iterates equation 5 a few times, which stays far from Σ λ = k at its own
ε (`iterated`); the optimum itself is λ_i = min(1, exp((s_i + a) / ε)), with the one a for which the sum is k
(`exact`, our default).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST_TERM = 60.0  # e to that is a number still, and more than any text has tokens
FIRST_EPSILON, COOLING = 4.0, 0.7


def exact(scores: Tensor, k: Tensor, epsilon: float) -> Tensor:
    """Return λ, [B, T] in [0, 1], of which each row sums to k [B]; its gradient is the optimum's own.

    Padding, whose scores [B, T] are minus infinity, has 0; k is at least 1 where a row has a score. A row
    that has no more than k scores has 1 for each, and ``epsilon`` 0 the k largest, of equal ones the first.
    These carry no gradient, nor does what is at 1.
    """
    if epsilon == 0:
        order = scores.argsort(dim=1, descending=True, stable=True)
        first = torch.arange(scores.shape[1], device=scores.device) < k.unsqueeze(1)
        chosen = torch.zeros_like(scores).scatter(1, order, first.to(scores.dtype))
        return chosen.masked_fill(scores == -torch.inf, 0.0)
    found: Tensor = _Exact.apply(scores, k, epsilon)  # type: ignore[no-untyped-call]  # torch's own
    return found


class _Exact(torch.autograd.Function):
    """λ by one sort: the t largest have 1, t the least with k - t ≤ Σ_{i > t} e_i / e_{t+1}."""

    @staticmethod
    def forward(context: Any, scores: Tensor, k: Tensor, epsilon: float) -> Tensor:
        """Return λ; terms e_i = exp((s_i - s_k) / ε) in float64, s_k the k-th largest score."""
        real, size = scores != -torch.inf, scores.shape[1]
        whole = (real.sum(dim=1) <= k).unsqueeze(1)
        ordered, places = scores.sort(dim=1, descending=True)
        base = ordered.gather(1, (k - 1).clamp(min=0, max=size - 1).unsqueeze(1)).double()
        base = base.masked_fill(whole, 0.0)  # their λ is set below
        # λ of the k-th is at least 1 / m, so that a larger term than m, cut or not, belongs to a 1
        terms = ((ordered.double() - base) / epsilon).clamp(max=LARGEST_TERM).exp()
        behind = terms.flip(1).cumsum(1).flip(1)
        left = k.double().unsqueeze(1) - torch.arange(size, dtype=torch.float64, device=scores.device)
        settled = (left * terms <= behind) & (terms <= size)
        t = settled.to(torch.uint8).argmax(dim=1, keepdim=True)
        share = left.gather(1, t) / behind.gather(1, t)
        shares = torch.empty_like(terms).scatter_(1, places, (share * terms).clamp(max=1.0))
        found = torch.where(whole, real.double(), shares)
        context.save_for_backward(found)
        context.epsilon = epsilon
        return found.to(scores.dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the scores: ∂λ_i/∂s_j = λ_i (δ_ij - λ_j / Σ λ) / ε, over those below 1."""
        (found,) = context.saved_tensors
        moving = found * (found < 1)
        given = gradients[0].double()
        mean = (moving * given).sum(dim=1, keepdim=True) / moving.sum(dim=1, keepdim=True).clamp(min=1e-300)
        return (moving * (given - mean) / context.epsilon).to(gradients[0].dtype), None, None


def iterated(scores: Tensor, k: Tensor, epsilon: float, iterations: int, *, cooled: bool = False) -> Tensor:
    """Return `exact`'s λ as ALIGNER's equation 5 approaches it, with the iterations' own gradient; ε > 0.

    ``cooled`` begins with a larger ε and lowers it step by step, as coordinate descent with ε-scaling does
    (Lei et al., CoDA, 2023).
    """
    wanted, offset = k.clamp(min=1).to(scores.dtype).log().unsqueeze(1), torch.zeros_like(scores)
    now = FIRST_EPSILON if cooled else epsilon
    for step in range(iterations):
        now = max(now * COOLING, epsilon) if cooled and step else now
        a = now * (wanted - ((scores + offset) / now).logsumexp(dim=1, keepdim=True))
        offset = (-scores - a).clamp(max=0.0)
    return ((scores + a + offset) / now).exp().masked_fill(scores == -torch.inf, 0.0)


class Salience(nn.Module):
    """A salience for each token of one side's texts, read from the backbone's last states.

    A linear layer gives the score of a state, which is first brought to mean 0 and variance 1 (the paper does
    not say what it reads). Its weights begin at 0, its bias at 1 (the paper names neither), so that at first
    all tokens of a text count alike: drawn weights would let chance choose, and what is not chosen has no
    gradient.

    The rule is ``entropy`` (λ ReLU(s)), ``hard`` (with ε 0: the k largest) or ``relu`` (ReLU(s) alone); α is
    ``share``, above 0 and at most 1; the solver is ``exact``, or of those that iterate ``eq5`` or ``scaled``.
    """

    def __init__(
        self, width: int, *, rule: str, share: float, epsilon: float, solver: str, iterations: int
    ) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.ones_(self.score.bias)
        self.rule, self.share = rule, share
        self.epsilon = 0.0 if rule == "hard" else epsilon
        self.solver, self.iterations = solver, iterations

    def forward(self, states: Tensor) -> Tensor:
        """Return the scores, [..., 1] float32, of states [..., width]."""
        with torch.autocast(states.device.type, enabled=False):  # ε is less than a step of bf16 beside 1
            found: Tensor = self.score(functional.layer_norm(states.float(), states.shape[-1:]))
        return found

    def weights(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Return the salience, [B, T] ≥ 0, of scores [B, T]; 0 where ``mask`` is False."""
        opened = scores.relu().masked_fill(~mask, 0.0)
        if self.rule == "relu":
            return opened
        scores, kept = self._asked(scores, mask)
        if self.rule == "hard" or self.solver == "exact":
            return opened * exact(scores, kept, self.epsilon)
        cooled = self.solver == "scaled"
        return opened * iterated(scores, kept, self.epsilon, self.iterations, cooled=cooled)

    def solver_sums(self, scores: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return solver to Σ λ / k, [B] float64, of which 1 is what the programme asks for; see `iterated`.

        The paper's ``eq5`` after 20 and after 100 steps, and ``scaled`` after 50, beside ``exact``; of the
        rule ``entropy``, and of texts with a token at least.
        """
        scores, k = self._asked(scores.double(), mask)
        cooled = iterated(scores, k, self.epsilon, 50, cooled=True)
        found = {"exact": exact(scores, k, self.epsilon), "scaled50": cooled}
        found |= {f"eq5_{steps}": iterated(scores, k, self.epsilon, steps) for steps in (20, 100)}
        return {name: shares.sum(dim=1) / k for name, shares in found.items()}

    def _asked(self, scores: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores with minus infinity where padding stands, and k."""
        return scores.masked_fill(~mask, -torch.inf), kept_of(mask.sum(dim=1), self.share)


def kept_of(lengths: Tensor, share: float) -> Tensor:
    """Return ⌈α m⌉ for each of the lengths m."""
    # a share such as .1 is a hair more than a tenth, and 10 tokens would become 2
    return torch.ceil(lengths.double() * share - 1e-9).long()
