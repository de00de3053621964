"""A plain Hugging Face or sentence-transformers folder read as it is, without torch: what its card would be.

sentence-transformers says everything in its own files: modules, pooling, normalisation, length, prompts.
A bare Hugging Face folder says nothing about pooling; then the family's custom is taken, and said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, PreconditionError
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.fingerprint import sha256_file
from dretrieve.text.cache import remember
from dretrieve.tokens.tokenizer import FAST_FILE, OTHER_FILES
from dretrieve.types import VectorSpec

DECODERS = (
    "gpt2",
    "gpt_neox",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
)
LEGACY_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
# Longest input of a bare folder; a tokenizer's "no limit" is a number above the other.
USUAL_TOKENS, NO_LIMIT = 512, 10**9
KNOWN_POOLINGS = {"cls": "cls", "mean": "mean", "last": "last", "lasttoken": "last"}
# Beside weights and tokenizer, what decides a plain folder's vectors, or what a tokenizer reads besides.
SETTINGS_FILES = (
    "config*.json",
    "modules.json",
    "sentence_*_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "[0-9]*_*/config.json",
)
QUERY_PROMPTS = ("query", "search_query")
PASSAGE_PROMPTS = ("document", "passage", "corpus", "search_document")


@dataclass(frozen=True, slots=True)
class PlainModel:
    """What was read.

    Attributes:
        card: the card that the folder would have.
        note: one line for the user: the settings and where they come from.
    """

    card: ModelCard
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    pooling: str
    normalize: bool
    max_tokens: int
    query_prompt: str = ""
    passage_prompt: str = ""
    lowercase: bool = False
    place: str = "."
    source: str


def read_plain(folder: Path) -> PlainModel:
    """Return the card of a plain folder; its weights are used unchanged, on both sides.

    Raises:
        PreconditionError: no model here, or weights that are pickles.
        DataError: a module or pooling that has no counterpart here; broken JSON.
        VerificationError: other bytes than at the folder's first use here, at the same size and time.
    """
    if (folder / "modules.json").exists():
        settings = _sentence_transformer(folder)
    elif (folder / "config.json").exists():
        settings = _hugging_face(folder)
    else:
        raise PreconditionError(
            f"{folder} is no model: it has neither card.json nor config.json nor modules.json"
        )
    place = folder / settings.place
    config = _json(place / "config.json")
    shared = SideCard(
        folder=settings.place,
        max_tokens=settings.max_tokens,
        pooling=settings.pooling,  # type: ignore[arg-type]  # checked against KNOWN_POOLINGS
        normalize=settings.normalize,
        padding_side="left"
        if _json(place / "tokenizer_config.json").get("padding_side") == "left"
        else "right",
        settings={"lowercase": True} if settings.lowercase else {},
    ).with_hashes(folder, side_files(place))
    others = [file for pattern in SETTINGS_FILES for base in {folder, place} for file in base.glob(pattern)]
    remember(
        {file: sha256_file(file) for file in others}
        | {place / name: digest for name, digest in shared.files.items()}
    )
    card = ModelCard(
        method="shared",
        vectors=VectorSpec(dim=hidden_size(config, place), kind="one", score="dot"),
        query=_with_template(shared, settings.query_prompt + "{text}"),
        passage=_with_template(shared, settings.passage_prompt + "{title} {text}"),
        source={"form": settings.source, "model_type": config.get("model_type")},
    )
    return PlainModel(card, _note(settings))


def side_files(place: Path) -> tuple[str, ...]:
    """Return the names of the files that an encoder's vectors depend on.

    Raises:
        PreconditionError: there are no safetensors weights.
    """
    weights = sorted(file.name for file in place.glob("*.safetensors"))
    weights = [name for name in weights if name.startswith(("model", "adapter_model"))]
    if not weights:
        kind = "weights as pickles only" if any(place.glob("*.bin")) else "no weights (model.safetensors)"
        raise PreconditionError(
            f"{place} holds {kind}; load pickles that you trust with transformers and write them again with "
            "model.save_pretrained(DIR), which makes safetensors"
        )
    named = ["config.json", *weights]
    named += [
        name for name in ("model.safetensors.index.json", "adapter_config.json") if (place / name).exists()
    ]
    if (place / FAST_FILE).exists():
        return (*named, FAST_FILE)
    return (*named, *(name for name in OTHER_FILES if (place / name).exists()))


def hidden_size(config: dict[str, Any], place: Path) -> int:
    """Return the width of the encoder's states.

    Raises:
        DataError: the configuration does not say.
    """
    for name in ("hidden_size", "d_model", "dim", "n_embd"):
        if isinstance(config.get(name), int):
            return int(config[name])
    raise DataError(f"{place / 'config.json'} names no hidden_size; is it an encoder?")


def _with_template(card: SideCard, template: str) -> SideCard:
    return replace(card, template=template)


def _note(settings: _Settings) -> str:
    prompts = [
        f'{side} prompt "{prompt}"'
        for side, prompt in (("query", settings.query_prompt), ("passage", settings.passage_prompt))
        if prompt
    ]
    parts = [
        f"{settings.pooling} pooling",
        "unit length" if settings.normalize else "length kept",
        f"{settings.max_tokens} tokens",
        *(prompts or ["no prompts"]),
    ]
    return f"settings from {settings.source}: {', '.join(parts)}"


def _hugging_face(folder: Path) -> _Settings:
    config = _json(folder / "config.json")
    family = str(config.get("model_type", ""))
    architectures = " ".join(config.get("architectures") or [])
    name = f"{folder.resolve().name} {config.get('_name_or_path', '')}".lower()
    if family == "dpr":
        raise PreconditionError(
            f"{folder} holds one half of a DPR model (model_type dpr); save its inner BERT with "
            "model.question_encoder.bert_model.save_pretrained(DIR), or train both with `dretrieve train dpr`"
        )
    if family in DECODERS or "ForCausalLM" in architectures:
        pooling, why = "last", "the custom of decoders"
    elif "contriever" in name or family in ("t5", "mt5"):
        pooling, why = "mean", "the custom of this family"
    else:
        pooling, why = "cls", "the custom of BERT-like retrievers"
    return _Settings(
        pooling=pooling,
        normalize=False,
        max_tokens=_longest(folder, config),
        source=f"config.json (it names no pooling; {why} is taken)",
    )


def _sentence_transformer(folder: Path) -> _Settings:
    modules = [
        (str(entry["type"]).rpartition(".")[2], str(entry.get("path", ""))) for entry in _entries(folder)
    ]
    kinds = [kind for kind, _ in modules]
    unknown = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if unknown or kinds[:2] != ["Transformer", "Pooling"]:
        raise DataError(
            f"{folder / 'modules.json'} lists the modules {', '.join(kinds)}; a Transformer, Pooling and "
            "perhaps Normalize can be read here"
        )
    place, pooling = modules[0][1] or ".", _json(folder / modules[1][1] / "config.json")
    config = _json(folder / place / "config.json")
    bert, top = (
        _json(folder / place / "sentence_bert_config.json"),
        _json(folder / "config_sentence_transformers.json"),
    )
    prompts = {str(name): str(text) for name, text in (top.get("prompts") or {}).items() if text}
    default = prompts.get(str(top.get("default_prompt_name")), "")
    query = next((prompts[name] for name in QUERY_PROMPTS if name in prompts), default)
    passage = next((prompts[name] for name in PASSAGE_PROMPTS if name in prompts), default)
    if (query or passage) and pooling.get("include_prompt") is False:
        raise DataError(f"{folder} leaves its prompts out of the pooling, which is not done here")
    return _Settings(
        pooling=_pooling(folder, pooling),
        normalize="Normalize" in kinds or top.get("similarity_fn_name") == "cosine",
        max_tokens=int(bert.get("max_seq_length") or _longest(folder / place, config, usual=0)),
        query_prompt=query,
        passage_prompt=passage,
        lowercase=bool(bert.get("do_lower_case")),
        place=place,
        source="its sentence-transformers files",
    )


def _pooling(folder: Path, config: dict[str, Any]) -> str:
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in LEGACY_POOLINGS.items() if config.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in KNOWN_POOLINGS:
        raise DataError(f"{folder} pools by {' + '.join(map(str, modes))}; cls, mean and last are done here")
    return KNOWN_POOLINGS[modes[0]]


def _longest(place: Path, config: dict[str, Any], usual: int = USUAL_TOKENS) -> int:
    """Return the longest input: the least of tokenizer, positions and (above 0) ``usual``."""
    limit = _json(place / "tokenizer_config.json").get("model_max_length")
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and config.get("model_type") in ("roberta", "xlm-roberta", "camembert"):
        positions -= 2
    known = [value for value in (limit, positions) if isinstance(value, int) and 0 < value < NO_LIMIT]
    return min([usual, *known]) if usual else min(known, default=USUAL_TOKENS)


def _entries(folder: Path) -> list[dict[str, Any]]:
    try:
        value = json.loads((folder / "modules.json").read_bytes())
        return [dict(entry) for entry in value if "type" in entry]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder / 'modules.json'} cannot be read: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object, {} where the file is missing."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a JSON object")
    return value
