"""`taser`: where it is `shared`, what its routers change, and its folder."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, DistilBertConfig, DistilBertModel

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.models.base import TokenBatch
from dretrieve.models.config import ONE_PHASE
from dretrieve.models.dpr import Dpr
from dretrieve.models.dpr_config import DprConfig
from dretrieve.models.encoder_method import Backbone
from dretrieve.models.experts import PADDING
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.models.taser import Taser
from dretrieve.models.taser_config import TaserConfig
from dretrieve.store.card import SideCard

LENGTHS = (7, 3, 12, 1, 7)
ROUTED = [
    {"router": "det"},
    {"router": "seq"},
    {"router": "tok"},
    {"router": "seq", "num_experts": 4},
    {"router": "tok", "num_experts": 3, "share_router": False},
]
ONE = [{"router": "none"}, {"num_experts": 1}, {"router": "tok", "num_experts": 1, "every": 9}]
IDS = [" ".join(str(of) for of in options.values()) for options in ROUTED]


def texts(lengths=LENGTHS, side="right", seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.bool)
    for row, length in enumerate(lengths):
        place = slice(0, length) if side == "right" else slice(max(lengths) - length, None)
        ids[row, place] = torch.randint(5, 60, (length,), generator=generator)
        mask[row, place] = True
    return TokenBatch(ids, mask)


def build(folder, *, part=True, **options):
    """Return a model in evaluation mode; with ``part`` its experts and gates have parted."""
    torch.manual_seed(1)
    method = Taser.build(TaserConfig(**({"every": 2, "pooling": "mean"} | options)), str(folder)).eval()
    if part:
        with torch.no_grad():
            for name, parameter in method.named_parameters():
                if "experts" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
                if "gates" in name:
                    parameter.add_(torch.randn_like(parameter) * 2)
    return method


def without_dropout(method):
    """Put the method into training, with nothing random but the gates."""
    method.train()
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    method.encoder.backbone.config.attention_probs_dropout_prob = 0.0
    for layer in method.encoder.backbone.encoder.layer:
        layer.attention.self.dropout.p = 0.0
    return method


def vectors(method, batch, side="query"):
    with torch.no_grad():
        return method.encode_side(batch, side).vectors


def sum_of(pair):
    """A scalar of both sides that no gradient cancels in."""
    found = torch.cat([of.vectors for of in pair])
    return (found * torch.arange(1.0, found.numel() + 1).view_as(found).sin()).sum()


@pytest.mark.parametrize("options", ONE)
@pytest.mark.parametrize("side", ["right", "left"])
def test_one_expert_is_shared_to_the_bit(deep_model, options, side):
    taser = build(deep_model, **options)
    shared = Shared.build(SharedConfig(pooling="mean"), str(deep_model)).eval()
    assert taser.layers == ()
    assert taser.router is None
    for batch in (texts(side=side), texts((6, 6))):
        for of in ("query", "passage"):
            assert torch.equal(vectors(taser, batch, of), vectors(shared, batch))
    assert taser.routes(texts(), "query") is None
    torch.manual_seed(3)
    expected = sum_of(shared.train().encode_pair(texts(), texts((4, 9), seed=2)))
    torch.manual_seed(3)
    found = sum_of(taser.train().encode_pair(texts(), texts((4, 9), seed=2)))
    assert torch.equal(found, expected), "dropout included"
    found.backward()
    expected.backward()
    for one, other in zip(taser.parameters(), shared.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("options", ROUTED, ids=IDS)
def test_equal_experts_are_shared_and_part_its_gradient(deep_model, options):
    no_term = {"entropy_weight": 0.0} if options.get("router") in ("seq", "tok") else {}
    taser = without_dropout(build(deep_model, part=False, **no_term, **options))
    shared = without_dropout(Shared.build(SharedConfig(pooling="mean"), str(deep_model)))
    pair = (texts(), texts((4, 9), seed=2))
    found, expected = taser.encode_pair(*pair), shared.encode_pair(*pair)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.vectors, other.vectors, atol=1e-6, rtol=0)
    sum_of(found).backward()
    sum_of(expected).backward()
    layers = taser.encoder.backbone.encoder.layer, shared.encoder.backbone.encoder.layer
    experts = (layers[0][3], *taser.encoder.experts["3"])
    ours = sum(expert.intermediate.dense.weight.grad for expert in experts)
    torch.testing.assert_close(ours, layers[1][3].intermediate.dense.weight.grad, atol=1e-4, rtol=1e-4)
    if taser.router is None:  # gates send a gradient of their own down to what they read
        below = [of[1].attention.self.query.weight.grad for of in layers]
        torch.testing.assert_close(*below, atol=1e-4, rtol=1e-4)


def test_specialised_layers_are_every_second_of_four(deep_model):
    assert build(deep_model).layers == (1, 3)
    assert build(deep_model, every=3).layers == (2,)
    with pytest.raises(UsageError, match="--every 5 fits no layer: this backbone has 4 layers"):
        build(deep_model, every=5)


def test_det_reads_each_side_by_its_own_expert(deep_model):
    method, batch = build(deep_model), texts()
    query, passage = vectors(method, batch), vectors(method, batch, "passage")
    assert not torch.allclose(query, passage, atol=1e-2)
    with torch.no_grad():
        for layer in method.layers:
            for parameter in method.encoder.experts[str(layer)].parameters():
                parameter.mul_(1.5)
    assert torch.equal(vectors(method, batch), query)
    assert not torch.allclose(vectors(method, batch, "passage"), passage, atol=1e-2)


def test_det_with_sides_swapped_uses_the_other_expert(deep_model):
    method, batch = build(deep_model), texts()
    query, passage = vectors(method, batch), vectors(method, batch, "passage")
    with torch.no_grad():
        for layer in method.layers:
            first, (second,) = method.encoder.layers[layer], method.encoder.experts[str(layer)]
            for part in ("intermediate", "output"):
                ours, theirs = getattr(first, part), getattr(second, part)
                for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                    one.data, other.data = other.data, one.data
    assert torch.equal(vectors(method, batch), passage)
    assert torch.equal(vectors(method, batch, "passage"), query)


@torch.no_grad()
@pytest.mark.parametrize("options", ROUTED, ids=IDS)
def test_one_packed_forward_equals_two(deep_model, options):
    method = build(deep_model, **options)
    query, passage = texts(), texts((15, 4, 9), seed=2)
    pair = method.encode_pair(query, passage)
    torch.testing.assert_close(pair[0].vectors, vectors(method, query), atol=2e-6, rtol=0)
    torch.testing.assert_close(pair[1].vectors, vectors(method, passage, "passage"), atol=2e-6, rtol=0)
    swapped = method.encode_pair(passage, query)
    assert torch.allclose(swapped[1].vectors, pair[0].vectors, atol=1e-5) == (options["router"] != "det")


@pytest.mark.parametrize("options", ROUTED, ids=IDS)
@pytest.mark.parametrize("of", ["query", "passage"])
def test_the_engine_without_padding_answers_as_the_training_forward(deep_model, options, of):
    method = build(deep_model, **options)
    plain = {side: vectors(method, texts(side=side), of) for side in ("right", "left")}
    routes = method.routes(texts(), of)
    method.encoder.prepare(torch.device("cpu"), torch.float32)
    assert method.encoder.engine.name == "packed"
    torch.testing.assert_close(vectors(method, texts(), of), plain["right"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(vectors(method, texts(side="left"), of), plain["right"], rtol=1e-5, atol=1e-5)
    assert torch.equal(method.routes(texts(), of).experts, routes.experts)
    method.encoder.release()
    assert torch.equal(vectors(method, texts(), of), plain["right"])


@pytest.mark.parametrize("options", ROUTED, ids=IDS)
def test_routes_say_who_read_what(deep_model, options):
    method, batch = build(deep_model, **options), texts()
    routes = method.routes(batch, "passage")
    count = options.get("num_experts", 2)
    assert (routes.layers, routes.num_experts) == ((1, 3), count)
    assert routes.experts.shape == (2, *batch.mask.shape)
    assert (routes.experts[:, ~batch.mask] == PADDING).all()
    read = routes.experts[:, batch.mask]
    assert set(read.flatten().tolist()) <= set(range(count))
    assert set(method.routes(batch, "query").experts[:, batch.mask].flatten().tolist()) <= set(range(count))
    if options["router"] == "det":
        assert (read == 1).all()
        assert (method.routes(batch, "query").experts[:, batch.mask] == 0).all()
    else:
        assert len(set(read.flatten().tolist())) > 1
        each = [set(row[row != PADDING].tolist()) for layer in routes.experts for row in layer]
        assert all(len(of) == 1 for of in each) == (options["router"] == "seq")


def test_bfloat16_keeps_the_direction(deep_model):
    method, batch = build(deep_model), texts()
    exact = vectors(method, batch, "passage")
    method.encoder.prepare(torch.device("cpu"), torch.bfloat16)
    assert torch.cosine_similarity(vectors(method, batch, "passage"), exact).min() > 0.99


@pytest.mark.parametrize("options", [*ONE[:1], *ROUTED], ids=["none", *IDS])
def test_saved_and_loaded_gives_the_same_bytes(deep_model, tmp_path, options):
    method = build(deep_model, normalize="yes", **options)
    card = save_model(method, tmp_path / "one")
    first, again = (load_model(str(tmp_path / "one")) for _ in range(2))
    batch = texts()
    for side in ("query", "passage"):
        found = vectors(first.encoder, batch, side)
        assert torch.equal(found, vectors(again.encoder, batch, side))
        torch.testing.assert_close(found, vectors(method, batch, side), atol=2e-6, rtol=1e-5)
    assert first.engine.name == "packed"
    assert first.encoder.config == method.config
    loaded = Taser.load(tmp_path / "one", card)
    names = dict(loaded.state_dict())
    assert all(torch.equal(names[name], of) for name, of in method.state_dict().items())
    assert torch.equal(vectors(loaded.eval(), batch), vectors(method, batch))
    second = save_model(loaded, tmp_path / "two")
    assert (second.query.files, second.query.parts) == (card.query.files, card.query.parts)
    assert all(of.requires_grad for of in Taser.load(tmp_path / "one", card).parameters())


def test_the_card_says_what_each_side_depends_on(deep_model):
    det = build(deep_model).card()
    assert det.query.settings == {"router": "det", "num_experts": 2, "every": 2, "expert": 0}
    assert det.passage.settings == {"router": "det", "num_experts": 2, "every": 2, "expert": 1}
    assert det.fingerprint("query") != det.fingerprint("passage")
    tok = build(deep_model, router="tok").card()
    assert tok.query.settings == tok.passage.settings
    assert tok.query.settings["share_router"] is True
    fingerprints = [build(deep_model, **of).card().fingerprint("query") for of in (*ROUTED, ONE[0])]
    assert len(set(fingerprints)) == len(fingerprints)
    assert (
        build(deep_model, **ONE[0]).card().query.settings == build(deep_model, **ONE[1]).card().query.settings
    )


def test_no_other_library_or_method_reads_it_as_a_plain_encoder(deep_model, tmp_path):
    save_model(build(deep_model), tmp_path / "taser")
    with pytest.raises((OSError, ValueError)):
        AutoModel.from_pretrained(tmp_path / "taser")
    message = (
        r"model of the method taser, and \w+ would drop what it has beside its encoder \(method.safetensors"
    )
    for method, config in ((Shared, SharedConfig()), (Dpr, DprConfig())):
        with pytest.raises(PreconditionError, match=message):
            method.build(config, str(tmp_path / "taser"))
    knowingly = Shared.build(SharedConfig(pooling="mean"), str(tmp_path / "taser" / "backbone"))
    assert knowingly.encoder.engine.name == "transformers"


@pytest.mark.parametrize("options", ONE[:2])
def test_a_model_of_one_expert_is_a_backbone_like_any_other(deep_model, tmp_path, options):
    first = build(deep_model, **options)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.mul_(1.5)
    save_model(first, tmp_path / "first")
    folder = str(tmp_path / "first")
    expected = vectors(first, texts())
    shared = Shared.build(SharedConfig(), folder).eval()
    assert torch.equal(vectors(shared, texts()), expected)
    assert all(of.requires_grad for of in shared.parameters())
    assert shared.card().query.settings == {}, "what taser chose is not shared's"
    dpr = Dpr.build(DprConfig(), folder).eval()
    assert torch.equal(vectors(dpr, texts(), "passage"), expected)
    det = build(folder, part=False)
    assert (det.layers, det.card().query.settings["router"]) == ((1, 3), "det")
    torch.testing.assert_close(vectors(det, texts()), expected, atol=1e-6, rtol=0)
    assert torch.equal(vectors(build(folder, **options), texts()), expected)
    save_model(shared, tmp_path / "second")
    assert torch.equal(
        vectors(Shared.build(SharedConfig(), str(tmp_path / "second")).eval(), texts()), expected
    )
    AutoModel.from_pretrained(tmp_path / "second")


def test_training_goes_on_with_the_same_experts_only(deep_model, tmp_path):
    first = build(deep_model, router="seq", num_experts=4)
    save_model(first, tmp_path / "first")
    second = build(tmp_path / "first", part=False, router="seq", num_experts=4, entropy_weight=0.5)
    assert all(torch.equal(*of) for of in zip(first.parameters(), second.parameters(), strict=True))
    assert second.config.entropy_weight == 0.5
    for other in (
        {"router": "tok", "num_experts": 4},
        {"router": "seq", "num_experts": 2},
        {"router": "none"},
    ):
        with pytest.raises(
            PreconditionError, match=r"taser model with router seq, num_experts 4.* was asked for"
        ):
            build(tmp_path / "first", **other)


def test_a_backbone_with_an_encoder_for_each_side(deep_model, tmp_path):
    save_model(Dpr.build(DprConfig(), str(deep_model)), tmp_path / "dpr")
    with pytest.raises(
        PreconditionError, match="has an encoder for each side; give one of them as --backbone"
    ):
        build(tmp_path / "dpr")
    assert build(tmp_path / "dpr" / "query").layers == (1, 3)


def test_a_backbone_of_another_family(deep_model, tmp_path):
    folder = shutil.copytree(deep_model, tmp_path / "distil")
    config = DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=24, vocab_size=200)
    DistilBertModel(config).save_pretrained(folder)
    for router in ("det", "none"):
        with pytest.raises(
            UsageError, match="a distilbert backbone is laid out otherwise; give an encoder of"
        ):
            build(folder, router=router)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_experts", 4), ("router", "tok"), ("every", 1)],
    ids=["number", "router", "layers"],
)
def test_weights_of_another_number_of_experts(deep_model, tmp_path, name, value):
    save_model(build(deep_model, router="seq", num_experts=3), tmp_path / "m")
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    card["method_config"][name] = value
    (tmp_path / "m" / "card.json").write_text(json.dumps(card))
    with pytest.raises(PreconditionError, match=r"taser model with .*num_experts 3, every 2.* was asked for"):
        load_model(str(tmp_path / "m"))


def test_weights_that_lack_an_expert(deep_model, tmp_path):
    from safetensors.torch import load_file, save_file

    card = save_model(build(deep_model), tmp_path / "m")
    file = tmp_path / "m" / "method.safetensors"
    tensors = load_file(file)
    save_file({name: of for name, of in tensors.items() if "experts.1" not in name}, file)
    with pytest.raises(DataError, match=r"m lacks 6 tensors that this method .*experts.1"):
        Taser.load(tmp_path / "m", card)


@pytest.mark.parametrize("side", ["query", "passage"])
def test_texts_longer_than_the_positions(deep_model, side):
    with pytest.raises(UsageError, match="texts of 65 tokens are too long.*has 64 positions"):
        build(deep_model, **{f"{side}_max_len": 65})


def on(module, config):
    """Return the method on an encoder that was read from nowhere."""
    sides = ("query", "passage")
    cards = {side: SideCard() for side in sides}
    stand = Backbone(
        name="bert-base",
        cards=cards,
        modules=dict.fromkeys(sides, module),
        places=dict.fromkeys(sides, Path("nowhere")),
    )
    return Taser(config, stand)


def millions(module):
    return round(sum(parameter.numel() for parameter in module.parameters()) / 1e6)


def test_parameters_of_tables_a1_and_a3():
    """From BERT-base's configuration; the figures of the paper: 109, 128, 166 million, DPR 218."""
    counts = {}
    for experts in (1, 2, 4):
        with torch.device("meta"):
            module = BertModel(BertConfig(), add_pooling_layer=False)
        options = {"router": "seq", "num_experts": experts} if experts > 1 else {"router": "none"}
        config = TaserConfig(pooling="cls", normalize="no", temperature=1.0, **options)
        with torch.device("meta"):
            counts[experts] = on(module, config)
        assert counts[experts].layers == ((2, 5, 8, 11) if experts > 1 else ())
    assert [millions(of) for of in counts.values()] == [109, 128, 166]
    assert 2 * sum(of.numel() for of in counts[1].parameters()) == pytest.approx(218e6, abs=5e5)


def base_groups(**options):
    """Return the rates of BERT-base's parts by name, as multiples of the learning rate."""
    with torch.device("meta"):
        module = BertModel(BertConfig(), add_pooling_layer=False)
    config = TaserConfig(pooling="cls", normalize="no", temperature=1.0, **options)
    with torch.device("meta"):
        method = on(module, config)
    names = {id(of): name for name, of in method.named_parameters()}
    groups = method.parameter_groups(ONE_PHASE[0])
    rates = {names[id(of)]: group.scale for group in groups for of in group.parameters}
    assert len(rates) == sum(len(group.parameters) for group in groups) == len(names)
    return rates


def test_the_rates_decay_by_depth_as_in_the_released_code():
    rates = base_groups(router="tok", layer_decay=0.8)
    layer = "encoder.backbone.encoder.layer"
    assert rates["encoder.backbone.embeddings.word_embeddings.weight"] == pytest.approx(0.8**14)
    assert rates["encoder.backbone.embeddings.word_embeddings.weight"] == pytest.approx(0.044, abs=5e-4)
    assert rates[f"{layer}.0.output.dense.weight"] == pytest.approx(0.8**13)
    assert rates["encoder.experts.11.0.output.LayerNorm.bias"] == pytest.approx(0.64)
    assert rates["router.gates.0.weight"] == pytest.approx(0.8 ** (14 - 8))
    each = base_groups(router="tok", layer_decay=0.8, share_router=False)
    gates = [each[f"router.gates.{number}.bias"] for number in range(4)]
    assert gates == pytest.approx([0.8 ** (14 - depth) for depth in (3, 6, 9, 12)])


def test_without_decay_there_is_one_group():
    assert set(base_groups(router="seq").values()) == {1.0}


def test_entropy_is_per_text_and_zero_weight_gives_none(deep_model):
    method = build(deep_model, router="seq", entropy_weight=0.25).train()
    found = method.encode_side(texts(), "query").auxiliary["entropy"]
    assert found.shape == (len(LENGTHS),)
    assert (found <= 0).all()
    assert (found >= -0.25 * math.log(2)).all()
    assert (
        build(deep_model, router="seq", entropy_weight=0.0).train().encode_side(texts(), "query").auxiliary
        == {}
    )
    assert build(deep_model).train().encode_side(texts(), "query").auxiliary == {}
    assert method.eval().encode_side(texts(), "query").auxiliary == {}
