"""An encoder deep enough for experts, whose layers do something: freshly drawn weights are almost nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dretrieve.models.base import TokenBatch


@pytest.fixture(scope="session")
def deep_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder as `tiny_model`, with 4 layers and weights that are not near zero."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("deep-model") / "model"
    shutil.copytree(tiny_model, folder)
    config = BertConfig.from_pretrained(folder)
    config.num_hidden_layers, config.initializer_range = 4, 0.15
    with torch.random.fork_rng():
        torch.manual_seed(4)
        BertModel(config, add_pooling_layer=False).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def batch_of() -> Callable[..., TokenBatch]:
    """``batch_of(lengths, side="right", width=None)``: texts of those lengths, padded on one side."""

    def make(lengths, side="right", width=None):
        generator = torch.Generator().manual_seed(sum(lengths))
        width = width or max(lengths)
        ids = torch.full((len(lengths), width), 1)
        mask = torch.zeros(len(lengths), width, dtype=torch.bool)
        for row, length in enumerate(lengths):
            place = slice(0, length) if side == "right" else slice(width - length, width)
            ids[row, place] = torch.randint(2, 60, (length,), generator=generator)
            mask[row, place] = True
        return TokenBatch(ids, mask)

    return make


@pytest.fixture(scope="session")
def check_gradient() -> Callable[..., None]:
    """``check_gradient(total, given, size, atol=, rtol=)``: of ``total(*given)``, by central differences."""

    def check(total, given, size, **near):
        total(*given).backward()
        for part, of in enumerate(given):
            step = torch.zeros_like(of)
            step[2, 0] = size
            moved = [
                [x.detach() + sign * step if part == place else x.detach() for place, x in enumerate(given)]
                for sign in (1, -1)
            ]
            difference = (total(*moved[0]) - total(*moved[1])) / 2
            torch.testing.assert_close((of.grad * step).sum().double(), difference, **near)

    return check
