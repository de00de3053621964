"""The explanation ``tokens``: its numbers against a plain loop over the stored vectors, and against a run."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.jobs import encode, search
from dretrieve.jobs.explain import ExplainConfig, run
from dretrieve.models.aligner import Aligner
from dretrieve.models.aligner_config import AlignerConfig
from dretrieve.models.colbert import Colbert
from dretrieve.models.colbert_config import ColbertConfig
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.runs.read import read_run
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.text.collection import Collection
from dretrieve.types import Record

MARKERS = {"query_marker": "honey", "passage_marker": "moon"}  # words of the tiny vocabulary
QUERY = "q-chess-2"


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("colbert") / "colbert"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = ColbertConfig(dim=16, query_max_len=8, passage_max_len=20, **MARKERS)
        save_model(Colbert.build(config, str(tiny_model)), folder, {})
    return str(folder)


@pytest.fixture
def config(model, kept_collection):
    return ExplainConfig(
        model=model,
        corpus=(str(kept_collection),),
        queries=(f"{kept_collection}:test",),
        query=(QUERY,),
        device="cpu",
        precision="fp32",
    )


def found(config):
    return run(config).data["explanations"]["tokens"]


def test_each_query_token_meets_the_largest_product(config, model):
    (pair,) = found(replace(config, passage=("bees-0",)))["pairs"]
    loaded = load_model(model)
    texts = pair["query"]["text"], f"{pair['passage']['title']} {pair['passage']['text']}"
    sides = zip(("query", "passage"), texts, strict=True)
    asked, read = (encode_records(loaded, side, [Record("x", "", text)]) for side, text in sides)
    words = loaded.tokenizers["passage"].pieces(read.tokens.tolist())
    assert len(pair["tokens"]) == len(asked.values) == 8
    total = 0.0
    for token, vector in zip(pair["tokens"], asked.values.astype(np.float64), strict=True):
        products = [float(vector @ other) for other in read.values.astype(np.float64)]
        assert token["product"] == pytest.approx(max(products), abs=1e-5)
        assert products[token["place"]] == pytest.approx(max(products), abs=1e-6)
        assert token["met"] == words[token["place"]]
        total += max(products)
    assert [of["token"] for of in pair["tokens"]][:2] == ["[CLS]", "honey"]
    assert pair["score"] == pytest.approx(total, abs=1e-4)
    assert "rank" not in pair


def test_a_runs_hits_are_shown_with_its_scores(config, model, kept_collection, tmp_path):
    common = {"model": model, "precision": "fp32", "device": "cpu"}
    encode.run(encode.EncodeConfig(**common, corpus=str(kept_collection), output=tmp_path / "emb"))
    queries, output = f"{kept_collection}:test", tmp_path / "run.trec"
    search.run(search.SearchConfig(**common, index=tmp_path / "emb", queries=queries, output=output, hits=5))
    hits = read_run(output)
    expected = list(hits.hits(hits.query_ids.index(QUERY)))
    pairs = found(replace(config, run=output, hits=2))["pairs"]
    assert [(of["rank"], of["passage"]["id"]) for of in pairs] == [
        (rank, name) for rank, (name, _) in enumerate(expected[:2], 1)
    ]
    np.testing.assert_allclose([of["score"] for of in pairs], [of for _, of in expected[:2]], atol=1e-4)
    assert len(found(replace(config, run=output))["pairs"]) == 3
    other = tmp_path / "other"
    save_model(Colbert.build(ColbertConfig(normalize="no"), model), other, {})
    with pytest.raises(VerificationError, match="search with this model"):
        run(replace(config, model=str(other), run=output))


def test_judged_pairs_are_counted_by_kind_of_query_token(config):
    result = found(config)
    assert [of["passage"]["id"] for of in result["pairs"]] == ["chess-2"], "its relevant one"
    said = result["collections"]["tiny"]
    assert (said["pairs"], said["of"]) == (6, 6)
    kinds = said["query_tokens"]
    assert {name: of["tokens"] for name, of in kinds.items()} == {
        "[CLS]": 6, "honey": 6, "words": 12, "[SEP]": 6, "[MASK]": 18,
    }  # fmt: skip
    own = [of for of in result["pairs"][0]["tokens"] if of["token"] not in kinds]
    assert len(own) == 2, "two words a query"
    assert all(0 <= of["met_same"] <= of["tokens"] for of in kinds.values())
    assert kinds["[MASK]"]["met_same"] == 0, "no passage holds it"


def test_the_page_shows_a_table_and_a_heat_map_a_pair(config, tmp_path):
    result = run(replace(config, passage=("bees-0", "tides-1"), output=tmp_path / "out"))
    names = {path.name for path in result.written}
    assert names == {"explain.html", "explain.json", "pair-1.svg", "pair-2.svg"}
    for path in result.written:
        if path.suffix == ".svg":
            ET.parse(path)
    _, first, _ = result.page.tables
    tokens = result.data["explanations"]["tokens"]["pairs"][0]["tokens"]
    masks = [of["product"] for of in tokens if of["token"] == "[MASK]"]
    assert first.rows[-1][0] == f"{len(masks)} × [MASK]"
    assert float(first.rows[-1][1]) == pytest.approx(sum(masks), abs=1e-3)
    assert [row[0] for row in first.rows[:-1]] == [of["token"] for of in tokens if of["token"] != "[MASK]"]
    assert f"«{tokens[0]['met']}»" in first.rows[0][4]
    written = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert written["explanations"]["tokens"] == result.data["explanations"]["tokens"]
    again = run(replace(config, passage=("bees-0", "tides-1"), output=tmp_path / "out"))
    assert again.state == "up to date"


@pytest.fixture(scope="module")
def aligners(tiny_model, tmp_path_factory):
    """Two models, without salience and with one that differs from token to token."""
    folder = tmp_path_factory.mktemp("aligner")
    for salience in ("none", "entropy"):
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(2)
            method = Aligner.build(
                AlignerConfig(dim=16, salience=salience, query_max_len=8, passage_max_len=20), str(tiny_model)
            )
            for name, weights in method.named_parameters():
                if "salience" in name and weights.dim() == 2:
                    weights.normal_(std=0.1)
            save_model(method, folder / salience, {})
    return folder


ALIGNMENTS = {"top1": 1, "top3": 3, "p50": 0.5, "da,k=2,eps=0.05": 2}


@pytest.mark.parametrize("salience", ["none", "entropy"])
@pytest.mark.parametrize("word", ALIGNMENTS)
def test_alignments_and_saliences_are_those_of_the_stored_vectors(config, aligners, word, salience):
    given = replace(config, model=str(aligners / salience), settings={"alignment": word}, passage=("bees-0",))
    (pair,) = found(given)["pairs"]
    assert pair["alignment"] == word
    loaded = load_model(given.model)
    texts = pair["query"]["text"], f"{pair['passage']['title']} {pair['passage']['text']}"
    sides = zip(("query", "passage"), texts, strict=True)
    asked, read = (encode_records(loaded, side, [Record("x", "", text)]) for side, text in sides)
    ones = [np.ones(len(of.values)) for of in (asked, read)]
    u_q, u_d = ones if salience == "none" else (asked.weights.astype(float), read.weights.astype(float))
    total = weight = 0.0
    for i, token in enumerate(pair["tokens"]):
        products = [float(asked.values[i].astype(float) @ other) for other in read.values.astype(float)]
        order = sorted(range(len(products)), key=lambda j: (-products[j], j))
        assert [of["place"] for of in token["aligned"]] == order[:4]
        np.testing.assert_allclose(
            [of["product"] for of in token["aligned"]], sorted(products, reverse=True)[:4], atol=1e-5
        )
        k = ALIGNMENTS[word] if word != "p50" else int(0.5 * len(products))
        shares = dict.fromkeys(order[:k], 1.0)
        if word.startswith("da"):
            terms = np.exp(np.array(products) / 0.05)
            low, high = -50.0, 50.0
            for _ in range(200):  # the a for which the shares sum to k
                a = (low + high) / 2
                low, high = (a, high) if np.minimum(1, terms * np.exp(a)).sum() < k else (low, a)
            shares = dict(enumerate(np.minimum(1, terms * np.exp(low))))
        total += sum(share * u_q[i] * u_d[j] * products[j] for j, share in shares.items())
        weight += sum(share * u_q[i] * u_d[j] for j, share in shares.items())
    assert pair["score"] == pytest.approx(total / weight if weight else 0.0, abs=1e-5)
    if salience == "none":
        assert "passage_tokens" not in pair
        return
    np.testing.assert_allclose([of["salience"] for of in pair["tokens"]], u_q, atol=1e-6)
    np.testing.assert_allclose([of["salience"] for of in pair["passage_tokens"]], u_d, atol=1e-6)
    assert len({of["salience"] for of in pair["tokens"]}) > 1
    salient = sorted(np.flatnonzero(u_q).tolist(), key=lambda i: -u_q[i])
    assert [of["place"] for of in pair["most_salient"]] == salient[:3]


def test_a_page_of_another_alignment_is_not_up_to_date(config, aligners, tmp_path):
    given = replace(config, model=str(aligners / "none"), output=tmp_path / "page")
    run(given)
    assert run(replace(given, settings={"alignment": "top1"})).state == "up to date"
    with pytest.raises(PreconditionError, match=r"alignment.*top1.*top3"):
        run(replace(given, settings={"alignment": "top3"}))


@pytest.mark.parametrize("salience", ["none", "entropy"])
@pytest.mark.parametrize("word", ["top1", "top3"])
def test_the_share_retrieved_is_that_of_a_loop_over_the_hits(
    config, aligners, kept_collection, tmp_path, word, salience
):
    common = {"model": str(aligners / salience), "precision": "fp32", "device": "cpu"}
    encode.run(encode.EncodeConfig(**common, corpus=str(kept_collection), output=tmp_path / "emb"))
    queries, output = f"{kept_collection}:test", tmp_path / "run.trec"
    search.run(search.SearchConfig(**common, index=tmp_path / "emb", queries=queries, output=output, hits=2))
    given = replace(config, model=common["model"], settings={"alignment": word}, run=output)
    said = run(replace(given, output=tmp_path / "out")).data["explanations"]["tokens"]["retrieved"]
    assert read_manifest(manifest_path(tmp_path / "out")).extra == {"tokens_retrieved": said["share"]} | (
        {} if salience == "none" else {"salience_sums": ANY}
    )
    hits, loaded, collection = read_run(output), load_model(common["model"]), Collection.open(queries)
    reached: dict[str, set[int]] = {}
    lengths: dict[str, int] = {}
    passages = collection.corpus()
    for place, record in enumerate(collection.queries().records(0, len(hits))):
        assert hits.query_ids[place] == record.id
        asked = encode_records(loaded, "query", [record])
        for passage, _ in hits.hits(place):
            read = encode_records(loaded, "passage", [passages.record(passages.row_of(passage))])
            lengths[passage] = len(read.values)
            for row, vector in enumerate(asked.values):
                if salience == "entropy" and not asked.weights[row]:
                    continue
                products = [float(vector.astype(float) @ other) for other in read.values.astype(float)]
                order = sorted(range(len(products)), key=lambda j: (-products[j], j))
                for j in order[: int(word[3:])]:
                    if salience == "none" or read.weights[j] > 0:
                        reached.setdefault(passage, set()).add(j)
    assert (said["queries"], said["depth"], said["passages"]) == (len(hits), 2, len(lengths))
    assert said["tokens"] == sum(lengths.values())
    assert said["met"] == sum(map(len, reached.values()))
    assert 0 < said["share"] < 1


def test_of_several_collections_a_run_is_held_against_that_of_its_queries(
    config, model, kept_collection, tmp_path
):
    """Ids alone do not tell them apart: both have the same."""
    other = tmp_path / "other"
    shutil.copytree(kept_collection, other)
    (other / "corpus.jsonl").write_text((other / "corpus.jsonl").read_text().replace("the ", "a "))
    common = {"model": model, "precision": "fp32", "device": "cpu"}
    encode.run(encode.EncodeConfig(**common, corpus=str(other), output=tmp_path / "emb"))
    queries, output, hits = str(other), tmp_path / "run.trec", {"hits": 2}
    search.run(search.SearchConfig(**common, index=tmp_path / "emb", queries=queries, output=output, **hits))
    both = {"corpus": (*config.corpus, str(other)), "queries": (f"{kept_collection}:dev", f"{other}:test")}
    assert found(replace(config, **both, run=output))["pairs"][0]["collection"] == "other"
    both["queries"] = (f"{kept_collection}:test", f"{other}:dev")
    with pytest.raises(VerificationError, match="was found in other passages than those that are given"):
        run(replace(config, **both, run=output))
    with pytest.raises(VerificationError, match="was found in other passages than those that are given"):
        run(replace(config, **both, run=output, query=("q-bees-1", QUERY)))


def test_only_the_most_retrieved_passages_are_counted(config, monkeypatch, tmp_path):
    lines = [f"q-{topic}-2 Q0 bees-0 1 2 x\nq-{topic}-2 Q0 {topic}-1 2 1 x\n" for topic in ("bees", "tides")]
    (tmp_path / "run.trec").write_text("".join(lines))
    monkeypatch.setattr("dretrieve.jobs.explain_tokens.MOST_RETRIEVED", 1)
    given = replace(config, run=tmp_path / "run.trec", query=("q-bees-2",), hits=1)
    said = found(given)["retrieved"]
    assert (said["queries"], said["passages"]) == (2, 1)
    monkeypatch.undo()
    assert found(given)["retrieved"]["passages"] == 3
    (tmp_path / "run.trec").write_text("".join([*lines, "q-chess-2 Q0 nowhere 1 1 x\n"]))
    with pytest.raises(VerificationError, match="passage nowhere is not in tiny; give its corpus"):
        run(given)


def test_several_queries_are_shown_one_after_the_other(config):
    both = replace(config, query=("q-tides-2", QUERY))
    pairs = found(both)["pairs"]
    assert [(of["query"]["id"], of["passage"]["id"]) for of in pairs] == [
        ("q-tides-2", "tides-2"), (QUERY, "chess-2")
    ]  # fmt: skip
    named = found(replace(both, passage=("bees-0", "bees-1")))["pairs"]
    assert [of["passage"]["id"] for of in named] == ["bees-0", "bees-1"] * 2
    with pytest.raises(UsageError, match=f"--query {QUERY} stands twice; give each query once"):
        run(replace(config, query=(QUERY, QUERY)))


def test_passages_of_two_collections_with_one_id_are_told_apart(config, kept_collection, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(kept_collection, other)
    (other / "corpus.jsonl").write_text((other / "corpus.jsonl").read_text().replace("the ", "a "))
    asked = {"corpus": str(kept_collection), "queries": f"{kept_collection}:test", "query": QUERY}
    more = {"corpus": str(other), "queries": f"{other}:dev", "query": "q-bees-1"}
    alone = [
        found(replace(config, passage=("bees-0",), **{name: (value,) for name, value in of.items()}))["pairs"]
        for of in (asked, more)
    ]
    both = {name: (asked[name], more[name]) for name in asked}
    assert found(replace(config, passage=("bees-0",), **both))["pairs"] == [*alone[0], *alone[1]]


def test_the_page_of_saliences_has_a_figure_more(config, aligners, tmp_path):
    given = replace(config, model=str(aligners / "entropy"), output=tmp_path / "out")
    result = run(given)
    names = {path.name for path in result.written}
    assert names == {"explain.html", "explain.json", "pair-1.svg", "salience-1.svg"}
    assert "Passage tokens by rank" in (tmp_path / "out" / "explain.html").read_text(encoding="utf-8")
    sums = result.data["explanations"]["tokens"]["salience_sums"]
    assert read_manifest(manifest_path(tmp_path / "out")).extra == {"salience_sums": sums}
    assert sums["exact"] == 1
    assert 0 < sums["eq5_20"] < sums["eq5_100"] < 0.95
    assert "salience_sums" not in found(replace(config, model=str(aligners / "none")))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"queries": (), "query": ()}, "--queries is missing: tokens of queries meet those of passages"),
        ({"queries": (), "query": (), "passage": ("bees-0",)}, "--passage bees-0: no query is read"),
        ({"passage": ("nothing",)}, "--passage nothing: tiny has no such passage"),
        ({"passage": ("bees-0",), "hits": 2}, "--hits counts a --run's, and --passage names what is shown"),
        ({"queries": ("tiny",)}, "query q-chess-2 has no relevant passage to be shown with"),
        ({"tsne": True}, "--tsne: colbert has no picture of texts; leave that option out"),
    ],
)
def test_what_cannot_be_explained_is_refused(config, changes, sentence, kept_collection):
    if changes.get("queries"):
        changes = {"queries": (str(kept_collection),)}  # of no split, so that none is judged
    with pytest.raises(UsageError, match=sentence):
        run(replace(config, **changes))
