"""MiniLM's token states that nothing has trained, by PCA to 128: on NFCorpus above their mean (.316)."""

from __future__ import annotations

import pytest

# By numpy's products of all states at once. Components around the mean, or of states that are not unit, give
# .351 to .353; sum and mean of the maxima order alike.
MEASURED = 0.352

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


def test_untrained_token_states_by_exact_maxsim(data_dir, cli, tmp_path):
    collection, model, run = data_dir / "nfcorpus", tmp_path / "model", tmp_path / "run.trec"
    lengths = ["--query-max-len", "64", "--passage-max-len", "256"]
    cli("convert", "minilm", "--pooling", "tokens", "--pca", collection, *lengths, "--output", model)
    cli("encode", "--model", model, "--corpus", collection, "--output", tmp_path / "emb")
    queries = ["--queries", f"{collection}:test", "--model", model]
    cli("search", "--index", tmp_path / "emb", *queries, "--hits", "10", "--output", run)
    words = ["--run", run, "--qrels", f"{collection}:test", "--metrics", "nDCG@10", "--json"]
    mean = cli("evaluate", *words).json()["runs"][0]["mean"]["nDCG@10"]
    print(f"NFCorpus nDCG@10 {mean:.4f} (measured {MEASURED})")
    assert mean == pytest.approx(MEASURED, abs=0.007)
