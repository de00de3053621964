"""One side's tokenizer: records in, token ids out, truncation counted. The fast backend, no transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, normalizers, pre_tokenizers

from dretrieve.errors import DataError, PreconditionError
from dretrieve.store.card import SideCard
from dretrieve.tokens.template import Rendered, Template
from dretrieve.types import Record, offsets_of

FAST_FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
# What transformers can make a fast tokenizer from; without any of them it makes an empty one.
OTHER_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spm.model",
    "tokenizer.model",
)
# What transformers reads beside those, and beside a fast tokenizer whose configuration wins.
SAYING_FILES = (CONFIG_FILE, "special_tokens_map.json", "added_tokens.json")
# Entries of tokenizer_config.json that change a fast tokenizer's tokens.
OVERRIDING = (
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "add_prefix_space",
    "add_bos_token",
    "add_eos_token",
)
# Classes that take tokenizer.json as it is; others make a BERT's normalizer anew, these entries unless told.
AS_IT_IS = ("PreTrainedTokenizerFast", "TokenizersBackend")
UNTOLD = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # in a text always a lone one


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Token ids of several texts, special tokens included, cut to the side's length.

    Attributes:
        ids: [total] int32, one text after the other.
        offsets: [texts + 1] int64.
        cut: the rows of the texts that were cut.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    cut: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def truncated(self) -> int:
        """How many texts were cut."""
        return len(self.cut)

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
        marker = card.settings.get("marker")  # a token of the vocabulary that texts begin with
        if marker is not None:
            backend.add_special_tokens([marker])
        if card.settings.get("lowercase"):
            own = [backend.normalizer] if backend.normalizer is not None else []
            backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        backend.no_padding()
        side = str(card.settings.get("truncation_side", "right"))
        backend.enable_truncation(max_length=card.max_tokens, direction=side)

    @classmethod
    def open(cls, folder: Path, card: SideCard) -> SideTokenizer:
        """Return the tokenizer of a model folder.

        Raises:
            PreconditionError: there is none that has a fast form.
            DataError: the side's length leaves no room for text.
        """
        file = folder / FAST_FILE
        if file.exists() and not overrides(folder):
            backend = _read(file)
            pad_id = _pad_id(folder, backend)
        else:
            backend, pad_id = _converted(folder), _pad_id(folder, None)
        special = backend.num_special_tokens_to_add(is_pair=card.pair)
        if card.max_tokens <= special:
            raise DataError(
                f"the model in {folder} reads {card.max_tokens} tokens at most (max_seq_length), and its "
                f"tokenizer adds {special} to each text, so no text is left; write a greater length there"
            )
        return cls(backend, card, pad_id)

    def fit(self, rows: int) -> None:
        """Compare with the model: every token needs a row of its embeddings.

        The padding token alone may lack one, for padding is masked; then token 0 stands in its place.

        Raises:
            DataError: a token beyond them.
        """
        added = self._backend.get_added_tokens_decoder()
        beyond = sorted(number for number in added if number >= rows and number != self.pad_id)
        own = int(self._backend.get_vocab_size(with_added_tokens=False))
        if own > rows or beyond:
            number = beyond[0] if own <= rows else own - 1
            raise DataError(
                f"the tokenizer knows token {number} ({self._backend.id_to_token(number)!r}), but the model "
                f"has embeddings for {rows:,} tokens, 0 to {rows - 1}; the two are not of one model: copy "
                "the tokenizer that the model was trained with"
            )
        self.pad_id = self.pad_id if self.pad_id < rows else 0

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return int(self._backend.get_vocab_size())

    @property
    def special(self) -> set[int]:
        """Numbers of the tokens that no text holds: [CLS], [MASK], a side's marker."""
        known = self._backend.get_added_tokens_decoder()
        return {number for number, token in known.items() if token.special}

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the tokens' strings; ``?`` and the number for one that the vocabulary lacks."""
        return [self._backend.id_to_token(token) or f"?{token}" for token in ids]

    def text(self, ids: Sequence[int]) -> str:
        """Return what the tokens say, without special ones."""
        return str(self._backend.decode(list(ids), skip_special_tokens=True)).strip()

    def tokenize(self, records: Sequence[Record]) -> Tokenized:
        """Return the ids of the records' texts, in order; a text without any token gets the padding token.

        Raises:
            DataError: a text that is no legal Unicode (a lone surrogate).
        """
        encodings = self._encode([self._template.render(record) for record in records], records)
        lengths = np.fromiter((len(encoding) for encoding in encodings), dtype=np.int64, count=len(records))
        lengths = np.maximum(lengths, 1)
        offsets = offsets_of(lengths)
        ids = np.empty(int(offsets[-1]), dtype=np.int32)
        cut = set[int]()
        for row, encoding in enumerate(encodings):
            ids[offsets[row] : offsets[row + 1]] = encoding.ids or self.pad_id
            if lengths[row] >= self.card.max_tokens and encoding.overflowing:
                cut.add(row)
        return Tokenized(ids, offsets, frozenset(cut))

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
        if self.card.settings.get("lowercase"):
            text = normalizers.Lowercase().normalize_str(text)
        return Shown(text, list(encoding.tokens), list(encoding.ids), dropped)

    def places(self, record: Record) -> tuple[str, list[tuple[int, int]]]:
        """Return the text that is encoded for that record, and where in it each token begins and ends.

        Special tokens stand nowhere (0, 0). A pair is not one text, and is not asked for here.
        """
        rendered = self._template.render(record)
        assert isinstance(rendered, str), "a pair"
        return rendered, [*self._encode([rendered], [record], spelled=True)[0].offsets]

    def _encode(
        self, rendered: list[Rendered], records: Sequence[Record], *, spelled: bool = False
    ) -> list[Encoding]:
        """Return the encodings; only ``spelled`` ones know their tokens' strings."""
        try:
            encode = self._backend.encode_batch if spelled else self._backend.encode_batch_fast
            return list(encode(rendered))
        except (UnicodeEncodeError, TypeError):
            bad = [record.id for record in records if _SURROGATE.search(record.title + record.text)]
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


def _read(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises Exception itself
        raise PreconditionError(f"{file} cannot be read as a tokenizer: {error}") from error


def overrides(folder: Path) -> bool:
    """Return whether tokenizer_config.json asks for other tokens than tokenizer.json gives by itself.

    Then transformers is asked for the tokenizer: it lets the configuration win.

    Raises:
        PreconditionError: one of them cannot be read.
    """
    file = folder / CONFIG_FILE
    try:
        config = json.loads(file.read_bytes()) if file.exists() else {}
        if config.get("split_special_tokens") or _adds(folder, config):
            return True
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise PreconditionError(f"{file} cannot be read: {error}") from error
    asked = {name: config[name] for name in OVERRIDING if config.get(name) is not None}
    anew = config.get("tokenizer_class") not in AS_IT_IS
    if not asked and not (anew and b'"BertNormalizer"' in (folder / FAST_FILE).read_bytes()):
        return False
    backend = _read(folder / FAST_FILE)
    normalizer, cut = backend.normalizer, backend.pre_tokenizer
    given: dict[str, object] = {}
    if isinstance(normalizer, normalizers.BertNormalizer):
        given = {
            "do_lower_case": normalizer.lowercase,
            "strip_accents": normalizer.strip_accents,
            "tokenize_chinese_chars": normalizer.handle_chinese_chars,
        }
        asked = (UNTOLD if anew else {}) | asked
    if isinstance(cut, pre_tokenizers.ByteLevel):
        given["add_prefix_space"] = cut.add_prefix_space
    elif isinstance(cut, pre_tokenizers.Metaspace):
        given["add_prefix_space"] = cut.prepend_scheme != "never"
    return any(name not in given or given[name] != value for name, value in asked.items())


def unsaid(folder: Path) -> dict[str, Any]:
    """Return the setting of a side whose tokens transformers decides though no file in the folder says so.

    Where a file says it, that file is among the card's.
    """
    files = [folder / name for name in SAYING_FILES]
    fast = (folder / FAST_FILE).exists()
    told = not fast or any(file.exists() for file in files) or not overrides(folder)
    return {} if told else {"tokenizer": "transformers"}


def _adds(folder: Path, config: dict[str, Any]) -> bool:
    """Return whether the files beside tokenizer.json add tokens to those that it adds."""
    named = [*config.get("added_tokens_decoder", {}).values()]
    if not named:  # older versions wrote files of their own
        files = [folder / name for name in SAYING_FILES[1:]]
        special, added = (json.loads(file.read_bytes()) if file.exists() else {} for file in files)
        config, named = special | config, [*added]
    for entry in ("additional_special_tokens", "extra_special_tokens"):
        more = config.get(entry) or ()
        named += more.values() if isinstance(more, dict) else more
    if not named:
        return False
    text = (folder / FAST_FILE).read_text(encoding="utf-8")  # megabytes of vocabulary stand behind the list
    place = text.find("[", text.find('"added_tokens"'))
    own = {of["content"] for of in json.JSONDecoder().raw_decode(text, place)[0]}
    return not {of["content"] if isinstance(of, dict) else of for of in named} <= own


def _converted(folder: Path) -> Tokenizer:
    """Return the fast form of a tokenizer that has other files (a vocabulary, a SentencePiece model)."""
    if not any((folder / name).exists() for name in (FAST_FILE, *OTHER_FILES)):
        raise PreconditionError(
            f"{folder} holds no tokenizer ({FAST_FILE}); copy the tokenizer's files there"
        )
    backend = getattr(_of_transformers(folder), "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise PreconditionError(
            f"the tokenizer in {folder} has no fast form; save it once with "
            "AutoTokenizer.from_pretrained(..., use_fast=True).save_pretrained(folder)"
        )
    return backend


def _of_transformers(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # whatever other files make transformers stumble on
        raise PreconditionError(f"{folder} holds no tokenizer that can be read: {error}") from error


def token_numbers(folder: Path) -> dict[str, int]:
    """Return the number of every token of a model folder's tokenizer.

    Raises:
        PreconditionError: there is none that has a fast form.
    """
    return _backend(folder).get_vocab(with_added_tokens=True)


def opens_texts(folder: Path) -> bool:
    """Return whether a model folder's tokenizer puts a token of its own before a text ([CLS]).

    Raises:
        PreconditionError: there is none that has a fast form.
    """
    return _backend(folder).encode("a").special_tokens_mask[:1] == [1]


def lowers(folder: Path) -> bool | None:
    """Return whether a BERT's tokenizer writes texts in lower case; None for one of another kind.

    Raises:
        PreconditionError: there is none that has a fast form.
    """
    found = _backend(folder).normalizer
    return found.lowercase if isinstance(found, normalizers.BertNormalizer) else None


def _backend(folder: Path) -> Tokenizer:
    file = folder / FAST_FILE
    return _read(file) if file.exists() and not overrides(folder) else _converted(folder)


def given_types(folder: Path) -> dict[int, int] | None:
    """Return the types that sentence-transformers hands to a model beside the tokens, as its tokenizer says.

    Returns:
        number of each special token whose type in a single text is not 0; None for a tokenizer that gives no
        types.
    """
    found = _of_transformers(folder)
    if "token_type_ids" not in found.model_input_names:
        return None
    tokens = found("a", return_token_type_ids=True)
    pairs = zip(tokens["input_ids"], tokens["token_type_ids"], strict=True)
    return {int(token): int(kind) for token, kind in pairs if kind}


def _pad_id(folder: Path, backend: Tokenizer | None) -> int:
    """Return the padding token's id (0 where there is none: padding is masked anyway)."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        if isinstance(config.get("pad_token_id"), int) and config["pad_token_id"] >= 0:  # -1: it has none
            return int(config["pad_token_id"])
    except (OSError, ValueError):
        pass
    padding = backend.padding if backend is not None else None
    return int(padding["pad_id"]) if padding else 0
