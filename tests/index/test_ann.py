"""Approximate indexes: canonical scores, high recall, refusals, the extra named when faiss is absent."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.index import ann
from dretrieve.index.registry import open_vector_index
from dretrieve.jobs import index as index_job
from dretrieve.jobs import search
from dretrieve.text.runs import read_run

ROWS, DIM = 3000, 24


@pytest.fixture
def work(write_embeddings, tmp_path: Path) -> Path:
    chance = np.random.default_rng(2)
    centres = chance.standard_normal((40, DIM))
    vectors = centres[chance.integers(0, 40, ROWS)] + 0.3 * chance.standard_normal((ROWS, DIM))
    asked = centres[:20] + 0.3 * chance.standard_normal((20, DIM))
    write_embeddings("emb", [f"p{row}" for row in range(ROWS)], vectors, shards=2)
    write_embeddings("queries", [f"q{row}" for row in range(20)], asked, side="query")
    return tmp_path


def build(work: Path, kind: str, output: str = "index", **settings) -> None:
    index_job.run(
        index_job.IndexConfig(type=kind, embeddings=work / "emb", output=work / output, settings=settings)
    )


def found(work: Path, index: str, output: str, **changes) -> list[dict[str, float]]:
    options = {"query_embeddings": work / "queries", "hits": 10, **changes}
    search.run(search.SearchConfig(index=work / index, output=work / output, **options))
    run = read_run(work / output)
    return [dict(run.hits(query)) for query in range(len(run))]


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_hits_have_canonical_scores_and_few_are_missing(work: Path, kind: str) -> None:
    pytest.importorskip("faiss")
    build(work, kind)
    exact, near = found(work, "emb", "exact.trec"), found(work, "index", "near.trec")
    common = 0
    for truth, hits in zip(exact, near, strict=True):
        assert len(hits) == 10
        common += len(truth.keys() & hits.keys())
        assert all(truth[passage] == hits[passage] for passage in truth.keys() & hits.keys())
    assert common / 200 > (0.75 if kind == "ivfpq" else 0.95)


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_same_bytes_again(work: Path, kind: str) -> None:
    pytest.importorskip("faiss")
    build(work, kind, "one")
    build(work, kind, "two")
    assert (work / "one" / ann.FILE).read_bytes() == (work / "two" / ann.FILE).read_bytes()


def test_wider_search_finds_more_and_is_another_run(work: Path) -> None:
    pytest.importorskip("faiss")
    build(work, "ivf", lists=40)
    exact = found(work, "emb", "exact.trec")
    narrow = found(work, "index", "narrow.trec", settings={"probes": 1})
    wide = found(work, "index", "wide.trec", settings={"probes": 40})
    assert wide == exact
    assert narrow != exact
    with pytest.raises(PreconditionError, match="probes 1 -> 2"):
        found(work, "index", "narrow.trec", settings={"probes": 2})


def test_parts_of_an_approximate_search_are_refused(work: Path) -> None:
    pytest.importorskip("faiss")
    build(work, "ivf")
    with pytest.raises(UsageError, match="is approximate and searched whole"):
        found(work, "index", "run.trec", shard=(0, 2))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("hnsw", {"lists": 3}, "an index of type hnsw takes m, ef_construction"),
        ("ivf", {"m": 3}, "an index of type ivf takes lists"),
        ("ivf", {"lists": 0}, "lists=0: a whole number from 1"),
        ("ivfpq", {"m": 7}, "m=7: it must divide the 24 dimensions"),
        ("ivfpq", {"m": "many"}, "a whole number from 1"),
    ],
)
def test_options_of_a_build(work: Path, kind: str, settings: dict, message: str) -> None:
    pytest.importorskip("faiss")
    with pytest.raises(UsageError, match=message):
        build(work, kind, **settings)


def test_options_of_a_search(work: Path) -> None:
    pytest.importorskip("faiss")
    build(work, "hnsw")
    with pytest.raises(UsageError, match="type hnsw takes ef_search, candidates"):
        found(work, "index", "run.trec", settings={"probes": 3})


def test_queries_of_an_unfitting_index_are_refused(work: Path, write_embeddings) -> None:
    pytest.importorskip("faiss")
    build(work, "ivf")
    other = write_embeddings("other", ["q"], np.ones((1, DIM)), side="query", model="another")
    with pytest.raises(VerificationError, match="encode both with the same model"):
        found(work, "index", "run.trec", query_embeddings=other)


def test_without_faiss_the_extra_is_named(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest):
        if name == "faiss":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(PreconditionError, match=r"dretrieve\[cpu\].*--type flat needs nothing"):
        build(work, "hnsw")


def test_few_passages_and_more_hits_than_there_are(write_embeddings, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    write_embeddings("emb", ["a", "b", "c"], np.eye(3, 4) + 1)
    write_embeddings("queries", ["q"], np.ones((1, 4)), side="query")
    for kind in ("hnsw", "ivf"):
        build(tmp_path, kind, kind)
        assert list(found(tmp_path, kind, f"{kind}.trec")[0]) == ["c", "b", "a"]
    assert open_vector_index(tmp_path / "hnsw").passages.rows == 3
