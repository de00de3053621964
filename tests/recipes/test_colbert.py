"""ColBERT's table: the invented world through it, and the paper's own profile in miniature."""

from __future__ import annotations

import zipfile
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
    stands = colbert.made()
    again = colbert.run("table2", PROFILE="smoke")
    assert colbert.made() == stands
    assert again.stdout.count("up to date") > 50
    assert "train (" not in again.stderr


def word_behind(option: str, call: list[str]) -> str:
    """Return what stands behind an option, or nothing."""
    return call[call.index(option) + 1] if option in call else ""


def calls_by_output(calls: list[list[str]], command: str) -> dict[str, list[str]]:
    """Return a command's calls by the last part of what they make."""
    return {Path(word_behind("--output", call)).name: call for call in calls if call[0] == command}


def test_both_learn_from_the_questions_that_taser_learns_from(calls_of):
    ours, taser = (
        calls_by_output(calls_of(ROOT / f"recipes/{name}.sh", PROFILE="mini-cpu", SHARDS="1"), "train")
        for name in ("colbert/table2", "taser/tableA1")
    )

    def learned(call: list[str]) -> list[list[str]]:
        words = [word.replace("work/taser", "work/colbert") for word in call]
        return [words[words.index("--data") : words.index("--output")], words[words.index("--seed") :]]

    assert {row: learned(call) for row, call in ours.items()} == dict.fromkeys(
        ("shared.1", "colbert.1"), learned(taser["shared.1"])
    )
    assert word_behind("--backbone", ours["colbert.1"]).endswith("models/tokens-untuned")


def test_the_paper_trains_200_000_steps_on_ms_marco_and_chooses_no_weights(calls_of):
    calls = calls_of(ROOT / "recipes/colbert/table2.sh", PROFILE="paper", SHARDS="1")
    call = calls_by_output(calls, "train")["colbert.1"]
    wanted = {"--batch-size": "32", "--max-steps": "200000", "--learning-rate": "3e-6", "--dev": ""}
    assert {option: word_behind(option, call) for option in wanted} == wanted
    assert word_behind("--backbone", call) == "google-bert/bert-base-uncased"
    searched = calls_by_output(calls, "search")["colbert.1.msmarco.trec.zst"]
    assert (word_behind("--hits", searched), word_behind("--queries", searched)) == (
        "1000",
        "work/colbert/paper/wiki:dev",
    )


@pytest.mark.slow
@pytest.mark.long
def test_the_table_of_the_paper_is_filled_in_miniature(script, mirror, paper, tmp_path):
    script("recipes/smoke.py").main(tmp_path / "world")
    (tmp_path / "mirror").mkdir()
    with zipfile.ZipFile(tmp_path / "mirror" / "msmarco.zip", "w") as bundle:
        for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/dev.tsv", "qrels/test.tsv"):
            bundle.writestr(f"msmarco/{name}", (tmp_path / "world" / "nq" / name).read_text())
    with mirror.served(tmp_path / "mirror") as address:
        variables = {
            "PROFILE": "paper",
            "MIRROR": address,
            "BACKBONE": "tiny",
            "SHARDS": "2",
            "DRETRIEVE": paper.warm,
            "DRETRIEVE_CACHE": str(tmp_path / "cache"),
        }
        colbert = paper("colbert", tmp_path / "work")
        colbert.run("table2", **variables)
        cells = colbert.report("paper", code=5, **variables)["cells"]
    found = colbert.filled(cells)  # a hundred rows do not give the paper's numbers
    rows, columns = ("bm25", "shared", "colbert", "colbert-fast"), ("rr10", "r50", "r200", "r1000")
    assert found == {f"msmarco.{row}.{column}" for row in rows for column in columns}
    assert (
        len(list((colbert.work / "vectors" / "colbert.1.msmarco").glob("shard-*-of-00002.manifest.json")))
        == 2
    )
