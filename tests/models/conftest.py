"""An encoder deep enough for experts, whose layers do something: freshly drawn weights are almost nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def deep_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder as `tiny_model`, with 4 layers and weights that are not near zero."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("deep-model") / "model"
    shutil.copytree(tiny_model, folder)
    config = BertConfig.from_pretrained(folder)
    config.num_hidden_layers, config.initializer_range = 4, 0.15
    with torch.random.fork_rng():
        torch.manual_seed(4)
        BertModel(config, add_pooling_layer=False).eval().save_pretrained(folder)
    return folder
