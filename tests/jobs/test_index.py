"""index as a job: what belongs to which type, up to date, dry run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.jobs import search
from dretrieve.jobs.index import IndexConfig, run
from dretrieve.runs.read import read_run
from tests.common import lines


@pytest.fixture
def embeddings(write_embeddings) -> Path:
    return write_embeddings("emb", [f"p{row}" for row in range(50)], np.eye(50, 6) + 1)


def test_flat(embeddings: Path, tmp_path: Path) -> None:
    config = IndexConfig(embeddings=embeddings, output=tmp_path / "index")
    first = run(config)
    assert (first.state, first.counts) == ("written", {"rows": 50, "dim": 6})
    assert run(config).state == "up to date"
    assert "up to date; flat index" in run(config).render()
    assert first.as_json()["rows"] == 50


def test_bm25_is_built_and_searched_with_words(tiny_collection: Path, tmp_path: Path) -> None:
    result = run(IndexConfig(type="bm25", corpus=str(tiny_collection), output=tmp_path / "bm25"))
    assert result.state == "written"
    queries = f"{tiny_collection}:test"
    config = search.SearchConfig(
        index=tmp_path / "bm25", queries=queries, hits=5, output=tmp_path / "run.trec"
    )
    assert search.run(config).counts["queries"] == 6
    found = read_run(tmp_path / "run.trec")
    assert all(query.removeprefix("q-") in dict(found.hits(row)) for row, query in enumerate(found.query_ids))
    assert search.run(config).state == "up to date"
    shown = search.run(replace(config, show=2)).examples
    assert [hit.title for hit in shown[0].hits][:1] == ["bees 2"]
    assert shown[0].text == "pollen queen"


def test_bm25_shows_the_passages_that_were_indexed_or_says_so_before_it_searches(
    tiny_collection: Path, tmp_path: Path
) -> None:
    run(IndexConfig(type="bm25", corpus=str(tiny_collection), output=tmp_path / "bm25"))
    topics = lines(tmp_path / "topics", "<top><num> Number: 1\n<desc> Description:\npollen queen\n</top>")
    lines(tmp_path / "other/corpus.jsonl", {"_id": "bees-2", "text": "another text"})
    config = search.SearchConfig(
        index=tmp_path / "bm25",
        queries=str(topics),
        topic_field="description",
        hits=5,
        show=1,
        output=tmp_path / "run.trec",
    )
    with pytest.raises(UsageError, match="topics has no passages; name those that were searched: --corpus"):
        search.run(config)
    with pytest.raises(VerificationError, match="other has other passages than those that were indexed"):
        search.run(replace(config, corpus=str(tmp_path / "other")))
    assert not (tmp_path / "run.trec").exists()
    shown = search.run(replace(config, corpus=str(tiny_collection))).examples
    assert (shown[0].text, shown[0].hits[0].title) == ("pollen queen", "bees 2")


def test_bm25_takes_other_weights_and_refuses_what_is_not_its_own(
    tiny_collection: Path, tmp_path: Path
) -> None:
    run(IndexConfig(type="bm25", corpus=str(tiny_collection), output=tmp_path / "bm25"))
    queries = f"{tiny_collection}:test"

    def searched(name: str, **changes) -> search.SearchResult:
        options = {"queries": queries, "hits": 5, **changes}
        return search.run(search.SearchConfig(index=tmp_path / "bm25", output=tmp_path / name, **options))

    searched("one.trec")
    searched("two.trec", settings={"k1": 2.0})
    assert (tmp_path / "one.trec").read_bytes() != (tmp_path / "two.trec").read_bytes()
    with pytest.raises(UsageError, match=r"takes k1 \(a number from 0 to 100\), b"):
        searched("run.trec", settings={"probes": 2})
    with pytest.raises(
        UsageError, match="is a BM25 index: search it with --queries DIR:split and no --model"
    ):
        searched("run.trec", model="minilm")
    with pytest.raises(UsageError, match="a BM25 index is searched whole"):
        searched("run.trec", shard=(0, 2))
    assert searched("run.trec", dry_run=True).state == "to do"
    with pytest.raises(UsageError, match=r"takes k1 \(a number from 0 to 100\), b"):
        run(IndexConfig(type="bm25", corpus=str(tiny_collection), output=tmp_path / "x", settings={"m": 1}))


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("flat", "corpus", "--type flat is built with --embeddings, and without --corpus"),
        ("flat", "nothing", "--type flat is built with --embeddings"),
        ("bm25", "embeddings", "--type bm25 is built with --corpus, and without --embeddings"),
        ("tree", "embeddings", "there is no index of type 'tree'; there are flat, hnsw, ivf, ivfpq"),
    ],
)
def test_inputs_that_do_not_belong(
    embeddings: Path, tmp_path: Path, kind: str, given: str, message: str
) -> None:
    inputs = {"embeddings": {"embeddings": embeddings}, "corpus": {"corpus": "x"}, "nothing": {}}[given]
    with pytest.raises(UsageError, match=message):
        run(IndexConfig(type=kind, output=tmp_path / "index", **inputs))


def test_passages_have_no_splits(tiny_collection: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--corpus .*:test: passages have no splits, .*; write --corpus "):
        run(IndexConfig(type="bm25", corpus=f"{tiny_collection}:test", output=tmp_path / "x"))


def test_dry_run_writes_nothing(embeddings: Path, tiny_collection: Path, tmp_path: Path) -> None:
    for inputs in ({"embeddings": embeddings}, {"corpus": str(tiny_collection), "type": "bm25"}):
        result = run(IndexConfig(output=tmp_path / "index", dry_run=True, **inputs))
        assert result.state == "to do"
        assert not (tmp_path / "index").exists()


def test_missing_and_incomplete_embeddings(embeddings: Path, tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="holds no finished embeddings"):
        run(IndexConfig(embeddings=tmp_path / "nowhere", output=tmp_path / "index"))
    next(embeddings.glob("*.vectors.npy")).write_bytes(b"short")
    with pytest.raises(VerificationError, match="truncated or changed"):
        run(IndexConfig(embeddings=embeddings, output=tmp_path / "index"))
