"""Options of `dretrieve.models.reatt`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dretrieve.errors import UsageError
from dretrieve.models.bi_encoder_config import EncoderConfig
from dretrieve.options import option, refuse_given

if TYPE_CHECKING:
    from dretrieve.types import Side  # numpy stands behind it, and help needs none

QUERY_LENGTH, LENGTH = 128, 512
OF_CROSS = ("temperature", "head_temperature", "in_batch")
TEMPLATES = {"query": "question: {text}", "passage": "title: {title} context: {text}"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReattChoices:
    """What may be chosen after training."""

    head: int = option(-1, "Head of the retrieval layer whose queries and keys are the vectors.", least=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReattConfig(EncoderConfig):
    """A T5 that retrieves with a head of its own attention and reads what it finds; answers teach both."""

    choices: ClassVar[type] = ReattChoices

    temperature: float = option(1.0, "Divides the relevance in the loss.", above=0)
    query_max_len: int = option(
        0, f"Question length in tokens; 0 as a reatt backbone, else {QUERY_LENGTH}.", least=0
    )
    max_len: int = option(
        0, f"Length of a question with a passage; 0 as a reatt backbone, else {LENGTH}.", least=0
    )
    passage_max_len: int = option(
        0, "Length of a passage alone; 0 as --max-len, without that as a reatt backbone.", least=0
    )
    query_template: str = option("", f"Form of a question; empty: '{TEMPLATES['query']}'.")
    passage_template: str = option("", f"Form of a passage; empty: '{TEMPLATES['passage']}'.")
    bi_layers: int = option(
        -1,
        "B: layers in which question and passage do not see each other; the next one retrieves. 0: fusion in "
        "the decoder; -1 as a reatt backbone, else half of the layers.",
        least=-1,
    )
    alpha: float = option(8.0, "Weight of the cross-document loss; 0: a warm-up on answers.", least=0)
    qa_weight: float = option(1.0, "Weight of the answers' loss.", least=0)
    head_temperature: float = option(
        0.001,
        "Divides the heads' weights. What chooses a head is rate / temperature, .05 in the paper (5e-5 / "
        ".001); in small runs with rate 1e-3, .001 mostly chose one head, .005 and .02 none.",
        above=0,
    )
    in_batch: bool = option(True, "Other questions' passages are compared too.")
    answer: str = option(
        "sample",
        "Which of several answers is learned: another at each step, the first, ten joined by commas.",
        legal=("sample", "first", "join"),
    )
    answer_max_len: int = option(50, "Answer length in tokens.", least=2)

    def __post_init__(self) -> None:
        EncoderConfig.__post_init__(self)
        if self.pair == "yes":
            raise UsageError("--pair yes: a T5 reads title and text as one; say by --passage-template how")
        if not (self.alpha or self.qa_weight):
            raise UsageError("--alpha 0 --qa-weight 0 leaves nothing to learn; give one of them")
        if not self.alpha:
            refuse_given(self, OF_CROSS, "is of the cross-document loss, and --alpha is 0; leave it out")
        if not self.qa_weight:  # the target looks at an answer's first position, which no answer changes
            refuse_given(self, ("answer",), "is of the answers' loss, and --qa-weight is 0; leave it out")

    def structure(self, side: Side) -> dict[str, Any]:
        """Return where the texts' encoding ends."""
        return {"bi_layers": self.bi_layers}
