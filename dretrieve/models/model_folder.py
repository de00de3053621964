"""An encoder's folder: what AutoModel and sentence-transformers load, and the card's checksums."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from dretrieve.errors import PreconditionError
from dretrieve.models.backbone import WEIGHTS, quiet
from dretrieve.models.base import Method
from dretrieve.models.head import save_head
from dretrieve.models.plain import ADAPTER, LEGACY_POOLINGS, side_files
from dretrieve.store.atomic import filling, make_folder, same_file, write_json
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.fingerprint import sha256_file
from dretrieve.tokens.tokenizer import FAST_FILE, OTHER_FILES, SAYING_FILES
from dretrieve.types import Side

CONFIG = "config.json"
TOKENIZER_FILES = (FAST_FILE, *SAYING_FILES, *OTHER_FILES)
# An encoder of an encoder-decoder: what its tensors are called in the whole, and the tensor that both share.
ENCODER_PART, SHARED = "encoder.", "shared.weight"
TASKS: dict[Side, str] = {"query": "query", "passage": "document"}  # sentence-transformers' names


def save_encoder(
    folder: Path, module: Any, tokenizer: Path, cards: Mapping[Side, SideCard], *, unchanged: bool = False
) -> None:
    """Write an encoder as a plain folder: weights (safetensors), configuration, tokenizer.

    ``cards`` are of the sides that it serves. An ``unchanged`` one is as it stands beside the tokenizer; then
    plain weights there are linked, not written.

    Raises:
        PreconditionError: the tokenizer's folder holds none, or the place cannot be written.
    """
    whole = _whole(module)
    links = (
        unchanged and whole is None and (tokenizer / WEIGHTS).is_file() and not (tokenizer / ADAPTER).exists()
    )
    if links:
        same_file(tokenizer / WEIGHTS, folder / WEIGHTS)
    with filling(folder) as place, quiet():
        if links:
            shutil.copyfile(tokenizer / CONFIG, place / CONFIG)
        elif whole is None:
            module.save_pretrained(str(place))
        else:
            _save_part(place, module, whole)
    save_tokenizer(folder, tokenizer, max(cards.values(), key=lambda of: of.max_tokens))


def save_modules(folder: Path, encoder: Any, module: Any, cards: Mapping[Side, SideCard]) -> None:
    """Write beside an encoder's files what sentence-transformers reads: its modules, lengths and prompts."""
    card = next(iter(cards.values()))
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    kinds += save_head(folder, encoder.head, card.settings.get("head", ()))
    if card.normalize:
        kinds.append((f"{len(kinds)}_Normalize", "Normalize"))
        make_folder(folder / kinds[-1][0])
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", _transformer(cards, _whole(module)))
    pooling = {name: key == card.pooling for name, key in LEGACY_POOLINGS.items()}
    width = {"word_embedding_dimension": int(module.config.hidden_size)}
    write_json(folder / "1_Pooling" / "config.json", width | pooling)
    prompts = {TASKS[side]: prompt_of(of) or "" for side, of in cards.items()}
    alone = next(iter(prompts)) if len(set(prompts.values())) == 1 and any(prompts.values()) else None
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "similarity_fn_name": "cosine" if card.normalize else "dot",
            "prompts": prompts,
            "default_prompt_name": alone,
        },
    )


def _whole(module: nn.Module) -> Any:
    """Return, without weights, the encoder-decoder whose encoder the module is; None for any other module."""
    from transformers import AutoModel
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    config: Any = copy.deepcopy(module.config)
    kind: Any = MODEL_MAPPING.get(type(config), None)
    if kind is None or isinstance(module, kind):
        return None
    config.is_encoder_decoder = True
    with torch.random.fork_rng(devices=[]), torch.device("meta"), quiet():
        whole = AutoModel.from_config(config)
    return whole if type(getattr(whole, "encoder", None)) is type(module) else None


def _save_part(folder: Path, module: nn.Module, whole: Any) -> None:
    """Write the encoder under the names that it has in the whole, so that the whole's class finds it."""
    import transformers

    tensors = {ENCODER_PART + name: of.contiguous() for name, of in module.state_dict().items()}
    embeddings = f"{ENCODER_PART}embed_tokens.weight"
    if SHARED in whole.state_dict() and embeddings in tensors:
        tensors[SHARED] = tensors.pop(embeddings)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    name = type(whole).__name__
    encoder = f"{name.removesuffix('Model')}EncoderModel"
    whole.config.architectures = [encoder if hasattr(transformers, encoder) else name]
    whole.config.save_pretrained(str(folder))


def _transformer(cards: Mapping[Side, SideCard], whole: Any) -> dict[str, Any]:
    """Return sentence-transformers' settings of its Transformer; keys that only some need are left out."""
    lengths = {side: card.max_tokens for side, card in cards.items()}
    found: dict[str, Any] = {
        "do_lower_case": any(card.settings.get("lowercase") for card in cards.values()),
        "max_seq_length": max(lengths.values()),
    }
    if len(set(lengths.values())) > 1:
        found |= {f"{TASKS[side]}_length": length for side, length in lengths.items()}
    if whole is not None and "EncoderModel" not in whole.config.architectures[0]:
        states = {"method": "forward", "method_output_name": "encoder_last_hidden_state"}
        found |= {"modality_config": {"text": states}, "module_output_name": "token_embeddings"}
    return found


def prompt_of(card: SideCard) -> str | None:
    """Return what the template puts before a text (title and text joined); None if it does more."""
    before = r"((?:\{\{(?:title|text)\}\}|(?!\{(?:title|text)\}).)*)"  # {{text}} is the literal {text}
    found = re.fullmatch(rf"{before}(?:\{{title\}}\s+)?\{{text\}}", card.template, re.DOTALL)
    return re.sub(r"\{\{(title|text)\}\}", r"{\1}", found[1]) if found else None


def beyond_sentence_transformers(card: ModelCard, folder: Path) -> list[str]:
    """Return what of the card sentence-transformers' files cannot say, a line for each side that has some."""
    lines = []
    for side in TASKS:
        of = card.side(side)
        if not (folder / of.folder / "modules.json").exists():
            continue
        parts = ["title and text as a pair"] * (of.pair and side == "passage")
        if not of.pair and prompt_of(of) is None:
            parts.append(f"the template {of.template!r}")
        if of.settings.get("straight_quotes"):
            parts.append("straight apostrophes")
        if parts:
            lines.append(
                f"SentenceTransformer does not know {', '.join(parts)}: give it every {side} in that form"
            )
    return lines


def save_tokenizer(folder: Path, tokenizer: Path, card: SideCard) -> None:
    """Copy the tokenizer's files into ``folder``, and write there what the card says of padding and length.

    Raises:
        PreconditionError: ``tokenizer`` holds none, or the place cannot be written.
    """
    found = [name for name in TOKENIZER_FILES if (tokenizer / name).is_file()]
    if not found:
        raise PreconditionError(f"{tokenizer} holds no tokenizer; copy the tokenizer's files there")
    with filling(folder) as place:
        for name in found:
            shutil.copyfile(tokenizer / name, place / name)
    _set_side(folder / "tokenizer_config.json", card)


def _set_side(path: Path, card: SideCard) -> None:
    """Tell the tokenizer where padding stands, how long a text may be and where a longer one is cut."""
    try:
        config = json.loads(path.read_bytes())
    except OSError:
        config = {}
    cut = card.settings.get("truncation_side", "right")
    said = {"padding_side": card.padding_side, "truncation_side": cut, "model_max_length": card.max_tokens}
    write_json(path, config | said)


def save_model(method: Method, folder: Path, training: dict[str, Any] | None = None) -> ModelCard:
    """Write the model with its card, the card last; return the card.

    The card holds the checksums of each side's weights, configuration, tokenizer and parts.
    """
    method.save(folder)
    card = replace(method.card(), training=training or {})

    def side(of: SideCard, name: Side) -> SideCard:
        files = side_files(folder / of.folder, of.settings.get("head", ()))
        parts = {file: sha256_file(folder / file) for file in method.files(name)}
        return replace(of.with_hashes(folder, files), parts=parts)

    card = replace(card, query=side(card.query, "query"), passage=side(card.passage, "passage"))
    card.save(folder)
    return card
