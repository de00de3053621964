"""MiniLM's nDCG@10 on the published board, through our commands alone; ArguAna's queries are passages."""

from __future__ import annotations

import pytest

PUBLISHED = {"nfcorpus": 0.3159, "scifact": 0.6451, "arguana": 0.5017}

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@pytest.mark.parametrize(
    "name", ["nfcorpus", *(pytest.param(name, marks=pytest.mark.long) for name in ("scifact", "arguana"))]
)
def test_ndcg_at_10_is_the_published_one(name, data_dir, cli, tmp_path):
    collection, run = data_dir / name, tmp_path / "run.trec"
    cli("encode", "--model", "minilm", "--corpus", collection, "--output", tmp_path / "emb")
    queries = ["--queries", f"{collection}:test", "--model", "minilm"]
    cli("search", "--index", tmp_path / "emb", *queries, "--hits", "101", "--output", run)
    words = ["--run", run, "--qrels", f"{collection}:test", "--metrics", "nDCG@10", "--drop-self", "--json"]
    mean = cli("evaluate", *words).json()["runs"][0]["mean"]["nDCG@10"]
    print(f"{name} nDCG@10 {mean:.4f} (published {PUBLISHED[name]})")
    assert mean == pytest.approx(PUBLISHED[name], abs=0.003)
