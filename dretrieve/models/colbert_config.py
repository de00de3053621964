"""Options of `dretrieve.models.colbert`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dretrieve.models.bi_encoder_config import AUTO, EncoderConfig
from dretrieve.options import option

if TYPE_CHECKING:
    from dretrieve.types import Side  # numpy stands behind it, and help needs none

NONE = "none"  # no marker
QUERY_LENGTH = 32
MARKERS = {"query": "[unused0]", "passage": "[unused1]"}
BARE = {"query_augmentation": "no", "query_marker": NONE, "passage_marker": NONE}  # a text's own tokens alone


@dataclass(frozen=True, kw_only=True, slots=True)
class ColbertConfig(EncoderConfig):
    """A vector for each token, compared by MaxSim."""

    temperature: float = option(1.0, "Divides the scores in the loss.", above=0)
    query_max_len: int = option(0, f"Query length in tokens; 0 as a colbert backbone, else {QUERY_LENGTH}.")
    dim: int = option(0, "Numbers a token; 0 as a colbert backbone, else 128.", least=0)
    normalize: str = option("yes", "Whether each token's vector gets length 1.", legal=("yes", "no"))
    query_augmentation: str = option(
        AUTO,
        "Queries are filled up to their length with [MASK], whose vectors count: yes, and no token reads "
        "them; attended, and all tokens do; no; auto as a colbert backbone, else yes.",
        legal=(AUTO, "yes", "attended", "no"),
    )
    query_marker: str = option(
        AUTO,
        f"Token of the vocabulary before each query; auto as a colbert backbone, else {MARKERS['query']} "
        "where the vocabulary has it; none.",
    )
    passage_marker: str = option(
        AUTO, f"Token before each passage, as --query-marker; else {MARKERS['passage']}."
    )
    skip_punctuation: str = option(
        AUTO,
        "Punctuation of passages gets no vector; auto as a colbert backbone, else yes.",
        legal=(AUTO, "yes", "no"),
    )

    def structure(self, side: Side) -> dict[str, Any]:
        """Return what of a side's texts has a vector, and the marker that its template begins with."""
        marker = getattr(self, f"{side}_marker")
        rule = "query_augmentation" if side == "query" else "skip_punctuation"
        return {
            "token_dim": self.dim,
            "marker": None if marker == NONE else marker,
            rule: getattr(self, rule),
        }
