"""An encoder's folder: what AutoModel and sentence-transformers load, and the card's checksums."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from dretrieve.errors import PreconditionError
from dretrieve.models.backbone import quiet
from dretrieve.models.base import Method
from dretrieve.models.plain import side_files
from dretrieve.store.atomic import filling, make_folder, write_json
from dretrieve.store.card import ModelCard, SideCard

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)
POOLING_NAMES = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "last": "pooling_mode_lasttoken",
}


def save_encoder(folder: Path, module: nn.Module, tokenizer: Path, card: SideCard) -> None:
    """Write an encoder: weights (safetensors) and configuration, tokenizer, sentence-transformers' modules.

    Args:
        folder: made if missing.
        module: a transformers encoder.
        tokenizer: a folder that holds the tokenizer.
        card: of the side; its template is the caller's to apply (sentence-transformers gets whole texts).

    Raises:
        PreconditionError: the tokenizer's folder holds none, or the place cannot be written.
    """
    encoder: Any = module
    make_folder(folder)
    with filling(folder) as place, quiet():
        encoder.save_pretrained(str(place))
    save_tokenizer(folder, tokenizer, card)
    kinds = [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        *([("2_Normalize", "Normalize")] * card.normalize),
    ]
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    write_json(
        folder / "sentence_bert_config.json", {"do_lower_case": False, "max_seq_length": card.max_tokens}
    )
    pooling = {name: key == card.pooling for key, name in POOLING_NAMES.items()}
    pooling |= {"pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False}
    width = {"word_embedding_dimension": int(encoder.config.hidden_size)}
    write_json(folder / "1_Pooling" / "config.json", width | pooling)
    if card.normalize:
        make_folder(folder / "2_Normalize")
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "similarity_fn_name": "cosine" if card.normalize else "dot",
            "prompts": {},
            "default_prompt_name": None,
        },
    )


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
    """Tell the tokenizer where padding stands and how long a text may be."""
    try:
        config = json.loads(path.read_bytes())
    except OSError:
        config = {}
    write_json(path, config | {"padding_side": card.padding_side, "model_max_length": card.max_tokens})


def with_checksums(card: ModelCard, folder: Path) -> ModelCard:
    """Return the card with the checksums of each side's weights, configuration and tokenizer."""

    def side(of: SideCard) -> SideCard:
        return of.with_hashes(folder, side_files(folder / of.folder))

    return replace(card, query=side(card.query), passage=side(card.passage))


def save_model(method: Method, folder: Path, training: dict[str, Any] | None = None) -> ModelCard:
    """Write the model with its card, the card last; return the card."""
    method.save(folder)
    card = with_checksums(replace(method.card(), training=training or {}), folder)
    card.save(folder)
    return card
