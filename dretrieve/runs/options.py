"""How two runs become one, as a user says it; free of numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dretrieve.options import check, option


@dataclass(frozen=True, kw_only=True, slots=True)
class FuseOptions:
    """The rule of a fusion."""

    alpha: float = option(1.0, "score = dense + alpha x BM25.", least=0)
    method: Literal["linear", "rrf"] = option("linear", "linear, or rrf (reciprocal ranks).")
    missing: Literal["min", "zero"] = option(
        "min", "A passage that one list lacks gets its lowest score (min) or 0 (zero)."
    )
    depth: int = option(100, "Hits of each run looked at.", least=1)
    hits: int = option(100, "Hits written per query.", least=1, aliases=("--k",))
    weight_on: Literal["bm25", "dense"] = option(
        "bm25", "Whose score alpha multiplies; DPR's paper weighs the dense one."
    )
    rrf_k: float = option(60.0, "1 / (K + rank).", least=0, aliases=("--rrf.k",))

    def __post_init__(self) -> None:
        check(self)

    @property
    def weights(self) -> tuple[float, float]:
        """What the dense and the BM25 score are multiplied with."""
        alpha = float(self.alpha)
        return (1.0, alpha) if self.weight_on == "bm25" else (alpha, 1.0)
