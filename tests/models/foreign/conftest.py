"""Checkpoints as DPR's code writes them: two BERTs, in a dict beside settings and the optimizer."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def two_berts(tiny_model: Path) -> dict[str, Any]:
    """Two encoders of the tiny model's sizes with other weights, by the names that DPR's code gives them."""
    from transformers import BertConfig, BertModel

    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = BertConfig.from_pretrained(tiny_model, attn_implementation="eager")
        return {side: BertModel(config).eval() for side in ("question_model", "ctx_model")}


@pytest.fixture
def dpr_tensors(two_berts: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The ``model_dict`` of those two; older transformers kept the positions' numbers too."""
    tensors = {}
    for side, bert in two_berts.items():
        tensors |= {f"{side}.{name}": tensor.clone() for name, tensor in bert.state_dict().items()}
        tensors[f"{side}.embeddings.position_ids"] = torch.arange(64).unsqueeze(0)
    return tensors


@pytest.fixture
def hydra_config() -> Iterator[Callable[..., Any]]:
    """``hydra_config(sequence_length=24)``: what omegaconf puts into a pickle, by its own class names.

    The modules are ours and stand in ``sys.modules`` during the test only.
    """

    class Metadata:
        pass

    class AnyNode:
        def __init__(self, value: object) -> None:
            self._val, self._metadata = value, Metadata()

    class DictConfig:
        def __init__(self, **values: object) -> None:
            self._content = {name: AnyNode(value) for name, value in values.items()}
            self._metadata = Metadata()

    names = {"base": Metadata, "nodes": AnyNode, "dictconfig": DictConfig}
    patch = pytest.MonkeyPatch()
    patch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    for module, kind in names.items():
        kind.__module__, kind.__qualname__ = f"omegaconf.{module}", kind.__name__
        patch.setitem(sys.modules, f"omegaconf.{module}", types.ModuleType(f"omegaconf.{module}"))
        setattr(sys.modules[f"omegaconf.{module}"], kind.__name__, kind)
    yield DictConfig
    patch.undo()


@pytest.fixture
def save_state(tmp_path: Path) -> Callable[..., Path]:
    """``save_state(tensors, params, zipped=True)``: a file as DPR's trainer writes it."""

    def save(tensors: dict[str, torch.Tensor], params: object, *, zipped: bool = True) -> Path:
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.AdamW([weight])
        weight.sum().backward()
        optimizer.step()
        state = {
            "model_dict": tensors,
            "optimizer_dict": optimizer.state_dict(),
            "scheduler_dict": {"last_epoch": 7, "lr_lambdas": [None]},
            "offset": 0,
            "epoch": 24,
            "encoder_params": params,
        }
        path = tmp_path / "dpr_biencoder.24"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        return path

    return save
