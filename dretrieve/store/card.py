"""The model card: everything that decides a vector's meaning, saved with the weights, free of torch.

``card.json`` stands in the model's folder. Each side has a fingerprint over exactly what that side's
vectors depend on, so a change of the query side leaves the passages' index usable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path, PurePath
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dretrieve.errors import DataError, PreconditionError, UsageError, VerificationError
from dretrieve.store.atomic import write_json
from dretrieve.store.fingerprint import canonical_json, sha256_bytes, sha256_file
from dretrieve.types import SIDES, Side, VectorSpec

CARD = "card.json"
CURVES = "curves.json"  # of the training, beside it
FORMAT = 1
Choice = str | int | float | bool
# Every card of format 1 has these; what a later release added may be missing and is then at its default.
OF_SIDES = ("folder", "files", "template", "pair", "max_tokens", "pooling", "normalize", "padding_side")


@dataclass(frozen=True, slots=True, kw_only=True)
class SideCard:
    """How the texts of one side become vectors.

    Attributes:
        folder: of the side's encoder and tokenizer, relative to the card.
        files: name (relative to ``folder``) to SHA-256 of every file the side's vectors depend on:
            weights, backbone configuration, tokenizer.
        parts: the same for what the method has beside its encoder, relative to the card.
        template: how a record becomes a string: ``{title}`` and ``{text}``, prompts included; an empty
            title takes the white space beside it along. With ``pair``, title and text are a tokenizer pair.
        pair: title and text are encoded as a pair with the tokenizer's separator (DPR, TASER).
        max_tokens: longest input, special tokens included; longer ones are cut and counted.
        pooling: ``cls``, ``mean``, ``last`` …, or ``tokens`` for one vector a token.
        normalize: whether vectors have Euclidean length 1.
        padding_side: of older cards; padding always stands right, where it moves no position.
        settings: whatever else this side depends on (expert number, prefix modules, skip list …);
            ``lowercase`` and ``truncation_side`` of the tokenizer, ``tokenizer`` where no file of its own, or
            of its backbone, says what its tokens are, ``head`` the folders of modules behind the pooling,
            ``base`` the checksum of the base that adapters change.
    """

    folder: str = "."
    files: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    template: str = "{title} {text}"
    pair: bool = False
    max_tokens: int = 256
    pooling: Literal["cls", "mean", "last", "max", "weightedmean", "mean_sqrt_len", "tokens"] = "cls"
    normalize: bool = False
    padding_side: Literal["right", "left"] = "right"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def with_hashes(self, model_folder: Path, names: tuple[str, ...]) -> SideCard:
        """Return the card with the checksums of those files of the side's folder."""
        place = model_folder / self.folder
        return replace(self, files={name: sha256_file(place / name) for name in sorted(names)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A model: its method and configuration, its two sides, its vectors, its defaults of inference.

    Attributes:
        method_config: the method's options, as its config dataclass gives them.
        vectors: dim, one or many, score.
        inference: choice to default value; a choice belongs to the sides named in ``inference_sides``.
        inference_sides: choice to the sides whose vectors it changes.
        source: where the weights come from (backbone, base model, licence); no vector depends on it.
        training: what made it (data, seed, steps, commit …); no vector depends on it.
    """

    method: str
    vectors: VectorSpec
    query: SideCard
    passage: SideCard
    method_config: Mapping[str, Any] = field(default_factory=dict)
    inference: Mapping[str, Choice] = field(default_factory=dict)
    inference_sides: Mapping[str, tuple[Side, ...]] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def with_hashes(self, folder: Path, names: tuple[str, ...]) -> ModelCard:
        """Return the card with the checksums of those files in both sides."""
        return replace(
            self,
            query=self.query.with_hashes(folder, names),
            passage=self.passage.with_hashes(folder, names),
        )

    def side(self, side: Side) -> SideCard:
        """Return the card of one side."""
        return self.query if side == "query" else self.passage

    def read_as(self, side: Side, choices: Mapping[str, Choice]) -> SideCard:
        """Return the card of one side with what the inference choices change of how texts are read."""
        known = self.side(side)
        longest = self.chosen(choices, side).get("max_tokens", known.max_tokens)
        return replace(known, max_tokens=int(longest))

    def chosen(self, overrides: Mapping[str, Choice], side: Side | None = None) -> dict[str, Choice]:
        """Return the inference choices, or a side's, with ``overrides`` (``--set``) over the defaults.

        Raises:
            UsageError: a name that the method does not have.
        """
        unknown = sorted(set(overrides) - set(self.inference))
        if unknown:
            legal = ", ".join(sorted(self.inference)) or "none"
            raise UsageError(
                f"--set {unknown[0]}: the method '{self.method}' has no such choice; it has {legal}"
            )
        return {
            name: value
            for name, value in {**self.inference, **overrides}.items()
            if side in (None, *self.inference_sides.get(name, SIDES))
        }

    def fingerprint(self, side: Side, overrides: Mapping[str, Choice] | None = None) -> str:
        """Return the hash of exactly what that side's vectors depend on.

        The folder's name is not in it: a copied model is the same model.
        """
        described = {name: value for name, value in asdict(self.side(side)).items() if name != "folder"}
        if not described["parts"]:  # which the cards of earlier releases do not name
            del described["parts"]
        content = {
            "method": self.method,
            "side": described,
            "vectors": asdict(self.vectors),
            "inference": self.chosen(overrides or {}, side),
        }
        return sha256_bytes(canonical_json(content))

    def save(self, folder: Path) -> None:
        """Write ``card.json``, last of the model's files: its presence says that the model is whole."""
        write_json(folder / CARD, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> ModelCard:
        """Return the card in ``folder``.

        Raises:
            PreconditionError: there is none.
            DataError: it is not a card, or of a later format.
        """
        path = folder / CARD
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise PreconditionError(
                f"{folder} holds no {CARD}: it is not a finished model of dretrieve"
            ) from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        if not isinstance(value, dict) or value.pop("format", None) != FORMAT:
            raise DataError(f"{path} is not a model card of format {FORMAT}; convert the model again")
        try:
            card: ModelCard = from_json(cls, value)
            for name, number in (
                ("vectors.dim", card.vectors.dim),
                ("query.max_tokens", card.query.max_tokens),
                ("passage.max_tokens", card.passage.max_tokens),
            ):
                if number < 1:
                    raise ValueError(f"has {name} = {number}, expected a whole number above 0")
            for place in (*_places(card.query), *_places(card.passage)):
                if PurePath(place).is_absolute() or ".." in PurePath(place).parts:
                    raise ValueError(f"names the place {place!r}, expected one in the model's own folder")
        except ValueError as error:
            raise DataError(
                f"{path} {error}; it was changed by hand or made by a later release: save or convert the "
                "model again"
            ) from None
        return card

    def verify(
        self, folder: Path, sha256: Callable[[Path], str] = sha256_file, *, encoder: bool = True
    ) -> None:
        """Re-hash the files of both sides, or, without ``encoder``, only the method's parts beside it.

        Raises:
            VerificationError: a file is missing or differs from what the card records; it records none.
        """
        seen: dict[Path, str] = {}
        for name, side in (("query", self.query), ("passage", self.passage)):
            if not side.files:
                raise VerificationError(
                    f"{folder / CARD} lists no files of its {name} side, so nothing says whether its weights "
                    "are whole; save or convert the model again"
                )
            listed = side.files if encoder else {}
            files = {folder / side.folder / name: expected for name, expected in listed.items()}
            for file, expected in (files | {folder / of: sha for of, sha in side.parts.items()}).items():
                if file not in seen:
                    seen[file] = sha256(file) if file.is_file() else ""
                if seen[file] != expected:
                    raise VerificationError(
                        f"{file} is not the file that {CARD} describes; save or convert the model again"
                    )


def _places(side: SideCard) -> list[str]:
    return [side.folder, *side.files, *side.parts]


def from_json(kind: Any, value: object, name: str = "") -> Any:
    """Return a value of JSON as the type says: dataclasses with all their keys, tuples, tables, plain values.

    Raises:
        ValueError: "has the unknown entry …", "lacks …", "has … expected …".
    """
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(value, dict) and is_dataclass(kind):
        return _dataclass_from_json(kind, value, name)
    if kind is Any or (origin is Literal and isinstance(value, str) and value in inner):
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(from_json(inner[0], item, name) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {key: from_json(inner[1], item, f"{name}.{key}") for key, item in value.items()}
    plain = {str: str, bool: bool, int: int, float: int | float}.get(
        kind, kind if origin is UnionType else None
    )
    whole = isinstance(value, bool) and kind in (int, float)  # True is a number for Python, not here
    if plain is not None and isinstance(value, plain) and not whole:
        return value
    words: dict[Any, str] = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
    listed = " or ".join(map(repr, inner)) if origin is Literal else "a list" if origin is tuple else ""
    expected = words.get(kind) or listed or (str(kind) if origin is UnionType else "names with values")
    raise ValueError(f"has {name} = {json.dumps(value, ensure_ascii=False)[:100]}, expected {expected}")


def _dataclass_from_json(kind: Any, value: Mapping[str, Any], name: str) -> Any:
    hints, place = get_type_hints(kind), f" in '{name}'" if name else ""
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise ValueError(f"has the unknown entry '{unknown[0]}'{place}, expected {', '.join(hints)}")
    needed = [item.name for item in fields(kind) if item.default is item.default_factory]  # both are missing
    for entry in (*needed, *(OF_SIDES if kind is SideCard else ())):
        if entry not in value:
            raise ValueError(f"lacks '{entry}'{place}")
    dot = f"{name}." if name else ""
    return kind(**{key: from_json(hints[key], item, dot + key) for key, item in value.items()})
