"""A folder of ColBERT's authors or of PyLate read as it is, without torch: the card of a `colbert` model.

Stanford's code keeps everything in a BERT's folder: the projection among the weights (``linear.weight``),
lengths and markers in artifact.metadata. PyLate lists a Transformer and a Dense in modules.json, the rest in
config_sentence_transformers.json. What neither says is what both tools then do, and the note names it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from string import punctuation
from typing import Any

from dretrieve.errors import DataError, quoted
from dretrieve.models.colbert_config import MARKERS, NONE, QUERY_LENGTH, ColbertConfig
from dretrieve.models.plain import (
    INDEX,
    PlainModel,
    head_files,
    prompts_of,
    read_json,
    side_files,
    told_prompts,
    transformer_settings,
)
from dretrieve.models.plain_transformer import refuse_handed
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.fingerprint import sha256_file
from dretrieve.tokens.template import literal
from dretrieve.tokens.tokenizer import opens_texts, token_numbers, unsaid
from dretrieve.types import SIDES, Side, VectorSpec

METADATA, SETTINGS = "artifact.metadata", "config_sentence_transformers.json"
# Our options by the key that decides each, in Stanford's file and in PyLate's.
STANFORD = {
    "query_marker": "query_token_id",
    "passage_marker": "doc_token_id",
    "query_max_len": "query_maxlen",
    "passage_max_len": "doc_maxlen",
    "query_augmentation": "attend_to_mask_tokens",
    "skip_punctuation": "mask_punctuation",
    "dim": "dim",
}
PYLATE = {
    "query_marker": "query_prefix",
    "passage_marker": "document_prefix",
    "query_max_len": "query_length",
    "passage_max_len": "document_length",
    "query_augmentation": "do_query_expansion",
    "skip_punctuation": "skiplist_words",
}


def read_colbert(folder: Path) -> PlainModel | None:
    """Return the card of such a folder, None for any other.

    Raises:
        DataError: a projection with a bias or an activation, several of them, words to skip that are not all
            punctuation, a marker that the tokenizer lacks or that would stand inside a text.
    """
    top = _entries(folder / SETTINGS)
    prompts: tuple[str, str] = ("", "")
    unused: tuple[str, ...] = ()
    older = "query_prefix" in top  # PyLate names no model_type over sentence-transformers of before 5
    if top.get("model_type", "ColBERT" if older else "") == "ColBERT":
        known, keys = top, PYLATE
        said, file = _of_pylate(folder, top)
        prompts, unused = prompts_of(folder, top)
    elif "HF_ColBERT" in (read_json(folder / "config.json").get("architectures") or ()):
        known, keys = _entries(folder / METADATA), STANFORD
        said = _of_stanford(known)
        file = read_json(folder / INDEX).get("weight_map", {}).get("linear.weight", "model.safetensors")
    else:
        return None
    numbers = token_numbers(folder)
    said |= {f"{side}_marker": _marker(said, side, numbers, folder) for side in SIDES}
    config = ColbertConfig(**said)
    cards = {
        side: _side(folder, config, side, file, prompt) for side, prompt in zip(SIDES, prompts, strict=True)
    }
    card = ModelCard(
        method="colbert",
        vectors=VectorSpec(dim=config.dim, kind="many", score="maxsim_sum"),
        query=cards["query"],
        passage=cards["passage"],
        method_config=asdict(config),
        source={"form": file},
    )
    told = ", ".join([*(f"{name} {value}" for name, value in said.items()), *told_prompts(prompts, unused)])
    usual = [name for name, key in keys.items() if known.get(key) is None]
    unsaid = f"; not said there, the tool's own default: {', '.join(usual)}" if usual else ""
    return PlainModel(card, f"settings from its own files: {told}{unsaid}")


def _entries(file: Path) -> dict[str, Any]:
    """Return what the file says; to both tools null is nothing said."""
    return {name: value for name, value in read_json(file).items() if value is not None}


def _of_pylate(folder: Path, top: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the options that the folder names and the file of its projection."""
    refuse_handed(folder, transformer_settings(folder))
    modules = [str(of.get("path", "")) for of in _list(folder / "modules.json")]
    dense = read_json(folder / modules[1] / "config.json") if len(modules) == 2 else {}
    activation = str(dense.get("activation_function", ""))
    if not activation.endswith("Identity") or dense.get("bias") or dense.get("use_residual"):
        raise DataError(
            f"{folder / 'modules.json'} names {len(modules)} modules; a Transformer and one Dense without "
            "bias, activation or residual can be read here"
        )
    skipped = top.get("skiplist_words", list(punctuation))
    if sorted(skipped) not in ([], sorted(punctuation)):
        raise DataError(
            f"{folder / SETTINGS} skips words of its own ({quoted(str(skipped))}); all punctuation or none "
            "can be skipped here"
        )
    attended = "attended" if top.get("attend_to_expansion_tokens") else "yes"
    said = {
        "query_marker": top.get("query_prefix", "[Q] "),
        "passage_marker": top.get("document_prefix", "[D] "),
        "query_max_len": top.get("query_length") or QUERY_LENGTH,
        "passage_max_len": top.get("document_length") or 180,
        "query_augmentation": attended if top.get("do_query_expansion", True) else "no",
        "skip_punctuation": "yes" if skipped else "no",
        "dim": dense.get("out_features", 0),
    }
    head_files(folder, modules[1])
    return said, f"{modules[1]}/model.safetensors"


def _of_stanford(known: dict[str, Any]) -> dict[str, Any]:
    return {
        "query_marker": known.get("query_token_id", MARKERS["query"]),
        "passage_marker": known.get("doc_token_id", MARKERS["passage"]),
        "query_max_len": known.get("query_maxlen") or QUERY_LENGTH,
        "passage_max_len": known.get("doc_maxlen") or 220,
        "query_augmentation": "attended" if known.get("attend_to_mask_tokens") else "yes",
        "skip_punctuation": "yes" if known.get("mask_punctuation", True) else "no",
        "dim": known.get("dim") or 128,
    }


def _list(file: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    return found


def _marker(said: dict[str, Any], side: Side, numbers: dict[str, int], folder: Path) -> str:
    """Return the token that stands before a side's texts; PyLate's may end with a blank of its own."""
    wanted = str(said[f"{side}_marker"] or "")
    found = next((of for of in (wanted, wanted.strip()) if of in numbers), None)
    if wanted and found is None:
        raise DataError(
            f"{folder} puts {quoted(wanted)} before each {side}, and its tokenizer has no such token; fetch "
            "the tokenizer that it was trained with"
        )
    if found and not opens_texts(folder):
        raise DataError(
            f"{folder} puts {quoted(wanted)} behind the first token of each {side}, and its tokenizer puts "
            "none of its own ([CLS]) there: a marker inside a text is not done here"
        )
    return found or NONE


def _side(folder: Path, config: ColbertConfig, side: Side, file: str, prompt: str) -> SideCard:
    bert = transformer_settings(folder)
    lowercase = {"lowercase": True} if bert.get("do_lower_case") else {}
    settings = config.structure(side) | unsaid(folder) | lowercase
    texts = "{text}" if side == "query" else "{title} {text}"
    files = side_files(folder)
    card = SideCard(
        folder=".",
        pooling="tokens",
        normalize=True,
        template=literal((settings["marker"] or "") + prompt) + texts,
        max_tokens=getattr(config, f"{side}_max_len"),
        settings=settings,
        parts={file: sha256_file(folder / file)},
    )
    return card.with_hashes(folder, files)
