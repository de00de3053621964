"""Options of `dretrieve.models.aligner`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dretrieve.models.bi_encoder_config import AUTO, EncoderConfig
from dretrieve.options import option, refuse_given

if TYPE_CHECKING:
    from dretrieve.types import Side  # numpy stands behind it, and help needs none

NONE = "none"  # no salience
LENGTHS = {"query": 64, "passage": 256}
ALIGNMENTS = "top1, top4 …, p1.5 (percent of a passage's tokens), da,k=1,eps=0.05 (soft)"
OF_SALIENCE = ("alpha_query", "alpha_passage", "epsilon", "solver", "iterations")


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignerChoices:
    """What ``encode --set`` may change; ``search --set alignment=…`` changes it over what stands."""

    alignment: str = option("top1", f"Which tokens are compared: {ALIGNMENTS}.", sides=())
    max_tokens: int = option(LENGTHS["passage"], "Longest passage in tokens.", least=4, sides=("passage",))


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignerConfig(EncoderConfig):
    """A vector for each token, compared by an alignment of tokens, and perhaps a salience for each."""

    temperature: float = option(0.05, "Divides the scores in the loss.", above=0)
    query_max_len: int = option(
        0, f"Query length in tokens; 0 as an aligner backbone, else {LENGTHS['query']}."
    )
    passage_max_len: int = option(
        0, f"Passage length in tokens; 0 as an aligner backbone, else {LENGTHS['passage']}."
    )
    dim: int = option(0, "Numbers a token; 0 as an aligner or colbert backbone, else 128.", least=0)
    lowercase: str = option(AUTO, "Texts are lower-cased; auto as the backbone.", legal=(AUTO, "yes", "no"))
    alignment: str = option(
        AUTO, f"Which tokens training compares: {ALIGNMENTS}; auto as an aligner backbone, else top1."
    )
    salience: str = option(
        AUTO,
        "A weight for each token, of its score s: entropy, λ relu(s) with shares λ that sum to alpha of the "
        "text's tokens; hard, the largest alone; relu, relu(s); none; auto as an aligner backbone or none.",
        legal=(AUTO, NONE, "entropy", "relu", "hard"),
    )
    alpha_query: float = option(0.0, "Share of a query's tokens that the λ sum to; 0: .5.", least=0, most=1)
    alpha_passage: float = option(0.0, "The same of a passage's; 0: .4.", least=0, most=1)
    epsilon: float = option(0.0, "Weight of the entropy; 0: .002.", least=0)
    solver: str = option(
        AUTO,
        "How λ is found: exact; eq5, the paper's iterations; scaled, those from a larger epsilon on; auto: "
        "exact.",
        legal=(AUTO, "exact", "eq5", "scaled"),
    )
    iterations: int = option(0, "Of eq5 and scaled; 0: 20.", least=0, most=10_000)

    choices: ClassVar[type] = AlignerChoices

    def __post_init__(self) -> None:
        EncoderConfig.__post_init__(self)
        if self.alignment != AUTO:
            check_alignment(self.alignment)
        if self.salience == NONE:
            refuse_given(
                self, OF_SALIENCE, "says how a salience is found, and --salience is none; leave one out"
            )
        if self.salience in ("relu", "hard"):
            names = OF_SALIENCE if self.salience == "relu" else OF_SALIENCE[2:]
            refuse_given(self, names, f"means nothing to --salience {self.salience}; leave it out")
        if self.solver in (AUTO, "exact"):
            refuse_given(self, ("iterations",), "counts the steps of eq5 and scaled; give --solver eq5")

    def check_choices(self, chosen: Mapping[str, Any]) -> None:
        """Refuse an alignment of another grammar."""
        check_alignment(chosen["alignment"])

    def structure(self, side: Side) -> dict[str, Any]:
        """Return what of a side's tokens has a vector of how many numbers, and how its salience is found."""
        rule = None if self.salience == NONE else self.salience
        found: dict[str, Any] = {
            "token_dim": self.dim,
            "salience": rule,
            "lowercase": self.lowercase == "yes",
        }
        if rule:
            found["salience_reads"] = "last states, brought to mean 0 and variance 1"
        if rule in ("entropy", "hard"):
            found["alpha"] = getattr(self, f"alpha_{side}")
        if rule == "entropy":
            steps = f", {self.iterations} iterations" if self.iterations else ""
            found |= {"epsilon": self.epsilon, "solver": f"{self.solver}{steps}"}
        return found


def check_alignment(word: str) -> None:
    """Refuse a word that names no alignment."""
    from dretrieve.scoring.alignment import parse_alignment  # numba stands behind it, and help needs none

    parse_alignment(word)
