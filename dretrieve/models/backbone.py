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
        PreconditionError: transformers cannot read it.
    """
    from transformers import AutoModel

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
