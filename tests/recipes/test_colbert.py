"""ColBERT's table: the invented world through it, and the paper's own profile in miniature."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What `smoke` cannot fill: MS MARCO.
ELSEWHERE = ("msmarco.",)
# Pairs of metrics files of `smoke`, and the cells that each of them fills.
SWAPS = {
    ("colbert.nq.1", "shared.nq.1"): ("small.colbert.nq", "small.shared.nq"),
    ("tokens-untuned.nfcorpus", "untuned.nfcorpus"): (
        "small.untuned.nfcorpus",
        "recall.tokens-untuned.nfcorpus",
    ),
    ("bm25.arguana", "bm25.nq"): ("small.bm25.arguana", "small.bm25.nq"),
}


@pytest.mark.slow
def test_smoke_fills_the_table_and_learns(paper, tmp_path):
    colbert = paper("colbert", tmp_path / "work")
    colbert.smoke(["table2"], ELSEWHERE)
    colbert.check_swapped("smoke", SWAPS)
    colbert.check_nothing_is_taken("mini-cpu")
    colbert.check_again("table2", 51)


def test_both_learn_from_the_questions_that_taser_learns_from(calls_of):
    ours, taser = (
        {call.made: call for call in calls if call[0] == "train"}
        for name in ("colbert/table2", "taser/tableA1")
        for calls in [calls_of(ROOT / f"recipes/{name}.sh", PROFILE="mini-cpu", SHARDS="1")]
    )

    def learned(call: list[str]) -> list[list[str]]:
        words = [word.replace("work/taser", "work/colbert") for word in call]
        return [words[words.index("--data") : words.index("--output")], words[words.index("--seed") :]]

    assert {row: learned(call) for row, call in ours.items()} == dict.fromkeys(
        ("shared.1", "colbert.1"), learned(taser["shared.1"])
    )
    assert ours["colbert.1"].behind("--backbone").endswith("models/tokens-untuned")


def test_the_paper_trains_200_000_steps_on_ms_marco_and_chooses_no_weights(calls_of):
    calls = calls_of(ROOT / "recipes/colbert/table2.sh", PROFILE="paper", SHARDS="1")
    made = {(call[0], call.made): call for call in calls}
    call = made["train", "colbert.1"]
    wanted = {"--batch-size": "32", "--max-steps": "200000", "--learning-rate": "3e-6", "--dev": ""}
    assert {option: call.behind(option) for option in wanted} == wanted
    assert call.behind("--backbone") == "google-bert/bert-base-uncased"
    searched = made["search", "colbert.1.msmarco.trec.zst"]
    assert (searched.behind("--hits"), searched.behind("--queries")) == (
        "1000",
        "work/colbert/paper/wiki:dev",
    )


@pytest.mark.slow
@pytest.mark.long
def test_the_table_of_the_paper_is_filled_in_miniature(script, mirror, paper, tmp_path):
    script("recipes/smoke.py").main(tmp_path / "world")
    (tmp_path / "mirror").mkdir()
    mirror.write_beir(tmp_path / "mirror", tmp_path / "world" / "nq", ["msmarco"], mirror.SPLITS)
    colbert = paper("colbert", tmp_path / "work")
    with mirror.served(tmp_path / "mirror") as address:
        found = colbert.filled(colbert.miniature(["table2"], address))
    rows, columns = ("bm25", "shared", "colbert", "colbert-fast"), ("rr10", "r50", "r200", "r1000")
    assert found == {f"msmarco.{row}.{column}" for row in rows for column in columns}
    assert colbert.shards("vectors/colbert.1.msmarco") == 2
