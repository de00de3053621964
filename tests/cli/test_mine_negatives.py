from __future__ import annotations

import json


def test_mine_from_the_command_line(cli_here, tiny_collection, tmp_path):
    hits = "".join(
        f"q-bees-0 Q0 {name} {rank} {9 - rank} toy\n" for rank, name in enumerate(("bees-0", "bees-1"), 1)
    )
    (tmp_path / "run.trec").write_text(hits)
    line = [
        "mine-negatives", "--data", f"{tiny_collection}:train", "--run", tmp_path / "run.trec",
        "--output", tmp_path / "hard.jsonl", "--n_sample", "3",
    ]  # fmt: skip
    counts = json.loads(cli_here(*line, "--json").out)["counts"]
    assert counts["examples"] == 6
    assert counts["negatives"] == 1
    assert counts["dropped_positive"] == 1
    assert cli_here(*line).out.startswith("up to date")
