"""Approximate indexes: canonical scores, high recall, refusals, the extra named when faiss is absent."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.index import ann
from dretrieve.index.registry import open_vector_index
from dretrieve.jobs import index as index_job
from dretrieve.jobs import search
from dretrieve.runs.read import read_run
from tests.common import Told

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
        (
            "hnsw",
            {"lists": 3},
            r"type hnsw takes m \(a whole number from 2 to 512\), ef_construction",
        ),
        ("ivf", {"m": 3}, "an index of type ivf takes lists"),
        ("ivf", {"lists": 0}, "lists=0: expected a whole number from 1"),
        ("ivfpq", {"m": 7}, "m=7: it must divide the 24 dimensions"),
        ("ivfpq", {"m": "many"}, "a whole number from 1"),
        ("hnsw", {"m": 1}, "m=1: expected a whole number from 2"),
        ("hnsw", {"ef_construction": 2**40}, "a whole number from 1 to 1,000,000"),
        ("ivf", {"lists": 10**6}, "passages; give at most one list each"),
    ],
)
def test_options_of_a_build(work: Path, kind: str, settings: dict, message: str) -> None:
    pytest.importorskip("faiss")
    with pytest.raises(UsageError, match=message):
        build(work, kind, **settings)


def test_options_of_a_search(work: Path) -> None:
    pytest.importorskip("faiss")
    build(work, "hnsw")
    with pytest.raises(UsageError, match="type hnsw takes candidates, ef_search"):
        found(work, "index", "run.trec", settings={"probes": 3})


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


def test_a_score_beyond_float32_is_refused(write_embeddings, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    write_embeddings("emb", ["a", "b", "c"], np.full((3, 4), 3e4))
    write_embeddings("queries", ["q"], np.full((1, 4), 1e36), side="query", dtype="float32")
    build(tmp_path, "hnsw")
    with pytest.raises(DataError, match="too large for float32"):
        found(tmp_path, "index", "run.trec")


def test_fewer_hits_than_wanted_from_few_probes_are_said(work: Path) -> None:
    pytest.importorskip("faiss")
    build(work, "ivf", lists=40)
    notes = Told()
    config = search.SearchConfig(
        index=work / "index",
        output=work / "few.trec",
        query_embeddings=work / "queries",
        hits=1000,
        settings={"probes": 1},
    )
    search.run(config, notes)
    assert any("20 of 20 queries have fewer than the 1,000 hits wanted" in line for line in notes.lines)
    assert any("--set probes=N, now 1" in line for line in notes.lines)


def test_lists_are_those_asked_for(work: Path) -> None:
    """They were cut to a 39th of the passages without a word; now that they are small is said."""
    pytest.importorskip("faiss")
    notes = Told()
    config = index_job.IndexConfig(
        type="ivf", embeddings=work / "emb", output=work / "index", settings={"lists": 100}
    )
    index_job.run(config, notes)
    assert open_vector_index(work / "index").manifest.options["lists"] == 100
    assert any("100 lists of 3,000 passages hold fewer than 39 each" in line for line in notes.lines)
    with pytest.raises(UsageError, match="probes=101: .* has 100 lists; give at most that"):
        open_vector_index(work / "index", settings={"probes": 101})


def test_too_few_passages_for_codes(write_embeddings, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    vectors = np.random.default_rng(1).standard_normal((100, DIM))
    write_embeddings("emb", [f"p{row}" for row in range(100)], vectors)
    with pytest.raises(PreconditionError, match="needs as many passages; there are 100: take --type flat"):
        build(tmp_path, "ivfpq")


@pytest.mark.parametrize("settings", [{"ef_search": 3}, {"mode": "nonsense"}])
def test_a_setting_that_nothing_would_read_is_refused(work: Path, settings: dict) -> None:
    with pytest.raises(UsageError, match=r"an index of type flat takes no settings"):
        found(work, "emb", "run.trec", settings=settings)
