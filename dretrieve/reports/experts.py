"""What the experts of a block do, in numbers: their shares of texts, agreement of pairs, their likeness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dretrieve.types import UNITS, Side

ONE_HAS_ALL = 0.95  # of the weight of a side's texts: one expert does the work of all


@dataclass(slots=True)
class Given:
    """The texts of one side of a collection, and the experts that they were given to.

    Attributes:
        texts: [N] int64, how many have their largest weight for an expert (of equal ones the first).
        weight: [N], the sum over the texts of w / Σ w.
    """

    collection: str
    side: Side
    texts: NDArray[np.int64]
    weight: NDArray[np.float64]

    def add(self, weights: NDArray[np.float32]) -> None:
        """Count texts by their weights [B, N], each row with one above 0."""
        self.texts += np.bincount(weights.argmax(axis=1), minlength=len(self.texts))
        self.weight += (weights / weights.sum(axis=1, keepdims=True, dtype=np.float64)).sum(axis=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How often a query and a passage that is relevant to it have one expert.

    Attributes:
        pairs: how many were looked at.
        judged: of how many.
        agree: the share of pairs with one expert.
        chance: what it would be if the queries' and the passages' experts were drawn independently, each as
            often as they are in these pairs (as in Cohen's kappa).
    """

    pairs: int = 0
    judged: int = 0
    agree: float = 0.0
    chance: float = 0.0
    unpaired: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A query (row 0) and its best passages, best first, in two dimensions.

    Attributes:
        ids: [P + 1] of the texts.
        experts: [P + 1] the expert of each text; None where all have the same weights.
        relevant: rows of passages that are relevant to the query.
        among: of which passages they are the best, in words.
        points: ``pca`` (and ``tsne``) to ``before`` and ``after`` the block to [P + 1, 2].
        variance: ``before`` and ``after`` to the components' shares of the variance.
    """

    collection: str
    ids: Sequence[str]
    text: str
    experts: NDArray[np.int64] | None
    relevant: NDArray[np.int64]
    among: str
    points: Mapping[str, Mapping[str, NDArray[np.float64]]]
    variance: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All of a block.

    Attributes:
        activated: how many experts are kept for a text; 0 all.
        given: of each side of each collection; empty where the gate looks at no text.
        agreements: by collection; empty there too, and without queries.
        likeness: name of a block (one, or one a side) to [N, N], the mean cosine of two experts' outputs.
        texts: over how many texts, by the same names.
    """

    num_experts: int
    gate: str
    activated: int
    given: Sequence[Given] = ()
    agreements: Mapping[str, Agreement] = field(default_factory=dict)
    likeness: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    texts: Mapping[str, int] = field(default_factory=dict)
    picture: Picture | None = None


def agreement(one: NDArray[np.int64], other: NDArray[np.int64], count: int) -> tuple[float, float]:
    """Return how often two choices [pairs] among ``count`` are the same, and how often by chance.

    By chance: Σ_i p_i q_i, with p and q the shares of the choices in each; pairs is at least 1.
    """
    shares = [np.bincount(of, minlength=count) / len(of) for of in (one, other)]
    return float((one == other).mean()), float(shares[0] @ shares[1])


def mean_off_diagonal(matrix: NDArray[np.float64]) -> float:
    """Return the mean over the pairs of different rows of a symmetric matrix [N, N], N at least 2."""
    count = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (count * (count - 1)))


def warnings_of(given: Sequence[Given]) -> list[str]:
    """Return a line for each side of a collection of which one expert has more than `ONE_HAS_ALL`."""
    found = []
    for of in given:
        share = float(of.weight.max() / of.weight.sum())
        if share > ONE_HAS_ALL:
            found.append(
                f"expert {int(of.weight.argmax())} has {100 * share:.1f} % of the {UNITS[of.side]} of "
                f"{of.collection}: the block works as one; train with --balance-weight, or with a gate that "
                "learns (--gate scaled, straight, soft)"
            )
    return found
