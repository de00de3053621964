"""Loading a transformers encoder from its folder, without the reports that nobody asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dretrieve.errors import PreconditionError

# Families with a pooler that retrieval never uses, and that would be drawn at random.
WITH_POOLER = ("bert", "roberta", "xlm-roberta", "camembert")
# Entries of the config.json of an encoder that a method changed.
BACKBONE_TYPE, STRUCTURE = "backbone_model_type", "structure"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' load report and progress bars for the block."""
    from transformers.utils import logging as their_logging

    bars = their_logging.is_progress_bar_enabled()
    level = their_logging.get_verbosity()
    their_logging.set_verbosity(logging.ERROR)
    their_logging.disable_progress_bar()
    try:
        yield
    finally:
        their_logging.set_verbosity(level)
        if bars:
            their_logging.enable_progress_bar()


def load_module(place: Path, **options: Any) -> nn.Module:
    """Return the encoder saved in a folder: float32, evaluation mode, of an encoder-decoder the encoder.

    Args:
        place: the folder with config.json and safetensors.
        options: further arguments of ``from_pretrained``.

    Raises:
        PreconditionError: transformers cannot read it, or would leave out a part of it.
    """
    from transformers import AutoModel

    refuse_own_form(place)
    wanted: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "sdpa", "local_files_only": True}
    try:
        with quiet():
            if json.loads((place / "config.json").read_bytes()).get("model_type") in WITH_POOLER:
                wanted["add_pooling_layer"] = False
            model = AutoModel.from_pretrained(str(place), **(wanted | options))
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise PreconditionError(f"transformers cannot load the model in {place}: {reason}") from error
    module: nn.Module = model.encoder if model.config.is_encoder_decoder else model
    return module.eval()


def refuse_own_form(place: Path) -> None:
    """Refuse a folder whose weights are an encoder and more (`own_form`).

    Raises:
        PreconditionError: it is one.
    """
    try:
        config = json.loads((place / "config.json").read_bytes())
    except (OSError, ValueError):
        return  # transformers says what is wrong with it
    if isinstance(config, dict) and BACKBONE_TYPE in config:
        raise PreconditionError(
            f"{place} holds a model of the method {config['model_type']}, which is more than one plain "
            "encoder; give the backbone that it was trained from"
        )


def own_form(module: nn.Module, method: str, structure: dict[str, Any]) -> dict[str, Any]:
    """Return the config.json of an encoder that a method changed.

    It is the encoder's own, but its ``model_type`` is the method's name, which AutoModel does not know: what
    would drop the changed parts silently stops instead.

    Args:
        module: a transformers encoder.
        method: name of the method.
        structure: what the method must know to build the same modules again.
    """
    encoder: Any = module
    config: dict[str, Any] = json.loads(encoder.config.to_json_string())
    return config | {"model_type": method, BACKBONE_TYPE: config["model_type"], STRUCTURE: structure}


def empty_module(config: dict[str, Any]) -> nn.Module:
    """Return the encoder of an `own_form` configuration as it was before the method changed it.

    Parameters have shapes but no numbers (device ``meta``), except those of the embeddings; weights take
    their places by ``load_state_dict(…, assign=True)``.
    """
    from transformers import AutoConfig, AutoModel

    ours = (BACKBONE_TYPE, STRUCTURE, "model_type")
    values = {name: value for name, value in config.items() if name not in ours}
    described = AutoConfig.for_model(config[BACKBONE_TYPE], **values)
    with torch.random.fork_rng(devices=[]), torch.device("meta"), quiet():
        module = AutoModel.from_config(described, attn_implementation="sdpa", add_pooling_layer=False)
        with torch.device("cpu"):  # their position numbers are no weights and would stay empty
            module.embeddings = type(module.embeddings)(described)
    empty: nn.Module = module
    return empty.eval()
