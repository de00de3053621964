"""One side's tokenizer: records in, token ids out, truncation counted. The fast backend, no transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from dretrieve.errors import DataError, PreconditionError
from dretrieve.store.card import SideCard
from dretrieve.tokens.template import Rendered, Template
from dretrieve.types import Record

FAST_FILE = "tokenizer.json"
# What transformers can make a fast tokenizer from; without any of them it makes an empty one.
OTHER_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Token ids of several texts, special tokens included, cut to the side's length.

    Attributes:
        ids: [total] int32, one text after the other.
        offsets: [texts + 1] int64.
        truncated: how many texts were cut.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    truncated: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per text."""
        return np.diff(self.offsets)

    def row(self, row: int) -> NDArray[np.int32]:
        """Return the ids of one text."""
        return self.ids[self.offsets[row] : self.offsets[row + 1]]


@dataclass(frozen=True, slots=True)
class Shown:
    """One text as the encoder sees it.

    Attributes:
        text: after the template (``title ‖ text`` for a pair).
        pieces: the tokens.
        ids: their numbers.
        dropped: pieces of the text cut off by the side's length.
    """

    text: str
    pieces: list[str]
    ids: list[int]
    dropped: list[str]


class SideTokenizer:
    """A tokenizer with one side's template and length.

    Args:
        backend: a Hugging Face fast tokenizer; its own padding and truncation settings are replaced.
        card: the side.
        pad_id: what stands where no token is; never attended to.
    """

    def __init__(self, backend: Tokenizer, card: SideCard, pad_id: int = 0) -> None:
        self._backend, self.card, self.pad_id = backend, card, pad_id
        self._template = Template.of(card)
        backend.no_padding()
        backend.enable_truncation(max_length=card.max_tokens)

    @classmethod
    def open(cls, folder: Path, card: SideCard) -> SideTokenizer:
        """Return the tokenizer of a model folder.

        Raises:
            PreconditionError: there is none that has a fast form.
        """
        file = folder / FAST_FILE
        if not file.exists():
            return cls(_converted(folder), card, _pad_id(folder, None))
        try:
            backend = Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises Exception itself
            raise PreconditionError(f"{file} cannot be read as a tokenizer: {error}") from error
        return cls(backend, card, _pad_id(folder, backend))

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return int(self._backend.get_vocab_size())

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the tokens' strings; ``?`` and the number for one that the vocabulary lacks."""
        return [self._backend.id_to_token(token) or f"?{token}" for token in ids]

    def tokenize(self, records: Sequence[Record]) -> Tokenized:
        """Return the ids of the records' texts, in order; a text without any token gets the padding token.

        Raises:
            DataError: a text that is no legal Unicode (a lone surrogate).
        """
        encodings = self._encode([self._template.render(record) for record in records], records)
        lengths = np.fromiter((len(encoding) for encoding in encodings), dtype=np.int64, count=len(records))
        lengths = np.maximum(lengths, 1)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ids = np.empty(int(offsets[-1]), dtype=np.int32)
        truncated = 0
        for row, encoding in enumerate(encodings):
            ids[offsets[row] : offsets[row + 1]] = encoding.ids or self.pad_id
            if lengths[row] >= self.card.max_tokens and encoding.overflowing:
                truncated += 1
        return Tokenized(ids, offsets, truncated)

    def __call__(self, records: Sequence[Record]) -> Sequence[Sequence[int]]:
        """Return the ids as lists, for training's token table."""
        encodings = self._encode([self._template.render(record) for record in records], records)
        return [encoding.ids or [self.pad_id] for encoding in encodings]

    def show(self, record: Record) -> Shown:
        """Return what is encoded for that record."""
        rendered = self._template.render(record)
        encoding = self._encode([rendered], [record], spelled=True)[0]
        kept = set(_places(encoding))
        rest = {place: piece for more in encoding.overflowing for place, piece in _places(more).items()}
        dropped = [rest[place] for place in sorted(rest) if place not in kept]
        text = rendered if isinstance(rendered, str) else " ‖ ".join(rendered)
        return Shown(text, list(encoding.tokens), list(encoding.ids), dropped)

    def _encode(
        self, rendered: list[Rendered], records: Sequence[Record], *, spelled: bool = False
    ) -> list[Encoding]:
        """Return the encodings; only ``spelled`` ones know their tokens' strings."""
        try:
            encode = self._backend.encode_batch if spelled else self._backend.encode_batch_fast
            return list(encode(rendered))
        except (UnicodeEncodeError, TypeError):
            bad = [record.id for record in records if not _legal(record.title + record.text)]
            raise DataError(
                f"the text of {', '.join(bad[:3]) or 'a record'} is no legal Unicode (a lone surrogate); "
                "correct it in the collection"
            ) from None


def _places(encoding: Encoding) -> dict[tuple[int, tuple[int, int]], str]:
    """Return the pieces by where they stand in the text: part (0, or 1 of a pair) and characters."""
    return {
        (part, characters): piece
        for part, characters, piece in zip(
            encoding.sequence_ids, encoding.offsets, encoding.tokens, strict=True
        )
        if part is not None
    }


def _legal(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _converted(folder: Path) -> Tokenizer:
    """Return the fast form of a tokenizer that has other files (a vocabulary, a SentencePiece model)."""
    if not any((folder / name).exists() for name in OTHER_FILES):
        raise PreconditionError(
            f"{folder} holds no tokenizer ({FAST_FILE}); copy the tokenizer's files there"
        )
    from transformers import AutoTokenizer

    try:
        backend = getattr(AutoTokenizer.from_pretrained(str(folder)), "backend_tokenizer", None)
    except Exception as error:  # whatever other files make transformers stumble on
        raise PreconditionError(f"{folder} holds no tokenizer that can be read: {error}") from error
    if not isinstance(backend, Tokenizer):
        raise PreconditionError(
            f"the tokenizer in {folder} has no fast form; save it once with "
            "AutoTokenizer.from_pretrained(..., use_fast=True).save_pretrained(folder)"
        )
    return backend


def _pad_id(folder: Path, backend: Tokenizer | None) -> int:
    """Return the padding token's id (0 where there is none: padding is masked anyway)."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        if isinstance(config.get("pad_token_id"), int):
            return int(config["pad_token_id"])
    except (OSError, ValueError):
        pass
    padding = backend.padding if backend is not None else None
    return int(padding["pad_id"]) if padding else 0
