"""The explanation ``heads``: its correlations against scipy's over scores of transformers' own T5."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from transformers import AutoTokenizer, T5ForConditionalGeneration

from dretrieve.errors import UsageError, VerificationError
from dretrieve.jobs.explain import ExplainConfig, run
from dretrieve.jobs.explain_heads import correlation
from dretrieve.models.model_folder import save_model
from dretrieve.models.reatt import Reatt
from dretrieve.models.reatt_config import ReattConfig
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.text.collection import Collection

HEADS, LAYER = 4, 2


@pytest.fixture
def made(small_t5, tiny_collection, tmp_path):
    """The config, and query id to its hits: every second passage; of the first, no relevant one."""
    collection = Collection.open(f"{tiny_collection}:test")
    names = collection.corpus().ids(0, len(collection.corpus()))
    hits = {query: names[number % 2 :: 2] for number, query in enumerate(collection.queries().ids())}
    first = next(iter(hits))
    hits[first] = [name for name in names if name not in collection.qrels().positives()[first]]
    lines = [
        f"{query} Q0 {name} {rank} {-rank} bm25\n"
        for query, found in hits.items()
        for rank, name in enumerate(found, 1)
    ]
    (tmp_path / "run.trec").write_text("".join(lines))
    config = ExplainConfig(
        model=str(small_t5()),
        corpus=(str(tiny_collection),),
        queries=(f"{tiny_collection}:test",),
        run=tmp_path / "run.trec",
        device="cpu",
        precision="fp32",
    )
    return config, collection, hits


def scores_of(model, tokenizer, query, passage):
    """r_h of one pair by transformers' own encoder."""
    attention, found = model.encoder.block[LAYER].layer[0], []
    for text, of in (
        (f"question: {query.text}", "q"),
        (f"title: {passage.title} context: {passage.text}", "k"),
    ):
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            states = model.encoder(ids, output_hidden_states=True).hidden_states[LAYER]
            vectors = getattr(attention.SelfAttention, of)(attention.layer_norm(states))
        found.append(vectors.view(-1, HEADS, 8))
    return [float((found[0][:, h] @ found[1][:, h].T).amax(dim=1).mean()) for h in range(HEADS)]


def test_correlations_of_a_plain_t5(made, tmp_path):
    config, collection, hits = made
    tokenizer = AutoTokenizer.from_pretrained(config.model)
    model = T5ForConditionalGeneration.from_pretrained(config.model).eval()
    positives, corpus = collection.qrels().positives(), collection.corpus()
    each, scores, labels = [], [], []
    for query in collection.queries().records(0, len(collection.queries())):
        told = np.array([name in positives[query.id] for name in hits[query.id]])
        if not told.any():
            continue
        table = np.array(
            [
                scores_of(model, tokenizer, query, corpus.record(corpus.row_of(name)))
                for name in hits[query.id]
            ]
        )
        each.append([pearsonr(table[:, h], told).statistic for h in range(HEADS)])
        scores.append(table)
        labels.append(told)
    assert 0 < len(each) < len(hits)
    found = run(replace(config, output=tmp_path / "out"))
    data = found.data["explanations"]["heads"]
    assert (data["layer"], data["queries"]) == (LAYER + 1, len(each))
    assert data["queries_left_out"] == len(hits) - len(each)
    np.testing.assert_allclose(data["correlation"], np.mean(each, axis=0), atol=1e-4)
    pooled = [pearsonr(np.concatenate(scores)[:, h], np.concatenate(labels)).statistic for h in range(HEADS)]
    np.testing.assert_allclose(data["correlation_of_all_pairs"], pooled, atol=1e-4)
    assert data["best_head"] == int(np.argmax(data["correlation"]))
    assert data["weight"] == [0.25] * HEADS
    said = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert said["explanations"]["heads"] == data
    assert {path.name for path in found.written} == {"explain.html", "explain.json", "heads.svg"}
    kept = read_manifest(manifest_path(tmp_path / "out")).extra
    assert kept["head"] == data["best_head"]
    assert list(kept["correlation"].values()) == sorted(data["correlation"], reverse=True)
    assert run(replace(config, output=tmp_path / "out")).state == "up to date"


def test_two_plain_t5s_have_fingerprints_of_their_own(made, small_t5):
    config, *_ = made
    found = [run(replace(config, model=str(small_t5(kind)))) for kind in ("original", "v1.1")]
    assert len({one.data["fingerprints"][side] for one in found for side in ("query", "passage")}) == 4


def test_a_reatt_model_says_its_weights(made, tmp_path):
    config, *_ = made
    method = Reatt.build(ReattConfig(bi_layers=1), config.model)
    with torch.no_grad():
        method.head_weights[2] = 1.0
    save_model(method, tmp_path / "model")
    data = run(replace(config, model=str(tmp_path / "model"))).data["explanations"]["heads"]
    assert data["layer"] == 2
    assert data["weight"] == [0, 0, 1, 0]


def test_what_is_refused(made, tiny_collection, tmp_path):
    config, collection, hits = made
    with pytest.raises(UsageError, match="give --queries DIR:split and --run RUN: heads are told apart"):
        run(replace(config, run=None))
    with pytest.raises(UsageError, match="has both relevant and other passages among its first 100 hits"):
        run(replace(config, queries=(f"{tiny_collection}:train",)))
    query = next(
        name for name, found in hits.items() if set(found) & set(collection.qrels().positives()[name])
    )
    (tmp_path / "run.trec").write_text(config.run.read_text() + f"{query} Q0 nowhere 99 -99 bm25\n")
    with pytest.raises(VerificationError, match=r"run.trec: passage nowhere is not in tiny"):
        run(config)
    with pytest.raises(UsageError, match="--query: reatt has no picture of texts"):
        run(replace(config, query=(query,)))
    save_model(Reatt.build(ReattConfig(), config.model), tmp_path / "model")
    with pytest.raises(UsageError, match="--set head: all heads are compared, whichever is chosen"):
        run(replace(config, model=str(tmp_path / "model"), settings={"head": 1}))


def test_a_head_that_gives_one_score_to_all_has_no_correlation():
    scores = np.array([[1.0, 0.3], [1.0, 0.1], [1.0, 0.2]])
    np.testing.assert_allclose(correlation(scores, np.array([True, False, False])), [0, 3**0.5 / 2])
