"""The explanation ``domains``: its numbers against a plain computation over each query alone."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
import torch

from dretrieve.errors import UsageError
from dretrieve.jobs.explain import ExplainConfig, run
from dretrieve.models.base import TokenBatch
from dretrieve.models.ddr import Ddr
from dretrieve.models.ddr_config import DdrConfig
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.prefix import RoutedPrefixes
from dretrieve.text.collection import Collection

MEAN = {"pooling": "mean", "query_max_len": 32, "passage_max_len": 32}
NAMES = ("medical", "qa", "science")
DOMAINS = "+".join(NAMES)
SPREAD = {"input": 1, "layer": 0.5}  # of the router, so that weights are neither equal nor 0 and 1


@pytest.fixture
def model_of(tiny_model, tmp_path):
    """``model_of(router="layer")``: a saved model whose router tells queries apart, unlike a fresh one."""

    def model(domains=DOMAINS, **options):
        general, folder = tmp_path / "general", tmp_path / "-".join(["ddr", *options.values()])
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(1)
            save_model(Ddr.build(DdrConfig(**MEAN, prefix_length=3), str(tiny_model)), general)
            if not domains:
                return str(general)
            method = Ddr.build(DdrConfig(**MEAN, train_domains=domains, **options), str(general)).eval()
            for name in method.names:
                method.domains[name].prefix.normal_()
                method.domains[name].router.normal_(std=SPREAD[options["router"]])
            save_model(method, folder)
        return str(folder)

    return model


@pytest.fixture
def config(model_of, tiny_collection):
    return ExplainConfig(
        model=model_of(router="input"),
        corpus=(str(tiny_collection),),
        queries=(f"{tiny_collection}:test",),
        settings={"routing": "soft"},
        device="cpu",
        precision="fp32",
    )


def found(config):
    return run(config).data["explanations"]["domains"]


def b_of(config):
    """Query id to b [N] by the router's formula, from the input embeddings of each text alone."""
    model, by_id = load_model(config.model), {}
    method, texts = model.encoder, Collection.open(config.queries[0]).queries()
    rows = torch.stack([method.domains[name].router for name in method.names]).detach()
    for record in texts.records(0, len(texts)):
        ids = tokens_of(model, record).input_ids
        with torch.no_grad():
            x = method.encoder.backbone.embeddings(input_ids=ids).mean(dim=1)[0]
        by_id[record.id] = (rows[:, :-1] @ x + rows[:, -1]).softmax(dim=0).numpy()
    return by_id


def tokens_of(model, record):
    ids = model.tokenizers["query"].tokenize([record]).ids
    ids = torch.from_numpy(ids.astype(np.int64))[None]
    return TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool))


def test_weights_are_the_routers_of_every_query_alone(config):
    data, alone = found(config), b_of(config)
    assert (data["domains"], data["routing"], data["router"]) == (list(NAMES), "soft", "input")
    expected = np.stack(list(alone.values()))
    said = data["collections"]["tiny"]
    np.testing.assert_allclose(said["weights"], expected.mean(axis=0), atol=1e-5)
    assert said["queries"] == len(alone)
    assert said["counts"] == np.bincount(expected.argmax(axis=1), minlength=3).tolist()
    assert [of["id"] for of in data["queries"]["tiny"]] == list(alone)[:3]
    for of in data["queries"]["tiny"]:
        np.testing.assert_allclose(of["weights"], alone[of["id"]], atol=1e-5)
    assert 1.2 < said["domains_in_use"] < 3, "the router tells queries apart"
    assert expected.std(axis=0).min() > 0.02


def test_top_k_is_a_softmax_over_the_best(config):
    data, alone = found(replace(config, settings={"routing": "topk", "top_k": 2})), b_of(config)
    for of in data["queries"]["tiny"]:
        b = alone[of["id"]]
        b = np.where(b == b.min(), 0, b)
        np.testing.assert_allclose(of["weights"], b / b.sum(), atol=1e-5)


@pytest.mark.parametrize(("precision", "close"), [("fp32", 1e-5), ("bf16", 0.02)])
def test_both_engines_give_the_weights_of_queries_of_other_lengths(config, precision, close, tiny_collection):
    """In one batch, where the packed engine sorts them by length."""
    file = tiny_collection / "queries.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["text"] = " ".join([line["text"]] * (1 + 3 * number % 5))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data, alone = found(replace(config, precision=precision)), b_of(config)
    for of in data["queries"]["tiny"]:
        np.testing.assert_allclose(of["weights"], alone[of["id"]], atol=close)


def test_a_router_of_each_layer_is_shown_by_its_mean(config, model_of):
    config = replace(config, model=model_of(router="layer"))
    page = run(config).page
    assert "weights are means over the layers" in page.sections[0].text[1]
    seen = []

    class Recorded(RoutedPrefixes):
        def weights(self, states, layout):
            seen.append(super().weights(states, layout))
            return seen[-1]

    model = load_model(config.model, settings=config.settings)
    query = Collection.open(config.queries[0]).queries().records(0, 1)[0]
    batch = tokens_of(model, query)
    with torch.no_grad():
        prefixes = model.encoder.prefixes(batch, "query")
        prefixes.__class__ = Recorded
        model.encoder.encoder(batch, prefixes)
    assert len(seen) == 2
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)
    weights = found(config)["queries"]["tiny"][0]["weights"]
    np.testing.assert_allclose(weights, torch.stack(seen).mean(dim=0)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "weights", "said"),
    [
        ({"routing": "prior", "domains": "qa"}, [0, 1, 0], "all of it goes to the domain that was given, qa"),
        (
            {"routing": "uniform", "domains": "medical+qa"},
            [0.5, 0.5, 0],
            "equal for medical and qa, whatever",
        ),
        ({"routing": "uniform"}, [1 / 3, 1 / 3, 1 / 3], "equal for medical, qa and science, whatever the"),
    ],
)
def test_what_is_given_is_not_chosen(config, settings, weights, said):
    result = run(replace(config, settings=settings))
    assert said in result.page.sections[0].text[0]
    (of, *_) = result.data["explanations"]["domains"]["queries"]["tiny"]
    np.testing.assert_allclose(of["weights"], weights, atol=1e-6)


def test_prior_routing_is_a_softmax_over_the_given_domains(config):
    config = replace(config, settings={"routing": "prior", "domains": "medical+science"})
    data, alone = found(config), b_of(config)
    for of in data["queries"]["tiny"]:
        b = alone[of["id"]] * [1, 0, 1]
        np.testing.assert_allclose(of["weights"], b / b.sum(), atol=1e-5)
    text = run(config).page.sections[0].text[0]
    assert "a softmax of the router over the domains that were given, medical and science; the others" in text


def test_the_page_shows_a_heat_map_and_bars(config, tmp_path):
    result = run(replace(config, output=tmp_path / "out"))
    names = {path.name for path in result.written}
    assert names == {
        "explain.html",
        "explain.json",
        "domains.svg",
        "query-1.svg",
        "query-2.svg",
        "query-3.svg",
    }
    for path in result.written:
        if path.suffix == ".svg":
            ET.parse(path)
    heat, *each = result.page.tables
    assert list(heat.columns) == ["collection", "queries", *NAMES, "in use"]
    weight = result.data["explanations"]["domains"]["collections"]["tiny"]["weights"][0]
    assert heat.rows[0][2].endswith(f" {100 * weight:.1f}")
    first = result.data["explanations"]["domains"]["queries"]["tiny"][0]
    assert each[0].title == f"tiny, {first['id']}: {first['text']}"
    assert [len(row[2]) for row in each[0].rows] == [round(30 * weight) for weight in first["weights"]]
    written = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert written["explanations"]["domains"] == result.data["explanations"]["domains"]


def test_the_query_that_is_asked_for_is_shown_alone(config):
    data = found(replace(config, query=("q-chess-2",)))
    assert [of["id"] for of in data["queries"]["tiny"]] == ["q-chess-2"]
    assert data["collections"]["tiny"]["queries"] == 6


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"queries": ()}, "--queries is missing: queries alone have domains; give --queries DIR:split"),
        (
            {"settings": {"routing": "none"}},
            "queries read the general prefix alone; choose prior, topk, soft",
        ),
        ({"settings": {"routing": "prior"}}, "nothing says which; give --set domains=… with one or more of"),
        (
            {"settings": {"routing": "prior", "domains": "law"}},
            "no domain 'law'; it has medical, qa, science",
        ),
        ({"tsne": True}, "--tsne: ddr has no picture of texts; leave that option out"),
    ],
)
def test_what_cannot_be_explained_is_refused(config, changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        run(replace(config, **changes))


def test_a_model_without_domains_is_refused(config, model_of):
    model = model_of(domains="")
    with pytest.raises(
        UsageError, match=f"--model {model} has the general prefix alone, so there are no dom"
    ):
        run(replace(config, model=model, settings={}))
