from __future__ import annotations

import pytest
import torch

from dretrieve.encoding import pieces
from dretrieve.jobs.configs.explain import ExplainConfig
from dretrieve.jobs.explain_routing import explain
from dretrieve.jobs.explain_texts import Part, Reading, Sample
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.registry import METHODS, load
from dretrieve.models.taser import Taser
from dretrieve.models.taser_config import TaserConfig
from dretrieve.types import Record, Silent

TEXTS = ["bee", "moon tide ocean", "rook bishop knight pawn", "", "lava magma crater eruption ash basalt"]


class Units(Silent):
    def __init__(self):
        self.stages, self.done = [], 0

    def start(self, label, total, unit, done=0):
        self.stages.append((label, total))

    def advance(self, units):
        self.done += units


def loaded(tiny_model, folder, **options):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_model(Taser.build(TaserConfig(every=1, **options), str(tiny_model)), folder)
    return load_model(str(folder))


def sample(texts):
    records = [Record(str(row), "", text) for row, text in enumerate(texts)]
    return Sample(records=records, total=len(records), sha256="")


def reading(**sides):
    samples = {side: sample(of) for side, of in sides.items()}
    config = ExplainConfig(model="", corpus=("these",))
    return Reading(
        config=config, parts=[Part(name="these", samples=samples, passages=None)]
    )  # only samples are read


def test_order_and_batches_change_nothing(tiny_model, tmp_path, monkeypatch):
    model = loaded(tiny_model, tmp_path / "tok", router="tok", num_experts=3)
    units = Units()
    one = explain(model, reading(query=TEXTS, passage=TEXTS * 2), units)
    assert units.stages == [("routing queries", 5), ("routing passages", 10)]
    assert units.done == 15
    monkeypatch.setitem(pieces.BUDGETS, "cpu", (8, 8))
    other = explain(model, reading(query=TEXTS[::-1], passage=TEXTS * 2), Silent())
    assert other.data == one.data
    assert one.name == "routing"


def test_one_expert_has_nothing_to_say(tiny_model, tmp_path):
    model = loaded(tiny_model, tmp_path / "one", router="seq", num_experts=1)
    assert explain(model, reading(passage=TEXTS), Silent()) is None


def test_a_methods_explanation_stands_in_its_registry_line():
    assert {name for name, entry in METHODS.items() if not entry.explanation} == {"shared", "dpr"}
    assert load(METHODS["taser"].explanation) is explain


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_engine_that_encodes_is_the_one_explained(tiny_model, tmp_path, precision):
    """Whatever the number type, every token is counted once in each layer."""
    loaded(tiny_model, tmp_path / "tok", router="tok", num_experts=3)
    model = load_model(str(tmp_path / "tok"), precision=precision)
    assert model.engine.name == "packed"
    found = explain(model, reading(passage=TEXTS), Silent()).data["tokens"]["passage"]["counts"]
    total = int(model.tokenizers["passage"].tokenize(sample(TEXTS).records).offsets[-1])
    assert [sum(layer) for layer in found] == [total, total]
