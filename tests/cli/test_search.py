"""index, search and merge from the command line: one chain, aliases, exit codes, JSON."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


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
