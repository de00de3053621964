"""The explanation ``experts``: its numbers against a plain computation over each text alone."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.jobs import encode, search
from dretrieve.jobs.explain import run
from dretrieve.models.base import TokenBatch
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.sb_moe import SbMoe
from dretrieve.models.sb_moe_config import SbMoeConfig
from dretrieve.text.collection import Collection

EXPERTS = 3


@pytest.fixture
def model_of(tiny_model, tmp_path):
    """``model_of(gate="soft")``: a saved model whose gate tells texts apart, as a fresh one's does not."""

    @torch.no_grad()
    def model(bias=(0.0, 0.0, 0.0), **options):
        config = SbMoeConfig(**({"num_experts": EXPERTS, "pooling": "mean"} | options))
        with torch.random.fork_rng():
            torch.manual_seed(4)
            method = SbMoe.build(config, str(tiny_model))
            for name, weights in method.encoder.backbone.named_parameters():
                if "attention" in name and weights.dim() == 2:
                    weights.data.mul_(20)
            x = torch.cat([torch.randint(5, 60, (40, 1)), torch.randint(5, 60, (40, 8))], dim=1)
            x = method.eval().encoder(TokenBatch(x, torch.ones_like(x, dtype=torch.bool)))
            blocks = {method.mixture(side) for side in ("query", "passage")}
            for network in (of.network for of in blocks):
                if network is not None:
                    network[-1].weight.data.mul_(200)
                    network[-1].bias.data = torch.tensor(bias) - (network(x) - network[-1].bias).mean(dim=0)
        name = "-".join(map(str, (*bias, *options.values())))
        save_model(method, tmp_path / f"sb-moe-{name}")
        return str(tmp_path / f"sb-moe-{name}")

    return model


def found(config):
    return run(config).data["explanations"]["experts"]


@torch.no_grad()
def alone(config):
    """By side: ids, x, y, weights, and the vectors of all experts, of each text by itself, unpacked."""
    model = load_model(config.model, settings=config.settings)
    method = SbMoe.load(Path(config.model), model.card).eval()
    method.choose(model.card.inference | dict(config.settings))
    collection = Collection.open(config.queries[0])
    seen = {}
    for side, texts in (("query", collection.queries()), ("passage", collection.corpus())):
        rows = []
        for record in texts.records(0, len(texts)):
            ids = model.tokenizers[side].tokenize([record]).ids
            tokens = torch.from_numpy(ids.astype(np.int64))[None]
            batch = TokenBatch(tokens, torch.ones_like(tokens, dtype=torch.bool), (record.id,))
            x = method.encoder(batch)
            block = method.mixture(side)
            weights = block(x, method.choices.activated, (record.id,)).weights[0]
            outputs = torch.cat([expert(x) for expert in block.experts])
            y = method.encode_side(batch, side).vectors[0]
            rows.append((record.id, x[0].numpy(), y.numpy(), weights.numpy(), outputs.numpy()))
        seen[side] = rows
    return seen


@pytest.mark.parametrize("options", [{}, {"gate": "soft"}, {"block": "sides"}, {"normalize": "no"}])
def test_shares_and_agreement_are_those_of_every_text_alone(config, model_of, options):
    config = replace(config, model=model_of(**options))
    data, seen = found(config), alone(config)
    expert = {side: {row[0]: int(row[3].argmax()) for row in rows} for side, rows in seen.items()}
    for side, rows in seen.items():
        said = data["texts"]["tiny"][side]
        assert said["counts"] == np.bincount(list(expert[side].values()), minlength=EXPERTS).tolist()
        shares = np.mean([row[3] / row[3].sum() for row in rows], axis=0)
        np.testing.assert_allclose(said["weights"], shares, atol=2e-6)
    pairs = [(f"q-{topic}-2", f"{topic}-2") for topic in ("bees", "tides", "bread", "chess", "volcano")]
    pairs.append(("q-printing-2", "printing-2"))
    chosen = [(expert["query"][query], expert["passage"][passage]) for query, passage in pairs]
    chance = sum(
        np.mean([one == of for one, _ in chosen]) * np.mean([other == of for _, other in chosen])
        for of in range(EXPERTS)
    )
    said = data["agreement"]["tiny"]
    assert (said["pairs"], said["of"]) == (6, 6)
    assert said["agree"] == pytest.approx(np.mean([one == other for one, other in chosen]), abs=1e-6)
    assert said["chance"] == pytest.approx(chance, abs=1e-6)
    assert len(set(expert["passage"].values())) > 1, "the gate tells texts apart"


@pytest.mark.parametrize("block", ["shared", "sides"])
def test_likeness_is_the_mean_cosine_of_two_experts(config, model_of, block):
    config = replace(config, model=model_of(block=block))
    data, seen = found(config)["cosine"], alone(config)
    groups = {"queries": seen["query"], "passages": seen["passage"]}
    if block == "shared":
        groups = {"both": [*seen["query"], *seen["passage"]]}
    assert set(data) == set(groups)
    for name, rows in groups.items():
        units = [row[4] / np.linalg.norm(row[4], axis=1, keepdims=True) for row in rows]
        expected = np.mean([of @ of.T for of in units], axis=0)
        assert data[name]["texts"] == len(rows)
        np.testing.assert_allclose(data[name]["experts"], expected, atol=1e-5)
        pairs = [expected[one, other] for one, other in combinations(range(EXPERTS), 2)]
        assert data[name]["mean"] == pytest.approx(np.mean(pairs), abs=1e-5)


def test_all_experts_by_their_weights(config):
    config = replace(config, settings={"activated": 0})
    data, seen = found(config), alone(config)
    assert run(config).data["method"] == "sb-moe", "as the command line has it"
    weights = np.mean([row[3] for row in seen["passage"]], axis=0)
    np.testing.assert_allclose(data["texts"]["tiny"]["passage"]["weights"], weights, atol=2e-6)
    assert (np.array(data["texts"]["tiny"]["passage"]["weights"]) > 0).all()
    page = run(config).page
    assert page.sections[0].text[0].startswith("activated=0 (ALL): a text goes to all of the 3 experts")
    assert "passages: mean weight" in page.tables[0].columns


def principal(vectors):
    centred = vectors - vectors.mean(axis=0)
    values, directions = np.linalg.eigh(centred.T @ centred)
    best = directions[:, [-1, -2]]
    best *= np.sign(best[np.abs(best).argmax(axis=0), [0, 1]])
    return centred @ best, values[[-1, -2]] / values.sum()


def test_the_picture_shows_the_models_own_best_passages(config):
    data, seen = found(config)["picture"], alone(config)
    query = next(row for row in seen["query"] if row[0] == "q-bees-2")
    score = {row[0]: float(row[2] @ query[2]) for row in seen["passage"]}
    assert data["query"] == "q-bees-2", "the first with a relevant passage"
    assert len(data["passages"]) == 30
    assert data["among"] == "of the 30 that were read, by this model's score"
    assert data["relevant"] == ["bees-2"]
    ranked = [score[passage] for passage in data["passages"]]
    np.testing.assert_allclose(ranked, sorted(ranked, reverse=True), atol=1e-6)
    rows = {row[0]: row for row in seen["passage"]}
    shown = [query, *(rows[passage] for passage in data["passages"])]
    assert data["experts"] == [int(row[3].argmax()) for row in shown]
    for when, place in (("before", 1), ("after", 2)):
        points, variance = principal(np.array([row[place] for row in shown], dtype=np.float64))
        np.testing.assert_allclose(data["points"]["pca"][when], points, atol=1e-4)
        np.testing.assert_allclose(data["variance"][when], variance, atol=1e-4)


def drawn_points(svg, panel):
    """By group: where the points of a panel stand, in the drawing's own units (y downwards)."""
    space = "{http://www.w3.org/2000/svg}"
    groups = {of.get("id"): of for of in ET.fromstring(svg).iter(f"{space}g")}
    return {
        name: np.array([[float(use.get("x")), -float(use.get("y"))] for use in of.iter(f"{space}use")])
        for name, of in groups.items()
        if name and name.startswith((f"points-{panel}-", f"query-{panel}", f"relevant-{panel}"))
    }


@pytest.mark.parametrize("tsne", [False, True])
def test_the_pictures_points_are_the_recorded_ones(config, tmp_path, tsne):
    config = replace(config, output=tmp_path / "out", tsne=tsne)
    written = {path.name: path for path in run(config).written}
    kinds = ["pca", "tsne"] if tsne else ["pca"]
    assert set(written) == {"explain.html", "explain.json", *(f"experts-{how}.svg" for how in kinds)}
    data = json.loads(written["explain.json"].read_bytes())["explanations"]["experts"]["picture"]
    experts = np.array(data["experts"][1:])
    for how in kinds:
        for panel, when in enumerate(("before", "after")):
            points = np.array(data["points"][how][when])
            groups = drawn_points(written[f"experts-{how}.svg"].read_text(), panel)
            drawn = np.concatenate([
                groups[f"query-{panel}"],
                *(groups[f"points-{panel}-{number}"] for number in range(len(np.unique(experts)))),
                groups[f"relevant-{panel}"],
            ])  # fmt: skip
            order = [0, *(1 + np.argsort(experts, kind="stable")), 1 + data["passages"].index("bees-2")]
            expected = points[order]
            scale = np.ptp(drawn[:, 0]) / np.ptp(expected[:, 0])  # one for both axes
            moved = (expected - expected.mean(axis=0)) * scale
            np.testing.assert_allclose(drawn - drawn.mean(axis=0), moved, atol=2e-3 * np.ptp(drawn[:, 0]))


@pytest.mark.parametrize("options", [{}, {"gate": "soft"}, {"gate": "random"}, {"gate": "uniform"}])
def test_the_same_bytes_twice(config, model_of, tmp_path, options):
    config = replace(config, model=model_of(**options), limit=20, tsne=True)
    one, other = (run(replace(config, output=tmp_path / name)).written for name in ("one", "other"))
    assert len(one) == 4
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_one_expert_with_nearly_all_texts_is_warned_of(config, model_of):
    one_sided = replace(config, model=model_of(bias=(0.0, 9e3, 0.0)))
    result = run(one_sided)
    assert [line.partition(":")[0] for line in result.data["warnings"]] == [
        "expert 1 has 100.0 % of the queries of tiny",
        "expert 1 has 100.0 % of the passages of tiny",
    ]
    assert sum(line.startswith("WARNING: expert 1 has") for line in result.page.lead) == 2
    assert "warnings" not in run(config).data


@pytest.mark.parametrize(("gate", "experts"), [("random", True), ("uniform", False)])
def test_a_gate_that_looks_at_no_text_has_no_shares(config, model_of, gate, experts):
    config = replace(config, model=model_of(gate=gate))
    result = run(config)
    data = result.data["explanations"]["experts"]
    assert (data["texts"], data["agreement"]) == ({}, {})
    assert data["cosine"]["both"]["texts"] == 36
    assert (data["picture"]["experts"] is not None) == experts
    assert "left out" in result.page.sections[0].text[0] or "plain mean" in result.page.sections[0].text[0]


def test_a_sample_has_pairs_and_a_picture_beyond_it(config):
    data = found(replace(config, limit=3))
    assert sum(data["texts"]["tiny"]["passage"]["counts"]) == 3
    assert (data["agreement"]["tiny"]["pairs"], data["agreement"]["tiny"]["of"]) == (3, 3)
    picture = data["picture"]
    assert len(picture["passages"]) == len({*picture["passages"]}) > 3, "relevant ones beside the sample"
    assert picture["among"].endswith("; --limit 0 reads all 30")
    assert len(picture["relevant"]) == 1


def test_a_query_by_its_id(config, tiny_collection):
    picture = found(replace(config, query=("q-chess-2",)))["picture"]
    assert (picture["query"], picture["relevant"]) == ("q-chess-2", ["chess-2"])
    with pytest.raises(UsageError, match="--query nobody: no such query is read; .*q-bees-2"):
        run(replace(config, query=("nobody",)))
    with pytest.raises(UsageError, match="--query q-chess-2: no such query is read; give --queries"):
        run(replace(config, query=("q-chess-2",), queries=()))
    with pytest.raises(UsageError, match="--query stands 2 times: give sb-moe one"):
        run(replace(config, query=("q-chess-2", "q-tides-2")))


def test_the_hits_of_a_run_are_the_best_passages(config, model_of, tiny_collection, tmp_path):
    lines = [f"q-tides-2 Q0 bread-{part} {part + 1} {9 - part} mine" for part in range(4)]
    (tmp_path / "mine.trec").write_text("\n".join(lines) + "\n")
    given = replace(config, run=tmp_path / "mine.trec", limit=2, query=("q-tides-2",))
    picture = found(given)["picture"]
    assert picture["passages"] == [f"bread-{part}" for part in range(4)]
    assert (picture["among"], picture["relevant"]) == ("of the run", [])
    (tmp_path / "short.trec").write_text("\n".join(lines[:3]) + "\n")
    with pytest.raises(UsageError, match="--tsne places 5 texts or more, and here are 4"):
        run(replace(given, run=tmp_path / "short.trec", tsne=True))
    every = found(replace(config, query=("q-tides-2",)))["picture"]["passages"]
    how = {"model": config.model, "device": "cpu", "precision": "fp32"}
    vectors = {"corpus": config.corpus[0], "dtype": "float32", "output": tmp_path / "vectors"}
    encode.run(encode.EncodeConfig(**how, **vectors))
    searched = {"index": tmp_path / "vectors", "queries": config.queries[0], "hits": 7}
    search.run(search.SearchConfig(**how, **searched, output=tmp_path / "own.trec"))
    own = replace(given, run=tmp_path / "own.trec")
    assert found(own)["picture"]["passages"] == every[:7]
    with pytest.raises(VerificationError, match="is of queries by the model .*; search with this model"):
        run(replace(own, model=model_of(gate="soft")))
    with pytest.raises(
        UsageError, match="mine.trec has no query q-bees-2; name one that it has with --query"
    ):
        run(replace(given, query=(), limit=0))
    with pytest.raises(UsageError, match="no query is read; give --queries"):
        run(replace(given, query=(), queries=()))


def test_without_queries_or_judgements(config, tiny_collection):
    alone = found(replace(config, queries=()))
    assert "picture" not in alone
    assert alone["agreement"] == {}
    every = replace(config, queries=(str(tiny_collection),))  # judgements for three splits, none is named
    result = run(every)
    said = result.data["explanations"]["experts"]["agreement"]["tiny"]
    assert said["pairs"] == 0
    assert "several splits" in said["left_out"]
    assert "several splits" in result.page.sections[1].text[0]
    for file in (tiny_collection / "qrels").iterdir():
        file.unlink()
    assert "no judgements" in found(every)["agreement"]["tiny"]["left_out"]
    assert found(every)["picture"]["query"] == "q-bees-0", "the first"


def test_judged_passages_that_the_corpus_lacks_are_counted(config, tiny_collection):
    with (tiny_collection / "qrels" / "test.tsv").open("a") as file:
        file.write("q-bees-2\tnowhere\t1\n")
    said = found(config)["agreement"]["tiny"]
    assert (said["pairs"], said["left_out"]) == (6, "1 of 7 judged passages are not in the corpus")


def test_one_expert_leaves_nothing_to_say(config, model_of):
    with pytest.raises(UsageError, match=r"this sb-moe model leaves nothing to choose \(one expert\)"):
        run(replace(config, model=model_of(bias=(0.0,), num_experts=1)))


def test_tsne_without_its_library_is_refused(config, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PreconditionError, match="--tsne needs scikit-learn; install it"):
        run(replace(config, tsne=True))


def test_the_library_is_not_loaded_unasked(config):
    loaded = set(sys.modules)
    run(config)
    assert not {name for name in set(sys.modules) - loaded if name.startswith("sklearn")}


def test_what_set_says_is_checked(config):
    with pytest.raises(UsageError, match="activated=9"):
        run(replace(config, settings={"activated": 9}))
    with pytest.raises(UsageError, match="mode"):
        run(replace(config, settings={"mode": "all"}))
