"""index, search and merge from the command line: one chain, aliases, exit codes, JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dretrieve.store.manifest import manifest_path, read_manifest


@pytest.fixture
def work(write_embeddings, tmp_path: Path) -> Path:
    chance = np.random.default_rng(1)
    write_embeddings("emb", [f"p{row}" for row in range(3000)], chance.standard_normal((3000, 8)))
    write_embeddings("queries", ["001", "2"], chance.standard_normal((2, 8)), side="query")
    return tmp_path


def test_chain_of_commands(work: Path, cli_here) -> None:
    cli_here("index", "--embeddings", work / "emb", "--output", work / "index", "--quiet")
    options = ["--query-embeddings", work / "queries", "--hits", 7, "--quiet"]
    whole = cli_here("search", "--index", work / "index", *options, "--output", work / "run.trec", "--json")
    assert whole.json()["hits"] == 14
    for part in range(3):
        output = work / f"part-{part}.trec"
        cli_here("search", "--index", work / "emb", *options, "--shard", f"{part}/3", "--output", output)
    parts = sorted(work.glob("part-?.trec"))
    merged = cli_here("merge", *parts, "--output", work / "merged.trec", "--json", "--quiet")
    assert merged.json()["parts"] == 3
    assert (work / "merged.trec").read_bytes() == (work / "run.trec").read_bytes()
    assert (work / "run.trec").read_text().startswith("001 Q0 p")


def test_spellings_of_others(work: Path, cli_here) -> None:
    words = ["--passage_reps", work / "emb", "--query_reps", work / "queries", "--depth", 3, "--output"]
    cli_here("search", *words, work / "run.trec", "--quiet")
    assert len((work / "run.trec").read_text().splitlines()) == 6


def test_a_run_is_used_with_the_passages_that_were_searched(cli_here, tiny_collection, tmp_path):
    """Ids alone do not tell collections apart: the same ids stand in the other one."""
    queries = [json.loads(line) for line in (tiny_collection / "queries.jsonl").read_text().splitlines()]
    rows = [json.dumps(query | {"answers": ["bees"]}) + "\n" for query in queries]
    (tiny_collection / "queries.jsonl").write_text("".join(rows))
    other, runs = tmp_path / "other", []
    shutil.copytree(tiny_collection, other)
    (other / "corpus.jsonl").write_text((other / "corpus.jsonl").read_text().replace("the ", "a "))
    for place in (tiny_collection, other):
        index, run = tmp_path / f"bm25-{place.name}", tmp_path / f"{place.name}.trec"
        cli_here("index", "--corpus", place, "--type", "bm25", "--output", index)
        cli_here("search", "--index", index, "--queries", f"{place}:test", "--output", run)
        runs.append(run)
    found = runs[0]
    uses = [
        ["mine-negatives", "--run", found, "--data", "{}:test", "--output", tmp_path / "hard.jsonl"],
        ["evaluate", "--run", found, "--answers", "{}:test"],
        ["convert", found, "--queries", "{}:test", "--output-format", "dpr"],
    ]
    uses[-1] += ["--output", tmp_path / "dpr.json"]
    for words in uses:
        err = cli_here(*(str(word).format(other) for word in words), code=5).err
        assert f"{found} was found in other passages than those that are given" in err
        cli_here(*(str(word).format(tiny_collection) for word in words))
    again, both = tmp_path / "again.trec", tmp_path / "both.trec"
    copy = Path(shutil.copy(found, tmp_path / "copy.trec"))
    cli_here("evaluate", "--run", copy, "--answers", f"{other}:test")  # the way out that the refusal names
    told = cli_here("validate", f"{other}:test", found, code=5).out
    assert "was not searched in the passages of" in told
    fuse = ["fuse-bm25", "--run", found, "--output", both, "--method", "rrf", "--bm25-run"]
    assert "were found in different passages" in cli_here(*fuse, runs[1], code=5).err
    cli_here("convert", found, "--output-format", "trec", "--output", again)
    tune = ["fuse-bm25", "--run", found, "--bm25-run", again, "--tune", "0.5:1:0.5", "--output"]
    refused = cli_here(*tune, tmp_path / "t.trec", "--answers", f"{other}:test", code=5).err
    assert "was found in other passages than those that are given" in refused
    dev = ["--qrels", f"{tiny_collection}:test", "--dev-run", found, "--dev-bm25-run", runs[1]]
    assert "were found in different passages" in cli_here(*tune, tmp_path / "t.trec", *dev, code=5).err
    cli_here(*fuse, again)
    one, _, *made = (read_manifest(manifest_path(path)).extra["corpus"] for path in (*runs, again, both))
    assert made == [one, one]


def test_fusion_tells_bm25s_run_from_a_dense_one(work: Path, tiny_collection, cli_here) -> None:
    dense, bm25 = work / "dense.trec", work / "bm25.trec"
    queries = ["--query-embeddings", work / "queries"]
    cli_here("search", "--index", work / "emb", *queries, "--hits", 3, "--output", dense)
    cli_here("index", "--corpus", tiny_collection, "--type", "bm25", "--output", work / "words")
    cli_here("search", "--index", work / "words", "--queries", f"{tiny_collection}:test", "--output", bm25)
    fuse = ["fuse-bm25", "--alpha", 1, "--output", work / "both.trec"]
    err = cli_here(*fuse, "--run", bm25, "--bm25-run", dense, code=2).err
    assert f"{bm25} is BM25's run and {dense} a model's; give them the other way round" in err
    sets = ["--qrels", f"{tiny_collection}:test", "--dev-run", bm25, "--dev-bm25-run", dense]
    tune = ["fuse-bm25", "--tune", "0:1:1", "--output", work / "both.trec", *sets]
    assert "the other way round" in cli_here(*tune, "--run", dense, "--bm25-run", dense, code=2).err
