"""What users give by mistake, at the command line: the exit code, and one sentence that names the cure."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dretrieve.types import Vectors
from tests.common import flip

Cli = Callable[..., object]
PRECONDITION, DATA, VERIFICATION, USAGE = 3, 4, 5, 2


@pytest.fixture
def refused(cli_here: Cli) -> Callable[..., str]:
    """``refused(code, pattern, *words)``: the command ends with that code and one matching line on stderr."""

    def check(code: int, pattern: str, *words: object) -> str:
        outcome = cli_here(*words, "--quiet", code=code)
        assert outcome.err.count("\n") == 1, outcome.err
        assert outcome.err.startswith("dretrieve: ")
        assert "Traceback" not in outcome.err
        assert re.search(pattern, outcome.err), outcome.err
        return outcome.err

    return check


BAD_PASSAGES = {
    "malformed": (b'{"_id": "x", "text": "a"', r"corpus\.jsonl, line 31: not valid JSON"),
    "no id": (b'{"text": "a"}', r"line 31: no id \(_id, .*\) among its keys 'text'"),
    "empty id": (b'{"_id": "", "text": "a"}', r"line 31: the id '' is empty; give"),
    "null id": (b'{"_id": null, "text": "a"}', r"line 31: '_id' is null"),
    "fraction": (b'{"_id": 1.5, "text": "a"}', r"line 31: '_id' is a number \(1\.5\); ids are strings"),
    "duplicate": (b'{"_id": "bees-0", "text": "a"}', r"line 31: the id 'bees-0' stands on line 1 already"),
    "NUL in id": (b'{"_id": "a\\u0000b", "text": "a"}', r"line 31: the id .* holds white space or a NUL"),
    "line end in id": (b'{"_id": "a\\nb", "text": "a"}', r"line 31: the id .* holds white space or a NUL"),
    "no text": (b'{"_id": "x"}', r"line 31: no text \(text, .*\) among its keys '_id'"),
    "text null": (b'{"_id": "x", "text": null}', r"line 31: 'text' is null, expected a string"),
    "not UTF-8": (b'{"_id": "x", "text": "\xff"}', r"line 31: not UTF-8"),
    "NaN": (b'{"_id": "x", "text": "a", "y": NaN}', r"line 31: not valid JSON \(NaN"),
}


@pytest.mark.parametrize(("line", "pattern"), BAD_PASSAGES.values(), ids=BAD_PASSAGES)
def test_broken_passages_name_file_and_line(
    tiny_collection: Path, tmp_path: Path, refused: Callable[..., str], line: bytes, pattern: str
) -> None:
    with open(tiny_collection / "corpus.jsonl", "ab") as file:
        file.write(line + b"\n")
    words = ("index", "--type", "bm25", "--corpus", tiny_collection, "--output", tmp_path / "out")
    refused(DATA, pattern, *words)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_odd_but_legal_passages_are_found(tiny_collection: Path, tmp_path: Path, cli_here: Cli) -> None:
    odd = [
        {"_id": 1, "text": "zebra one"},
        {"_id": "001", "text": "zebra two"},
        {"_id": "01", "text": "zebra\tthree\nlines\u0000"},
        {"_id": "void", "title": "", "text": ""},
    ]
    with open(tiny_collection / "corpus.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in odd)
    (tiny_collection / "queries.jsonl").write_text('{"_id": "q", "text": "zebra"}\n')
    (tiny_collection / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t001\t1\n")
    index, run = tmp_path / "index", tmp_path / "run.trec"
    cli_here("index", "--type", "bm25", "--corpus", tiny_collection, "--output", index, "--quiet")
    cli_here("search", "--index", index, "--queries", f"{tiny_collection}:test", "--output", run, "--quiet")
    found = [line.split()[2] for line in run.read_text().splitlines()]
    assert sorted(found) == ["001", "01", "1"], "numeric ids are not padded, stripped or merged"


def test_an_empty_corpus_is_said_in_one_short_sentence(
    tiny_collection: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tiny_collection / "corpus.jsonl").write_text("")
    words = ("index", "--type", "bm25", "--corpus", tiny_collection, "--output", tmp_path / "out")
    message = refused(DATA, r"corpus\.jsonl is empty; write it again", *words)
    assert len(message) < 300


RUN = [("a", 2.5), ("b", 1.5), ("c", 1.5), ("d", 0.5)]


def run_lines(rows: list[tuple[str, object]], rank: int | None = None) -> str:
    """Return TREC lines of one query."""
    return "".join(
        f"q Q0 {text_id} {number if rank is None else rank} {score} tag\n"
        for number, (text_id, score) in enumerate(rows, 1)
    )


BAD_RUNS = {
    "duplicate": ([*RUN, ("a", 0.1)], r"line 5: passage 'a' stands twice for query 'q' \(first on line 1\)"),
    "NaN": ([("a", "nan")], r"line 1: the score is 'nan'; scores must be finite"),
    "infinite": ([("a", "inf")], r"line 1: the score is 'inf'; scores must be finite"),
    "no number": ([("a", 1.0), ("b", "x")], r"line 2: the score 'x' is not a number"),
}


@pytest.mark.parametrize(("rows", "pattern"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_broken_runs_name_the_line(
    tmp_path: Path, refused: Callable[..., str], rows: list[tuple[str, object]], pattern: str
) -> None:
    run, qrels = tmp_path / "run.trec", tmp_path / "qrels.tsv"
    run.write_text(run_lines(rows))
    qrels.write_text("q 0 a 1\n")
    refused(DATA, pattern, "evaluate", "--run", run, "--qrels", qrels, "--metrics", "nDCG@10")


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("q 0 a x\n", r"line 1: the grade 'x' is not a whole number"),
        ("q 0 a 1\nq 0 a 0\n", r"line 2: passage 'a' is judged twice for query 'q'"),
        ("query-id\tcorpus-id\tscore\n", "the file holds no judgements"),
        ("other 0 a 1\n", r"none of the 1 queries of run run is judged"),
    ],
)
def test_broken_judgements(tmp_path: Path, refused: Callable[..., str], text: str, pattern: str) -> None:
    run, qrels = tmp_path / "run.trec", tmp_path / "qrels.tsv"
    run.write_text(run_lines(RUN))
    qrels.write_text(text)
    refused(DATA, pattern, "evaluate", "--run", run, "--qrels", qrels, "--metrics", "nDCG@10")


def test_ranks_of_zero_and_ties_at_the_cut_follow_scores_and_ids(tmp_path: Path, cli_here: Cli) -> None:
    run, qrels = tmp_path / "run.trec", tmp_path / "qrels.tsv"
    run.write_text(run_lines(RUN[::-1], rank=0))
    for judged, value in (("a", 1.0), ("c", 1.0), ("b", 0.0)):  # at the cut of two, c before b: ids descend
        qrels.write_text(f"q 0 {judged} 1\n")
        outcome = cli_here("evaluate", "--run", run, "--qrels", qrels, "--metrics", "R@2", "--format", "tsv")
        assert float(outcome.out.split()[-2]) == value, outcome.out


def test_a_judged_passage_outside_the_corpus_is_named(tiny_collection: Path, cli_here: Cli) -> None:
    with open(tiny_collection / "qrels" / "test.tsv", "a") as file:
        file.write("q-bees-2\tnowhere\t1\n")
    said = cli_here("validate", tiny_collection, "--quiet").out
    assert "1 of 7 judged passages are not in the corpus (first: nowhere)" in said


@pytest.fixture
def vectors(write_embeddings: Callable[..., Path]) -> dict[str, Path]:
    """Passages in three shards, in one, and of other dims or models, with queries for them."""
    numbers = np.random.default_rng(1).standard_normal((3000, 8)).astype(np.float16)
    ids = [f"p{row}" for row in range(len(numbers))]
    asked = ["q0", "q1"]
    return {
        "three": write_embeddings("three", ids, numbers, shards=3),
        "queries": write_embeddings("queries", asked, numbers[:2], side="query"),
        "narrow": write_embeddings("narrow", asked, numbers[:2, :4], side="query"),
        "strange": write_embeddings("strange", asked, numbers[:2], side="query", model="another"),
    }


def searching(vectors: dict[str, Path], queries: str = "queries", **options: object) -> list[object]:
    """Return the words of a search of the three shards."""
    words: list[object] = ["search", "--index", vectors["three"], "--query-embeddings", vectors[queries]]
    words += ["--output", vectors["three"].parent / "run.trec"]
    return [*words, *(part for name, value in options.items() for part in (f"--{name}", value))]


def test_vectors_that_do_not_fit(vectors: dict[str, Path], refused: Callable[..., str]) -> None:
    refused(VERIFICATION, r"narrow.* 4 .*8", *searching(vectors, "narrow"))
    refused(VERIFICATION, r"encode both with the same model", *searching(vectors, "strange"))
    assert not (vectors["three"].parent / "run.trec").exists()


def test_vectors_per_token_that_do_not_fit(
    write_embeddings: Callable[..., Path], tmp_path: Path, refused: Callable[..., str], cli_here: Cli
) -> None:
    values = np.random.default_rng(0).standard_normal((4500, 8)).astype(np.float16)
    many, ids = Vectors(values, np.arange(501) * 9), [f"p{row}" for row in range(500)]
    emb = write_embeddings("emb", ids, many, score="maxsim_sum")
    other = write_embeddings("other", ids, many, score="maxsim_sum", model="n")
    one = write_embeddings("one", ids, values[:500])
    built = ["index", "--type", "token", "--embeddings"]
    refused(
        VERIFICATION,
        "one vector per passage; index it with --type flat",
        *built,
        one,
        "--output",
        tmp_path / "a",
    )
    flat = ["index", "--type", "flat", "--embeddings", emb, "--output", tmp_path / "b"]
    refused(VERIFICATION, "one vector per token; index it with --type token", *flat)
    for setting in ("bits=3", "target=1.5"):
        refused(USAGE, setting, *built, emb, "--set", setting, "--output", tmp_path / "c")
    index, middles, part = (tmp_path / name for name in ("index", "middles", "part"))
    cli_here(*built, emb, "--output", index, "--quiet")
    added = [*built, emb, "--output", index, "--set"]
    refused(PRECONDITION, "nowhere holds no finished embeddings", *added, "add=nowhere")
    refused(USAGE, "built over these embeddings; give other ones", *added, f"add={emb}")
    cli_here(*built, emb, "--set", "only=centroids", "--output", middles, "--quiet")
    given = [*built, other, "--set", f"centroids={middles}", "--output", tmp_path / "d"]
    refused(VERIFICATION, "centroids of 8 dimensions by the model", *given)
    cli_here(*built, emb, "--shard", "1/2", "--output", part, "--quiet")
    refused(PRECONDITION, r"run --shard 0/2", "merge", part, "--output", tmp_path / "e")
    refused(USAGE, "is one of the parts; choose another name", "merge", part, "--output", part)
    (tmp_path / "ids.txt").write_text("p0\nstrange\n")
    gone = [*built, emb, "--set", f"delete={tmp_path / 'ids.txt'}", "--output", index]
    refused(DATA, r"names 1 ids that the index does not have \(strange\)", *gone)
    asked = write_embeddings("asked", ["q"], many[:1], side="query", score="maxsim_sum")
    flip(index / "codes.npy", -1, dated=True)
    found = ["search", "--index", index, "--query-embeddings", asked, "--output", tmp_path / "run.trec"]
    refused(VERIFICATION, "codes.npy", *found)


def test_missing_truncated_and_flipped_shards(vectors: dict[str, Path], refused: Callable[..., str]) -> None:
    folder = vectors["three"]
    array = folder / "shard-00001-of-00003.vectors.npy"
    whole = array.read_bytes()
    array.write_bytes(whole[:-5])
    refused(VERIFICATION, r"00001-of-00003\.vectors\.npy has .* bytes, .* says", *searching(vectors))
    array.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(VERIFICATION, r"does not have the checksum", *searching(vectors))
    array.unlink()
    refused(PRECONDITION, r"00001-of-00003\.vectors\.npy is missing", *searching(vectors))
    (folder / "shard-00001-of-00003.manifest.json").unlink()
    refused(PRECONDITION, r"lacks 1 of 3 shards; run --shard 1/3", *searching(vectors))


def test_overlapping_and_mixed_shards(
    vectors: dict[str, Path], write_embeddings: Callable[..., Path], refused: Callable[..., str]
) -> None:
    for file in write_embeddings("other", ["p0"], np.ones((1, 8), np.float16)).iterdir():
        shutil.copy(file, vectors["three"])
    refused(VERIFICATION, "mixes embeddings that do not belong together", *searching(vectors))


def test_an_unfinished_folder_is_no_index(vectors: dict[str, Path], refused: Callable[..., str]) -> None:
    for file in vectors["three"].glob("*.manifest.json"):
        file.unlink()
    refused(PRECONDITION, r"holds no finished index and no finished embeddings; run", *searching(vectors))


def test_k_above_the_corpus_returns_everything(vectors: dict[str, Path], cli_here: Cli) -> None:
    cli_here(*searching(vectors, hits=1_000_000), "--quiet")
    lines = (vectors["three"].parent / "run.trec").read_text().splitlines()
    assert len(lines) == 2 * 3000


def test_a_part_is_not_taken_for_the_run(
    vectors: dict[str, Path], cli_here: Cli, refused: Callable[..., str]
) -> None:
    qrels = vectors["three"].parent / "qrels.tsv"
    qrels.write_text("q0 0 p0 1\n")
    said = cli_here(*searching(vectors, shard="0/2"), "--quiet").out
    assert "next: the other parts, then dretrieve merge" in said
    run = vectors["three"].parent / "run.trec"
    pattern = r"is only one part of a sharded search; join all parts with `dretrieve merge`"
    refused(PRECONDITION, pattern, "evaluate", "--run", run, "--qrels", qrels)
    fused = ("--alpha", 1, "--output", run.with_name("fused.trec"))
    refused(PRECONDITION, pattern, "fuse-bm25", "--run", run, "--bm25-run", run, *fused)


@pytest.mark.parametrize("shard", ["3/3", "-1/3", "1", "a/b", "0/0"])
def test_shards_that_do_not_exist(vectors: dict[str, Path], refused: Callable[..., str], shard: str) -> None:
    refused(USAGE, r"shard", *searching(vectors, shard=shard))


def test_no_gpu(
    vectors: dict[str, Path], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(PRECONDITION, r"no GPU that torch can use; use --device cpu", *searching(vectors, device="cuda"))


def test_an_extra_that_is_missing(
    vectors: dict[str, Path], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    words = ("index", "--embeddings", vectors["three"], "--type", "hnsw", "--output")
    refused(PRECONDITION, r"faiss.*cpu", *words, vectors["three"].parent / "hnsw")


def test_an_output_is_never_one_of_its_inputs(
    vectors: dict[str, Path], cli_here: Cli, refused: Callable[..., str]
) -> None:
    cli_here(*searching(vectors, shard="0/1"), "--quiet")
    run = vectors["three"].parent / "run.trec"
    before = run.read_bytes()
    fused = ("fuse-bm25", "--run", run, "--bm25-run", run, "--alpha", 1, "--output", run, "--force")
    refused(USAGE, "--output is one of the runs to fuse; choose another name", *fused)
    refused(USAGE, "is one of the parts; choose another name", "merge", run, "--output", run, "--force")
    assert run.read_bytes() == before


def test_negatives_from_a_run_of_other_queries(
    tiny_collection: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    run, output = tmp_path / "run.trec", tmp_path / "examples.jsonl"
    run.write_text("q-bees-0 Q0 bees-0 1 2.0 tag\nq-bees-0 Q0 bread-1 2 1.0 tag\n")
    words = ("mine-negatives", "--data", f"{tiny_collection}:test", "--run", run, "--output", output)
    refused(DATA, "the run has no hits for the 6 queries; give the run that was searched", *words)
    state = json.loads((tmp_path / "examples.jsonl.state.json").read_text())
    assert (state["state"], state["exit_code"]) == ("failed", DATA)


def test_an_answer_measure_with_judgements_names_its_option(
    tiny_collection: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    run = tmp_path / "run.trec"
    run.write_text(run_lines(RUN))
    words = ("evaluate", "--run", run, "--qrels", f"{tiny_collection}:test", "--metrics", "top20")
    refused(USAGE, r"top20 is no measure \(top20 is measured with --answers DIR:split\)", *words)
