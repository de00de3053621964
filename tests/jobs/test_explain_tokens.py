"""The explanation ``tokens``: its numbers against a plain loop over the stored vectors, and against a run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
import torch

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import UsageError, VerificationError
from dretrieve.jobs import encode, search
from dretrieve.jobs.explain import ExplainConfig, run
from dretrieve.models.colbert import Colbert
from dretrieve.models.colbert_config import ColbertConfig
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.runs.read import read_run
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
        query=QUERY,
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


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"queries": (), "query": None}, "--queries is missing: tokens of queries meet those of passages"),
        ({"queries": (), "query": None, "passage": ("bees-0",)}, "--passage bees-0: no query is read"),
        ({"passage": ("nothing",)}, "--passage nothing: tiny has no such passage"),
        ({"queries": ("tiny",)}, "query q-chess-2 has no relevant passage to be shown with"),
        ({"tsne": True}, "--tsne: colbert has no picture of texts; leave that option out"),
    ],
)
def test_what_cannot_be_explained_is_refused(config, changes, sentence, kept_collection):
    if changes.get("queries"):
        changes = {"queries": (str(kept_collection),)}  # of no split, so that none is judged
    with pytest.raises(UsageError, match=sentence):
        run(replace(config, **changes))
