"""`shared` and `dpr`: sides, packing, adapters, and folders that other libraries read."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import PreconditionError, UsageError
from dretrieve.models.dpr import Dpr
from dretrieve.models.dpr_config import DprConfig
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.registry import METHODS, find
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.store.card import ModelCard
from dretrieve.types import Record
from tests.common import token_batch

RECORDS = [Record("1", "bees", "the honey bee hive."), Record("2", "", "moon tide ocean gravity")]
MEAN = {"pooling": "mean", "normalize": "yes"}


@pytest.fixture
def shared(tiny_model):
    return Shared.build(SharedConfig(**MEAN), str(tiny_model)).eval()


def untie(method):
    """Make the two encoders differ."""
    with torch.no_grad():
        for parameter in method.query_encoder.parameters():
            parameter.add_(0.01 * torch.ones_like(parameter))


@torch.no_grad()
def test_one_packed_forward_equals_two(shared):
    query, passage = token_batch([[2, 10, 3], [2, 11, 12, 3]]), token_batch([[2, *range(20, 29), 3]])
    packed = shared.encode_pair(query, passage)
    torch.testing.assert_close(
        packed[0].vectors, shared.encode_side(query, "query").vectors, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        packed[1].vectors, shared.encode_side(passage, "passage").vectors, atol=1e-6, rtol=0
    )


@torch.no_grad()
def test_dpr_starts_as_shared_and_has_two_encoders(shared, tiny_model):
    dpr = Dpr.build(DprConfig(**MEAN), str(tiny_model)).eval()
    batch = token_batch([[2, 10, 3]])
    expected = shared.encode_side(batch, "query").vectors
    for side in ("query", "passage"):
        torch.testing.assert_close(dpr.encode_side(batch, side).vectors, expected)
    untie(dpr)
    assert not torch.allclose(dpr.encode_side(batch, "query").vectors, expected)
    torch.testing.assert_close(dpr.encode_side(batch, "passage").vectors, expected)
    assert sum(p.numel() for p in dpr.parameters()) == 2 * sum(p.numel() for p in shared.parameters())


def test_the_config_is_settled_from_the_backbone_and_the_options(tiny_model, tmp_path):
    config = Shared.build(SharedConfig(), str(tiny_model)).config
    assert (config.pooling, config.normalize, config.temperature) == ("cls", "no", 1.0)
    assert config.passage_template == "{title} {text}"
    own = SharedConfig(**MEAN, query_max_len=16, query_template="query: {text}", pair="yes")
    first = Shared.build(own, str(tiny_model))
    assert first.config.temperature == 0.05
    save_model(first, tmp_path / "first")
    second = Shared.build(SharedConfig(), str(tmp_path / "first"))
    assert second.config == first.config
    assert second.card().query.template == "query: {text}"
    assert second.card().passage.pair


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize("normalize", ["yes", "no"])
def test_shared_loads_elsewhere_with_the_same_vectors(tiny_model, tmp_path, pooling, normalize):
    check_loads_elsewhere(
        Shared.build(SharedConfig(pooling=pooling, normalize=normalize), str(tiny_model)),
        tmp_path,
        {"passage": "."},
    )


def test_dpr_loads_elsewhere_with_the_same_vectors(tiny_model, tmp_path):
    dpr = Dpr.build(DprConfig(**MEAN), str(tiny_model))
    untie(dpr)
    check_loads_elsewhere(dpr, tmp_path, {"query": "query", "passage": "passage"})


def check_loads_elsewhere(method, folder, sides):
    """Compare our vectors with AutoModel's and sentence-transformers'."""
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    save_model(method, folder / "model")
    model = load_model(str(folder / "model"))
    for side, place in sides.items():
        ours = torch.from_numpy(encode_records(model, side, RECORDS, "float32").values)
        card = model.card.side(side)
        texts = [
            f"{record.title} {record.text}".strip() if side == "passage" else record.text
            for record in RECORDS
        ]
        theirs = SentenceTransformer(str(folder / "model" / place), device="cpu").encode(
            texts, convert_to_tensor=True
        )
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)
        auto = AutoModel.from_pretrained(folder / "model" / place).eval()
        tokens = AutoTokenizer.from_pretrained(folder / "model" / place)(
            texts, return_tensors="pt", padding=True
        )
        with torch.no_grad():
            states = auto(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            ).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        lengths = tokens["attention_mask"].sum(1)
        pooled = {
            "cls": states[:, 0],
            "mean": (states * mask).sum(1) / mask.sum(1),
            "last": states[torch.arange(len(texts)), lengths - 1],
        }[card.pooling]
        if card.normalize:
            pooled = torch.nn.functional.normalize(pooled, dim=-1)
        torch.testing.assert_close(ours, pooled, atol=2e-5, rtol=0)


def test_the_second_stage_of_dpr_goes_on_with_both_encoders(tiny_model, tmp_path):
    first = Dpr.build(DprConfig(**MEAN), str(tiny_model))
    untie(first)
    save_model(first, tmp_path / "first")
    second = Dpr.build(DprConfig(), str(tmp_path / "first"))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(PreconditionError, match=r"an encoder for each side.*first/passage"):
        Shared.build(SharedConfig(), str(tmp_path / "first"))
    one_side = Shared.build(SharedConfig(), str(tmp_path / "first" / "query"))
    for one, other in zip(first.query_encoder.parameters(), one_side.parameters(), strict=True):
        assert torch.equal(one, other)


def test_adapters_train_alone_and_are_merged_when_saved(tiny_model, tmp_path):
    method = Shared.build(SharedConfig(**MEAN, lora=True, lora_r=2), str(tiny_model))
    trained = [name for name, parameter in method.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    method.eval()
    batch = token_batch([[2, 10, 11, 3]])
    expected = method.encode_side(batch, "query").vectors
    save_model(method, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    torch.testing.assert_close(
        model.encoder.encode_side(batch, "query").vectors, expected.detach(), atol=1e-5, rtol=0
    )
    untrained = Shared.build(SharedConfig(**MEAN), str(tiny_model)).eval().encode_side(batch, "query").vectors
    assert not torch.allclose(untrained, expected, atol=1e-4)
    assert not list((tmp_path / "model").glob("adapter*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "sum"}, "--pooling sum: expected auto or cls or mean or last or max"),
        ({"temperature": -1.0}, "--temperature -1.0: expected a number from 0"),
        ({"query_max_len": 2}, "--query-max-len 2 leaves no room"),
        ({"lora": True, "lora_r": 0}, "--lora-r 0"),
        ({"query_template": "query: "}, "--query-template 'query: ' has no {text}, where"),
        ({"passage_template": "{title} {{text}}"}, "--passage-template .* has no {text}, where"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        SharedConfig(**options)


def test_options_of_adapters_without_adapters(tiny_model):
    with pytest.raises(UsageError, match="--lora-r is of low-rank adapters; give --lora too"):
        Shared.build(SharedConfig(lora_r=16), str(tiny_model))


def test_layers_that_are_not_there(tiny_model):
    with pytest.raises(
        UsageError, match="has no layer q_proj; its linear layers are dense, key, query, value"
    ):
        Shared.build(SharedConfig(lora=True, lora_target_modules="q_proj"), str(tiny_model))


@pytest.mark.parametrize("sides", [("query", "passage"), ("query",), ("passage",)])
def test_texts_longer_than_the_positions(tiny_model, sides):
    with pytest.raises(
        UsageError,
        match="texts of 65 tokens are too long.*has 64 positions; lower .*--query-max-len",
    ):
        Shared.build(SharedConfig(**{f"{side}_max_len": 65 for side in sides}), str(tiny_model))


def test_the_card_holds_what_was_chosen(tiny_model, tmp_path):
    card = save_model(Dpr.build(DprConfig(**MEAN), str(tiny_model)), tmp_path / "m", {"steps": 3})
    read = ModelCard.load(tmp_path / "m")
    assert json.loads(json.dumps(read.method_config)) == json.loads(json.dumps(card.method_config))
    assert read.training == {"steps": 3}
    read.verify(tmp_path / "m")
    assert read.fingerprint("query") != read.fingerprint("passage")


def test_every_registered_method_has_a_config_of_plain_values():
    for name in METHODS:
        config = find(name).config()
        assert find(name).method().config_class is config
        for field in dataclasses.fields(config):
            assert isinstance(field.default, str | int | float | bool | tuple)
            assert field.metadata["option"].text.endswith(".")
