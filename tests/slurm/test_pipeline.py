"""Two stages and the merge as dependent Slurm jobs, submitted at once: the run that one process writes."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

ROWS = 3 * 1024 + 100
SHARDS = 4


@pytest.mark.slow
def test_encode_search_and_merge_as_dependent_jobs(slurm, cli, tiny_collection, tiny_model, tmp_path):
    base = [json.loads(line) for line in (tiny_collection / "corpus.jsonl").read_text().splitlines()]
    rows = [
        {**base[row % 30], "_id": f"p{row}", "title": f"{base[row % 30]['title']} {row}"}
        for row in range(ROWS)
    ]
    (tiny_collection / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = ["--model", tiny_model]
    passages = [*model, "--corpus", tiny_collection]
    cli("encode", *model, "--queries", f"{tiny_collection}:train", "--output", "queries")
    cli("encode", *passages, "--output", "whole")
    search = ["--query-embeddings", "queries", "--hits", "20"]
    cli("search", "--index", "whole", *search, "--output", "whole.trec")

    cut = ["--shards", SHARDS, "--cpus", 1, "--submit", "--json"]
    first = cli("array", "encode", *passages, "--output", "parts", *cut).json()
    words = ["--index", "parts", *search, "--output", "run.{shard}.trec", "--after", "parts.array"]
    second = cli("array", "search", *words, *cut, "--then", "merge {outputs} --output parts.trec").json()
    assert second["plan"] == "run.trec.array"
    jobs = [*first["submitted"].values(), *second["submitted"].values()]
    assert len(jobs) == 3
    end = time.monotonic() + 600
    while subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout.strip():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.5)
    logs = "".join(path.read_text() for path in tmp_path.glob("*.array/logs/*.log"))
    assert (tmp_path / "parts.trec").is_file(), logs[-3000:]
    assert (tmp_path / "parts.trec").read_bytes() == (tmp_path / "whole.trec").read_bytes()
    assert len((tmp_path / "parts.trec").read_text().splitlines()) == 6 * 20
