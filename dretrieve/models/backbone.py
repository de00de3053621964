"""Loading a transformers encoder from its folder, without the reports that nobody asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dretrieve.errors import PreconditionError

# Families with a pooler that retrieval never uses, and that would be drawn at random.
WITH_POOLER = ("bert", "roberta", "xlm-roberta", "camembert")
# Entries of the config.json of an encoder that a method changed.
BACKBONE_TYPE, STRUCTURE = "backbone_model_type", "structure"
# The file beside it, and what the encoder's tensors are called in it.
WEIGHTS, BACKBONE_PART = "model.safetensors", "backbone."


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

    own = _own_config(place)
    if own is not None:
        return _plain_part(place, own)
    wanted: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "sdpa", "local_files_only": True}
    try:
        with quiet():
            if json.loads((place / "config.json").read_bytes()).get("model_type") in WITH_POOLER:
                wanted["add_pooling_layer"] = False
            model = AutoModel.from_pretrained(str(place), **(wanted | options))
    except Exception as error:  # whatever a strange configuration makes transformers stumble on
        reason = " ".join(str(error).split())[:300]
        raise PreconditionError(f"transformers cannot load the model in {place}: {reason}") from error
    module: nn.Module = model.encoder if model.config.is_encoder_decoder else model
    return module.eval()


def _own_config(place: Path) -> dict[str, Any] | None:
    """Return the folder's `own_form`; None for a folder of any other form."""
    try:
        config = json.loads((place / "config.json").read_bytes())
    except (OSError, ValueError):
        return None  # transformers says what is wrong with it
    return config if isinstance(config, dict) and BACKBONE_TYPE in config else None


def _plain_part(place: Path, config: dict[str, Any]) -> nn.Module:
    """Return the encoder of an `own_form` folder whose method changed nothing in it: one expert.

    Raises:
        PreconditionError: it did, and the encoder alone would give other vectors; weights of another shape.
    """
    if config.get(STRUCTURE, {}).get("num_experts") != 1:
        raise PreconditionError(
            f"{place} holds a model of the method {config['model_type']}, which is more than one plain "
            "encoder; give the backbone that it was trained from"
        )
    module = empty_module(config)
    with explained_weights(place):
        module.load_state_dict(part_of(load_file(place / WEIGHTS), BACKBONE_PART), assign=True)
    return module


@contextmanager
def explained_weights(place: Path) -> Iterator[None]:
    """Turn what loading the weights of an `own_form` folder raises into one sentence.

    Raises:
        PreconditionError: they are not there, are damaged, or do not fit the folder's configuration.
    """
    try:
        yield
    except (RuntimeError, OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise PreconditionError(f"{place / WEIGHTS} does not fit its config.json: {reason}") from error


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, without that beginning."""
    return {name[len(prefix) :]: of for name, of in tensors.items() if name.startswith(prefix)}


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
