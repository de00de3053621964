"""The options of methods on an encoder, and of those with one vector a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dretrieve.errors import UsageError
from dretrieve.options import NoChoices, check, option

if TYPE_CHECKING:
    from dretrieve.types import Side  # numpy stands behind it, and help needs none

AUTO = "auto"
POOLINGS = ("cls", "mean", "last", "max", "weightedmean", "mean_sqrt_len")  # those of `models.pooling`


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """What decides how texts are read, and the loss's temperature.

    ``auto``, 0 and "" take what the backbone says of itself (its card, or its sentence-transformers files).
    A saved model's config holds the values taken. ``choices`` is the dataclass of what `--set` may say.
    """

    choices: ClassVar[type] = NoChoices

    temperature: float = option(0.0, "Divides the scores in the loss; 0: .05 if normalised, else 1.", least=0)
    query_max_len: int = option(0, "Longest query in tokens; 0 as the backbone.")
    passage_max_len: int = option(0, "Longest passage in tokens; 0 as the backbone.")
    query_template: str = option("", "Form of a query, for example 'query: {text}'.")
    passage_template: str = option("", "Form of a passage, for example '{title} {text}'.")
    pair: str = option(AUTO, "Title and text as a tokenizer pair (DPR).", legal=(AUTO, "yes", "no"))

    def __post_init__(self) -> None:
        check(self)
        for name in ("query_max_len", "passage_max_len"):
            value = getattr(self, name)
            if value != 0 and value < 4:
                raise UsageError(
                    f"--{name.replace('_', '-')} {value} leaves no room for text; give 4 or more"
                )
        for name in ("query_template", "passage_template"):
            value = getattr(self, name)
            if value and "{text}" not in value.replace("{{text}}", ""):
                raise UsageError(
                    f"--{name.replace('_', '-')} {value!r} has no {{text}}, where the text stands; write it "
                    "as in 'query: {text}'"
                )

    def structure(self, side: Side) -> dict[str, Any]:
        """Return what of the options decides which parts a side has, and how they act."""
        return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class BiEncoderConfig(EncoderConfig):
    """What decides the vectors of a bi-encoder; a backbone that says nothing gets [CLS], not normalised."""

    pooling: str = option(AUTO, "How token states become one vector.", legal=(AUTO, *POOLINGS))
    normalize: str = option(AUTO, "Whether vectors get length 1.", legal=(AUTO, "yes", "no"))
