"""TASER's folders as release 0.1 wrote them: one file, its encoder's configuration under the method's name.

There a layer's experts took the place of its feed-forward part: ``backbone.encoder.layer.N.experts.I…``.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from dretrieve.models.backbone import WEIGHTS, explained_weights, quiet
from dretrieve.models.plain import read_json

TYPE = "backbone_model_type"  # an entry of config.json that only these folders have
EXPERT = re.compile(r"backbone\.(encoder\.layer\.(\d+)\.)experts\.(\d+)\.(.*)")


def stands_in(place: Path) -> bool:
    """Return whether the folder is of this form."""
    return TYPE in read_json(place / "config.json")


def read_backbone(place: Path) -> nn.Module:
    """Return the encoder with each layer's first expert in its own place."""
    config = read_json(place / "config.json")
    values = {name: value for name, value in config.items() if name not in (TYPE, "structure", "model_type")}
    described = AutoConfig.for_model(config[TYPE], **values)
    with torch.random.fork_rng(devices=[]), quiet():
        module: nn.Module = AutoModel.from_config(
            described, attn_implementation="sdpa", add_pooling_layer=False
        )
    with explained_weights(place):
        module.load_state_dict(_named(place)[0])
    return module.float().eval()


def read_parts(place: Path) -> dict[str, Tensor]:
    """Return the other experts and the gates, by the names that they have today."""
    return _named(place)[1]


def _named(place: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of the backbone, and those of everything else."""
    backbone: dict[str, Tensor] = {}
    parts: dict[str, Tensor] = {}
    with explained_weights(place):
        tensors = load_file(place / WEIGHTS)
    for name, tensor in tensors.items():
        expert = EXPERT.fullmatch(name)
        if expert is None and name.startswith("backbone."):
            backbone[name.removeprefix("backbone.")] = tensor
        elif expert is None:
            parts[name] = tensor
        elif expert[3] == "0":
            backbone[expert[1] + expert[4]] = tensor
        else:
            parts[f"encoder.experts.{expert[2]}.{int(expert[3]) - 1}.{expert[4]}"] = tensor
    return backbone, parts
