"""`ddr`: its reductions, its routing restated by hand, its two trainings, its files, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.jobs.encode import EncodeConfig
from dretrieve.jobs.encode import run as encode
from dretrieve.jobs.search import SearchConfig
from dretrieve.jobs.search import run as search
from dretrieve.jobs.train import run
from dretrieve.models.base import TokenBatch
from dretrieve.models.ddr import Ddr, module_card, module_file
from dretrieve.models.ddr_config import DdrConfig
from dretrieve.models.encoder import Encoder
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.prefix import Domain, softmax_over
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.training.device import save_activation_memory
from dretrieve.types import Record
from tests.common import Told, num_resumed, training

MEAN = {"pooling": "mean", "normalize": "no", "query_max_len": 32, "passage_max_len": 32}
DOMAINS = "medical+qa+science"
RECORDS = [
    Record(str(row), "", text)
    for row, text in enumerate(["bees hive", "moon", "lava ocean rook bishop tide", "rook", "flour yeast"])
]


@pytest.fixture
def general(deep_model, tmp_path):
    """A saved model of the general prefix, P = 5."""
    torch.manual_seed(1)
    save_model(Ddr.build(DdrConfig(**MEAN, prefix_length=5), str(deep_model)), tmp_path / "general")
    return tmp_path / "general"


def built(folder, domains=DOMAINS, **options):
    """Return a method with domains whose prefixes and router are not near zero."""
    torch.manual_seed(2)
    method = Ddr.build(DdrConfig(**MEAN, train_domains=domains, **options), str(folder)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in method.names:
            for part in method.domains[name].parameters():
                part.copy_(torch.randn(part.shape, generator=generator) * 0.5)
    return method


def vectors(method, batch, side="query", **choices):
    method.choose(choices)
    with torch.no_grad():
        return method.encode_side(batch, side).vectors


def labelled(batch, labels):
    return TokenBatch(batch.input_ids, batch.mask, columns={"domains": tuple(labels)})


@pytest.fixture
def batch(batch_of):
    return batch_of((7, 3, 12, 3))


def test_domains_of_zero_are_the_general_prefix_bit_for_bit(general, batch):
    torch.manual_seed(2)
    method = Ddr.build(DdrConfig(**MEAN, train_domains=DOMAINS), str(general)).eval()
    expected = vectors(Ddr.build(DdrConfig(**MEAN), str(general)).eval(), batch)
    assert torch.equal(vectors(method, batch, "passage"), expected)
    for choices in ({"routing": "soft"}, {"domains": "qa"}, {"routing": "topk"}, {"routing": "none"}):
        assert torch.equal(vectors(method, batch, **choices), expected)


def test_one_prior_domain_is_uniform_over_it_bit_for_bit(general, batch):
    method = built(general)
    one = vectors(method, batch, routing="prior", domains="qa")
    assert torch.equal(one, vectors(method, batch, routing="uniform", domains="qa"))
    assert not torch.allclose(one, vectors(method, batch, routing="none"), atol=1e-2)
    many = vectors(method, batch, routing="prior", domains="qa+science")
    assert not torch.equal(many, vectors(method, batch, routing="uniform", domains="qa+science"))


@pytest.mark.parametrize("router", ["input", "layer"])
def test_equation_four_by_hand(general, batch, router):
    """Each text alone, its summed prefix put into the place of the general one."""
    method = built(general, router=router)
    found = vectors(method, batch, routing="topk", top_k=2)
    rows = torch.stack([method.domains[name].router for name in method.names])
    own = torch.stack([method.domains[name].prefix for name in method.names])
    with torch.no_grad():
        for row in range(len(batch)):
            alone = batch.rows(row, row + 1)
            states = method.encoder.backbone.embeddings(input_ids=alone.input_ids)
            before = method.general.detach().clone()
            for layer in range(len(before)):
                if layer == 0 or router == "layer":
                    z = rows[:, :-1] @ states.mean(dim=1)[0] + rows[:, -1]
                    kept = z.argsort(descending=True)[:2]
                    b = (z[kept] - z.max()).exp() / (z[kept] - z.max()).exp().sum()
                before[layer] += torch.einsum("n,nkpd->kpd", b, own[kept, layer])
                states = layer_by_hand(method.encoder.backbone, layer, states, before[layer])
            torch.testing.assert_close(found[row], states[0].mean(dim=0), atol=1e-4, rtol=1e-4)


def layer_by_hand(backbone, number, states, prefix):
    """A BERT layer whose attention reads the prefix's keys and values first."""
    layer = backbone.encoder.layer[number]
    own, heads = layer.attention.self, backbone.config.num_attention_heads
    query = own.query(states)
    key, value = (
        torch.cat([before.unsqueeze(0), of(states)], dim=1)
        for before, of in zip(prefix, (own.key, own.value), strict=True)
    )
    parts = [of.view(1, of.shape[1], heads, -1).transpose(1, 2) for of in (query, key, value)]
    scores = parts[0] @ parts[1].transpose(2, 3) / math.sqrt(parts[0].shape[-1])
    context = (scores.softmax(dim=-1) @ parts[2]).transpose(1, 2).reshape(states.shape)
    attended = layer.attention.output(context, states)
    return layer.output(layer.intermediate(attended), attended)


def test_softmax_over_the_chosen_alone():
    chosen = torch.tensor([[True, True, False], [False, False, False], [False, False, True]])
    found = softmax_over(torch.tensor([[1.0, 1.0, 9.0]]).expand(3, -1), chosen)
    assert found.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("routing", ["prior", "topk", "soft", "uniform"])
@pytest.mark.parametrize("positions", ["zero", "shifted"])
def test_a_mixed_batch_is_one_by_one_and_packed_is_the_training_forward(
    deep_model, tmp_path, batch, routing, positions
):
    torch.manual_seed(1)
    start = Ddr.build(DdrConfig(**MEAN, prefix_length=5, prefix_positions=positions), str(deep_model))
    save_model(start, tmp_path / "g")
    method = built(tmp_path / "g", routing=routing)
    batch = labelled(batch, ["qa", None, "medical+science", "qa+science"])
    whole = vectors(method, batch)
    for row in range(len(batch)):
        torch.testing.assert_close(
            vectors(method, batch.rows(row, row + 1))[0], whole[row], atol=1e-5, rtol=1e-5
        )
    method.encoder.prepare(torch.device("cpu"), torch.float32)
    torch.testing.assert_close(vectors(method, batch), whole, atol=1e-5, rtol=1e-5)
    assert method.encoder.ran == {("packed", "fp32", "sdpa by length")}
    method.encoder.prepare(torch.device("cpu"), torch.bfloat16)
    lower = vectors(method, batch)
    assert float(torch.cosine_similarity(lower, whole).min()) > 0.9999


def test_labels_say_which_domains_a_query_reads(general, batch):
    method = built(general)
    found = vectors(method, labelled(batch, ["qa", None, ["medical", "science"], ""]))
    alone = {
        "qa": vectors(method, batch, domains="qa")[0],
        "none": vectors(method, batch, routing="none"),
        "two": vectors(method, batch, domains="science+medical")[2],
    }
    for row, expected in ((0, alone["qa"]), (1, alone["none"][1]), (2, alone["two"]), (3, alone["none"][3])):
        torch.testing.assert_close(found[row], expected, atol=1e-6, rtol=1e-6)


def test_shifted_positions_are_positions_behind_the_prefix(general, deep_model, batch):
    torch.manual_seed(1)
    config = DdrConfig(**MEAN, prefix_length=5, prefix_positions="shifted")
    method = Ddr.build(config, str(deep_model)).eval()
    expected = vectors(Ddr.build(DdrConfig(**MEAN), str(general)).eval(), batch)
    assert not torch.allclose(vectors(method, batch), expected, atol=1e-3)
    table = method.encoder.backbone.embeddings.position_embeddings.weight
    with torch.no_grad():
        table[5:].copy_(table[:-5].clone())
    torch.testing.assert_close(vectors(method, batch), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(UsageError, match="texts of 60 tokens behind 5 positions of a prefix are too long"):
        Ddr.build(replace(config, passage_max_len=60), str(deep_model))


def test_saved_and_loaded_are_the_same_and_files_stand_by_side(general, deep_model, tmp_path):
    method = built(general, routing="topk")
    weights = "model.safetensors"
    assert (general / "backbone" / weights).samefile(deep_model / weights), "the encoder is frozen"
    card = save_model(method, tmp_path / "domains")
    files = {module_file(name) for name in method.names}
    assert set(card.passage.parts) == {"general.safetensors"}
    assert set(card.query.parts) == {"general.safetensors", *files}
    assert card.inference == {"routing": "topk", "domains": "", "top_k": 2, "router": "input"}
    again = load_model(tmp_path / "domains", "cpu", "fp32").encoder.state_dict()
    assert set(again) == set(method.state_dict())
    assert all(torch.equal(again[name], of) for name, of in method.state_dict().items())
    assert module_card(tmp_path / "domains" / module_file("qa")) == {
        "domain": "qa",
        "prefix_length": 5,
        "prefix_positions": "zero",
        "router": "input",
        "encoder": card.passage.files["model.safetensors"],
        "general": card.passage.parts["general.safetensors"],
    }


def test_a_domain_more_leaves_the_passages_and_the_others_bits(general, tmp_path):
    """The passage side is that of the general prefix, whatever domains come."""
    start = load_model(general, "cpu", "fp32").card
    save_model(built(general), tmp_path / "three")
    torch.manual_seed(9)
    more = Ddr.build(DdrConfig(**MEAN, train_domains="legal+news"), str(tmp_path / "three"))
    with torch.no_grad():
        more.domains["legal"].prefix.normal_()
    save_model(more, tmp_path / "five")
    choices = {"routing": "prior", "domains": "medical+science+qa"}
    models = [load_model(tmp_path / name, "cpu", "fp32", choices) for name in ("three", "five")]
    assert models[1].encoder.names == ("legal", "medical", "news", "qa", "science")
    assert len({of.card.fingerprint("passage") for of in models} | {start.fingerprint("passage")}) == 1
    found = [encode_records(of, "query", RECORDS, "float32").values for of in models]
    assert np.array_equal(*found)
    three, five = (load_file(tmp_path / name / module_file("qa")) for name in ("three", "five"))
    assert all(torch.equal(three[name], five[name]) for name in three)


def test_parameters_from_configurations_alone():
    bert, mini = BertConfig(), BertConfig(num_hidden_layers=6, hidden_size=384)
    with torch.device("meta"):
        large = Domain(bert.num_hidden_layers, 128, bert.hidden_size)
        small = Domain(mini.num_hidden_layers, 32, mini.hidden_size)
    assert (large.prefix.numel(), 8 * large.prefix.numel(), 8 * large.router.numel()) == (
        2_359_296,
        18_874_368,
        6_152,
    )
    assert small.prefix.numel() == 147_456


def test_a_module_file_is_its_numbers(deep_model, tmp_path):
    torch.manual_seed(1)
    start = Ddr.build(DdrConfig(**MEAN, prefix_length=32), str(deep_model))
    save_model(start, tmp_path / "g")
    save_model(built(tmp_path / "g"), tmp_path / "d")
    size = (tmp_path / "d" / module_file("qa")).stat().st_size
    assert size <= 1.05 * 4 * start.general.numel()


def config_of(backbone, data, output, steps=4, options=None, **own):
    given = {"max_steps": steps, "per_device_train_batch_size": 3, "save_steps": 2} | (options or {})
    return training("ddr", {"pooling": "mean", "normalize": "yes"} | own, backbone, data, output, **given)


@pytest.fixture(scope="module")
def trained(deep_model, kept_collection, tmp_path_factory):
    """A trained general prefix; nobody writes into its folder."""
    folder = tmp_path_factory.mktemp("trained") / "G"
    run(config_of(deep_model, (f"{kept_collection}:train",), folder, prefix_length=5))
    return folder


def test_the_training_of_the_general_prefix_leaves_the_encoder(deep_model, trained):
    plain = Shared.build(SharedConfig(**MEAN), str(deep_model)).encoder.backbone.state_dict()
    ours = load_file(trained / "backbone" / "model.safetensors")
    assert all(torch.equal(ours[name], of) for name, of in plain.items())


def test_a_rate_is_given_though_it_is_the_other_methods_default(deep_model, kept_collection, trained):
    data, options = (f"{kept_collection}:train",), {"learning_rate": 2e-5}
    with pytest.raises(PreconditionError, match="other options .learning_rate_given"):
        run(config_of(deep_model, data, trained, options=options, prefix_length=5))


@pytest.fixture
def two_sets(kept_collection):
    """Data whose queries read two domains, or a third."""
    return tuple(
        f"name={name},path={kept_collection},split={split},domains={labels}"
        for name, split, labels in (("one", "train", "medical+qa"), ("two", "dev", "science"))
    )


@pytest.mark.parametrize(
    "routing", ["prior", *(pytest.param(of, marks=pytest.mark.slow) for of in ("topk", "soft"))]
)
def test_interrupted_and_resumed_is_the_unbroken_model(two_sets, tmp_path, trained, routing):
    own = {"train_domains": DOMAINS, "routing": routing}
    assert num_resumed(lambda output: config_of(trained, two_sets, output, **own), tmp_path) == 5


def test_the_general_prefix_is_resumed_too(kept_collection, deep_model, tmp_path):
    data = (f"{kept_collection}:train",)
    assert num_resumed(lambda output: config_of(deep_model, data, output, prefix_length=5), tmp_path) == 2


@pytest.mark.parametrize("routing", ["prior", "topk", "soft"])
def test_a_training_of_domains_moves_its_own(two_sets, tmp_path, trained, routing):
    output = tmp_path / "D"
    run(config_of(trained, two_sets, output, train_domains=DOMAINS, routing=routing))
    assert (output / "general.safetensors").read_bytes() == (trained / "general.safetensors").read_bytes()
    modules = {name: load_file(output / module_file(name)) for name in DOMAINS.split("+")}
    moved = [float(of[f"domains.{name}.prefix"].abs().max()) > 1e-3 for name, of in modules.items()]
    assert sum(moved) >= (2 if routing == "topk" else 3)
    both = ["one", "two"]
    read = (
        {"medical": ["one"], "qa": ["one"], "science": ["two"]}
        if routing == "prior"
        else {of: both for of in modules}
    )
    assert {name: module_card(output / module_file(name))["data"] for name in modules} == read
    cards = [load_model(str(of)).card for of in (trained, output)]
    assert cards[0].fingerprint("passage") == cards[1].fingerprint("passage")
    assert cards[1].inference["routing"] == routing
    general = load_file(trained / "general.safetensors")["general"].numel()
    counts = [read_manifest(manifest_path(of)).counts for of in (trained, output)]
    own = sum(of.numel() for module in modules.values() for of in module.values())
    assert [of["trained"] for of in counts] == [general, own]


def test_a_domain_is_added_and_nothing_else_learns(tiny_collection, tmp_path, trained):
    data = (f"path={tiny_collection},split=train,domains=medical+qa",)
    run(config_of(trained, data, tmp_path / "D", train_domains="medical+qa"))
    data = (f"path={tiny_collection},split=dev,domains=legal+qa",)
    more = config_of(tmp_path / "D", data, tmp_path / "D2", train_domains="legal")
    run(more)
    for name in ("general.safetensors", module_file("medical"), module_file("qa")):
        assert (tmp_path / "D" / name).read_bytes() == (tmp_path / "D2" / name).read_bytes(), name
    models = [load_model(str(tmp_path / of), settings={"domains": "medical+qa"}) for of in ("D", "D2")]
    found = [encode_records(of, "query", RECORDS, "float32").values for of in models]
    assert found[0].tobytes() == found[1].tobytes()
    assert models[0].fingerprint("passage") == models[1].fingerprint("passage")
    assert float(load_file(tmp_path / "D2" / module_file("legal"))["domains.legal.prefix"].abs().max()) > 0


def test_given_passage_vectors_are_the_passages(tiny_collection, tmp_path, trained):
    encode(
        EncodeConfig(
            model=str(trained), corpus=str(tiny_collection), output=tmp_path / "P", precision="fp32",
            dtype="float32",
        )
    )  # fmt: skip
    word = f"path={tiny_collection},split=train,domains=qa"
    own = {"train_domains": "qa", "options": {"train_group_size": 1}}
    run(config_of(trained, (word,), tmp_path / "texts", **own))
    word = f"{word},passage_vectors={tmp_path / 'P'}"
    run(config_of(trained, (word,), tmp_path / "given", **own))
    one, other = (load_file(tmp_path / name / module_file("qa")) for name in ("texts", "given"))
    torch.testing.assert_close(one["domains.qa.prefix"], other["domains.qa.prefix"], atol=2e-3, rtol=1e-2)
    with pytest.raises(UsageError, match="takes passage vectors only where what gives them stays"):
        run(config_of(trained, (word,), tmp_path / "x", general_rate=7e-6, **own))
    run(config_of(trained, (f"{tiny_collection}:train",), tmp_path / "G2", steps=1))
    with pytest.raises(VerificationError, match="encoded by another model"):
        run(config_of(tmp_path / "G2", (word,), tmp_path / "x", **own))


def test_another_general_prefix_is_another_passage_side(tiny_collection, tmp_path, trained):
    """One index for all domains, and none for another general prefix; the paper's rate moves that too."""
    word = f"path={tiny_collection},split=train,domains=qa"
    run(config_of(trained, (word,), tmp_path / "D", train_domains="qa"))
    moved = config_of(trained, (word,), tmp_path / "M", steps=1, train_domains="qa", general_rate=7e-6)
    run(moved)
    index = tmp_path / "index"
    encode(EncodeConfig(model=str(trained), corpus=str(tiny_collection), output=index))
    asked = {"index": index, "queries": f"{tiny_collection}:test", "hits": 3}
    search(SearchConfig(**asked, model=str(trained), output=tmp_path / "g.run"))
    vectors = {}
    for name in ("D", "M"):
        vectors[name] = tmp_path / f"{name}.vectors"
        encode(
            EncodeConfig(
                model=str(tmp_path / name), queries=f"{tiny_collection}:test", output=vectors[name],
                settings={"domains": "qa"},
            )
        )  # fmt: skip
    given = {"index": index, "hits": 3}
    search(SearchConfig(**given, query_embeddings=vectors["D"], output=tmp_path / "d.run"))
    with pytest.raises((PreconditionError, VerificationError)):
        search(SearchConfig(**given, query_embeddings=vectors["M"], output=tmp_path / "m.run"))


def test_shards_are_the_same_bytes(general, tiny_collection, tmp_path):
    lines = [f'{{"_id": "q{row}", "text": "{"bees hive moon " * (row % 4 + 1)}"}}\n' for row in range(1300)]
    (tiny_collection / "queries.jsonl").write_text("".join(lines))
    (tiny_collection / "qrels" / "many.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{row}\tbees-0\t1\n" for row in range(1300))
    )
    save_model(built(general, routing="soft"), tmp_path / "D")
    common = {"model": str(tmp_path / "D"), "queries": f"{tiny_collection}:many", "precision": "bf16"}
    encode(EncodeConfig(**common, output=tmp_path / "whole"))
    for shard in (1, 0):
        encode(EncodeConfig(**common, output=tmp_path / "shards", shard=(shard, 2)))
    one, other = (Embeddings.open(tmp_path / name).all_vectors() for name in ("whole", "shards"))
    assert np.array_equal(one.values, other.values)


def test_no_layer_is_mixed_before_its_turn(general, batch, monkeypatch):
    """The largest tensor of a forward is one layer's."""
    method, sizes = built(general), []
    states = Encoder._layer

    def watched(self, number, *rest):
        sizes.append(method_sizes(rest[-1]))
        return states(self, number, *rest)

    def method_sizes(hooks):
        return max(of.numel() for of in vars(hooks).values() if isinstance(of, torch.Tensor))

    monkeypatch.setattr(Encoder, "_layer", watched)
    vectors(method, batch, routing="soft")
    assert max(sizes) == method.general.numel()


def test_dropout_is_of_the_prefix_and_spares_constants(general, batch):
    method = built(general, routing="soft").train()
    assert not method.encoder.backbone.training
    method.choose({})

    def twice(side, draws=(1, 2)):
        found = []
        for seed in draws:
            torch.manual_seed(seed)
            found.append(method.encode_side(batch, side).vectors)
        return torch.equal(*found)

    assert (twice("query"), twice("query", (3, 3)), twice("passage")) == (False, True, True)
    method.config = DdrConfig(**MEAN, prefix_length=5, prefix_positions="zero")
    assert not twice("passage"), "the general prefix is trained"


@pytest.mark.parametrize("routing", ["prior", "topk", "soft"])
def test_gradient_checkpointing_repeats_the_routing(general, batch, routing):
    asked, found = labelled(batch, ["qa", "qa+science", "medical", "medical+qa"]), []
    for saving in (False, True):
        method = built(general, routing=routing, prefix_dropout=0.0)
        method.choose({})
        if saving:
            save_activation_memory(method)
        method.encode_side(asked, "query").vectors.square().sum().backward()
        found.append({name: of.grad for name, of in method.named_parameters() if of.grad is not None})
    plain, again = found
    assert plain.keys() == again.keys()
    assert sum(name.endswith("router") for name in plain) == 3
    for name, of in plain.items():
        torch.testing.assert_close(again[name], of, atol=1e-6, rtol=1e-5)


def test_rates_of_the_groups(general):
    method = built(general, domains="qa", general_rate=7e-6, router_rate=1e-3)
    (phase,) = method.phases()
    groups = {of.name: of for of in method.parameter_groups(phase)}
    assert {name: of.learning_rate for name, of in groups.items()} == {
        "domains": None,
        "router": 1e-3,
        "general": 7e-6,
    }
    assert phase.options["learning_rate"] == 7e-3
    start = Ddr.build(DdrConfig(**MEAN), str(general))
    assert [of.name for of in start.parameter_groups(*start.phases())] == ["general"]


def test_queries_without_domains_are_counted_and_said(tiny_collection, tmp_path, trained):
    said = Told()
    run(config_of(trained, (f"{tiny_collection}:train",), tmp_path / "D", train_domains="qa"), said)
    assert any("6 of 6 queries have no domains= and read the general prefix" in note for note in said.lines)
    assert "data" not in module_card(tmp_path / "D" / module_file("qa"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"routing": "best"}, "prior or topk or soft or uniform or none"),
        ({"domains": "qa+sport"}, "no domain 'sport'; it has medical, qa, science"),
        ({"domains": "qa+qa"}, "qa is given twice"),
        ({"domains": "QA"}, "no domain's name"),
        ({"routing": "topk", "top_k": 4}, "top_k=4: this model has 3 domains"),
        ({"routing": "soft", "domains": "qa"}, "routing soft does not look at them"),
        ({"top_k": 1}, "top_k=1: routing prior does not ask for it; leave it out, or choose routing=topk"),
        ({"routing": "uniform", "router": "layer"}, "router=layer: routing uniform does not ask for it"),
    ],
)
def test_choices_that_do_not_fit_are_refused(general, tmp_path, settings, words):
    save_model(built(general), tmp_path / "D")
    with pytest.raises(UsageError, match=words.replace("+", r"\+")):
        load_model(tmp_path / "D", "cpu", "fp32", settings)


def test_domains_of_a_model_that_has_none_are_refused_or_said(general, deep_model, tmp_path, tiny_collection):
    with pytest.raises(UsageError, match="routing=soft: this model has no domains; leave it out"):
        load_model(general, "cpu", "fp32", {"routing": "soft"})
    said = Told()
    word = f"path={tiny_collection},split=train,domains=qa"
    run(config_of(deep_model, (word,), tmp_path / "G", normalize="no"), said)
    assert "tiny: domains= is for --train-domains, and changes nothing without" in said.lines


def test_prior_without_domains_is_refused_for_queries_alone(general, tmp_path, tiny_collection):
    save_model(built(general), tmp_path / "D")
    common = {"model": str(tmp_path / "D")}
    encode(EncodeConfig(**common, corpus=str(tiny_collection), output=tmp_path / "P"))
    with pytest.raises(UsageError, match="--set domains=… with one or more of medical, qa, science"):
        encode(EncodeConfig(**common, queries=f"{tiny_collection}:test", output=tmp_path / "Q"))


def test_a_choice_of_queries_is_refused_for_passages(general, tmp_path, tiny_collection):
    save_model(built(general), tmp_path / "D")
    asked = {"corpus": str(tiny_collection), "output": tmp_path / "P", "settings": {"domains": "qa"}}
    with pytest.raises(UsageError, match="--set domains=qa: no passage's vector depends on it"):
        encode(EncodeConfig(model=str(tmp_path / "D"), **asked))


def test_builds_that_do_not_fit_are_refused(general, deep_model, tmp_path, tiny_collection):
    with pytest.raises(PreconditionError, match="no general prefix to train domains on"):
        Ddr.build(DdrConfig(**MEAN, train_domains="qa"), str(deep_model))
    save_model(built(general), tmp_path / "D")
    with pytest.raises(PreconditionError, match="has the domains medical, qa, science"):
        Ddr.build(DdrConfig(**MEAN), str(tmp_path / "D"))
    moving = {"train_domains": "qa", "general_rate": 7e-6}
    with pytest.raises(UsageError, match="domains medical, science were trained; .* medical.qa.science"):
        Ddr.build(DdrConfig(**MEAN, **moving), str(tmp_path / "D"))
    other = {"train_domains": "legal", "router": "layer"}
    with pytest.raises(UsageError, match="--router layer: .* qa, science learned .* with input; .*legal"):
        Ddr.build(DdrConfig(**MEAN, **other), str(tmp_path / "D"))
    every = DdrConfig(**MEAN, train_domains=f"{DOMAINS}+legal", router="layer")
    assert Ddr.build(every, str(tmp_path / "D")).default_choices().router == "layer"
    with pytest.raises(PreconditionError, match="prefix_length 5.*prefix_length 7.*was asked"):
        Ddr.build(DdrConfig(**MEAN, prefix_length=7, train_domains="qa"), str(general))
    with pytest.raises(UsageError, match="top_k=2: this model has 1 domains"):
        Ddr.build(DdrConfig(**MEAN, train_domains="qa", routing="topk"), str(general))
    with pytest.raises(UsageError, match="no domain can be called items"):
        Ddr.build(DdrConfig(**MEAN, train_domains="items"), str(general))
    with pytest.raises(PreconditionError, match="shared would drop"):
        Shared.build(SharedConfig(**MEAN), str(general))
    with pytest.raises(UsageError, match="--routing is of the training of domains"):
        DdrConfig(routing="soft")
    with pytest.raises(
        UsageError, match="--router-rate teaches the router, which --routing uniform does not"
    ):
        DdrConfig(train_domains="qa", routing="uniform", router_rate=1e-3)
    word = f"path={tiny_collection},split=train,domains=sport"
    with pytest.raises(UsageError, match=r"tiny: domains=sport: this model has no domain 'sport'; it has qa"):
        run(config_of(general, (word,), tmp_path / "x", normalize="no", train_domains="qa"))
