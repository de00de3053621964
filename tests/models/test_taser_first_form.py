"""A folder as release 0.1 wrote it is the same model: card, fingerprints, vectors."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from dretrieve.errors import PreconditionError
from dretrieve.models.base import TokenBatch
from dretrieve.models.loading import load_model
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.models.taser import Taser
from dretrieve.models.taser_config import TaserConfig

BATCH = TokenBatch(
    torch.tensor([[2, 8, 9, 3], [2, 7, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()
)


def first_form(method, backbone, folder):
    """Write what release 0.1 wrote: a layer's experts in the place of its feed-forward part, one file."""
    folder.mkdir()

    def named(name):
        beside = re.fullmatch(r"encoder\.experts\.(\d+)\.(\d+)\.(.*)", name)
        if beside:
            return f"backbone.encoder.layer.{beside[1]}.experts.{int(beside[2]) + 1}.{beside[3]}"
        name = name.removeprefix("encoder.")
        own = re.fullmatch(r"(backbone\.encoder\.layer\.(\d+)\.)(intermediate\..*|output\..*)", name)
        return f"{own[1]}experts.0.{own[3]}" if own and int(own[2]) in method.layers else name

    save_file({named(name): of for name, of in method.state_dict().items()}, folder / "model.safetensors")
    config = json.loads((backbone / "config.json").read_text())
    structure = {"router": "det", "num_experts": 2, "every": 2}
    config |= {"model_type": "taser", "backbone_model_type": "bert", "structure": structure}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(backbone / name, folder)
    card = method.card()
    files = ("config.json", "model.safetensors", "tokenizer.json")
    sides = {
        side: replace(card.side(side), folder=".").with_hashes(folder, files) for side in ("query", "passage")
    }
    replace(card, **sides).save(folder)
    content = json.loads((folder / "card.json").read_text())
    for side in sides:
        del content[side]["parts"]
    (folder / "card.json").write_text(json.dumps(content))


@pytest.mark.parametrize("options", [{"router": "det"}, {"router": "tok", "num_experts": 3}])
def test_weights_of_the_first_release_are_the_same_model(deep_model, tmp_path, options):
    torch.manual_seed(2)
    method = Taser.build(TaserConfig(every=2, pooling="mean", **options), str(deep_model)).eval()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    folder = tmp_path / "old"
    first_form(method, deep_model, folder)
    model = load_model(str(folder))
    again = Taser.build(TaserConfig(every=2, pooling="mean", **options), str(folder)).eval()
    with torch.no_grad():
        for side in ("query", "passage"):
            expected = method.encode_side(BATCH, side).vectors
            found = Taser.load(folder, model.card).eval().encode_side(BATCH, side).vectors
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(again.encode_side(BATCH, side).vectors, expected, atol=1e-6, rtol=1e-6)
    with pytest.raises(PreconditionError, match="transformers cannot load the model"):
        Shared.build(SharedConfig(), str(folder))
