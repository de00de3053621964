from __future__ import annotations

import json

from dretrieve.models.model_folder import save_model
from dretrieve.models.reatt import Reatt
from dretrieve.models.reatt_config import ReattConfig


def test_read_from_the_command_line(cli_here, small_t5, tiny_collection, tmp_path):
    save_model(Reatt.build(ReattConfig(answer_max_len=4), str(small_t5())), tmp_path / "model")
    (tmp_path / "run.trec").write_text("q-bees-2 Q0 bees-0 1 2.0 toy\nq-bees-2 Q0 bees-1 2 1.0 toy\n")
    line = [
        "read", "--model", tmp_path / "model", "--run", tmp_path / "run.trec", "--device", "cpu",
        "--queries", f"{tiny_collection}:test", "--depth", "2", "--output", tmp_path / "answers.jsonl",
    ]  # fmt: skip
    assert "would read 6 questions with 2 passages each" in cli_here(*line, "--dry-run").out
    counts = json.loads(cli_here(*line, "--json").out)["counts"]
    assert (counts["questions"], counts["passages"], counts["questions_alone"]) == (6, 2, 5)
    assert "next: dretrieve evaluate --predictions" in cli_here(*line).out
    assert "--depth" in cli_here(*line, "--depth", "0", code=2).err
