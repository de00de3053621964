"""A signal at a random moment of every stage; the same command again gives the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORDS = "honey bee hive nectar moon tide ocean wave flour yeast dough rook bishop lava ash press ink".split()
RESUMABLE = 75


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six thousand passages and 300 queries: six chunks of vectors."""
    folder = tmp_path_factory.mktemp("data") / "many"
    (folder / "qrels").mkdir(parents=True)
    chance = random.Random(3)
    with open(folder / "corpus.jsonl", "w") as file:
        for row in range(6000):
            record = {"_id": f"p{row}", "title": "", "text": " ".join(chance.choices(WORDS, k=12))}
            file.write(json.dumps(record) + "\n")
    with open(folder / "queries.jsonl", "w") as file, open(folder / "qrels" / "test.tsv", "w") as qrels:
        qrels.write("query-id\tcorpus-id\tscore\n")
        for row in range(300):
            file.write(json.dumps({"_id": f"q{row}", "text": " ".join(chance.choices(WORDS, k=3))}) + "\n")
            qrels.write(f"q{row}\tp{row}\t1\n")
    return folder


def hashed(path: Path) -> dict[str, bytes]:
    """Return every hashed file of an artefact (all but provenance) by name."""
    files = [path, *path.parent.glob(path.name + ".*")] if path.is_file() else path.rglob("*")
    return {
        str(file.relative_to(path.parent)).replace(path.name, "", 1): file.read_bytes()
        for file in files
        if file.is_file() and "provenance" not in file.name
    }


def stages(collection: Path, model: Path, work: Path) -> dict[str, tuple[list[object], Path]]:
    """Return stage to its command and its output, each reading the outputs before it."""
    encode = ["encode", "--model", model, "--threads", 1]
    return {
        "encode": (
            [*encode, "--corpus", collection, "--output", work / "passages"],
            work / "passages",
        ),
        "queries": (
            [*encode, "--queries", f"{collection}:test", "--output", work / "queries"],
            work / "queries",
        ),
        "index": (
            ["index", "--embeddings", work / "passages", "--type", "flat", "--output", work / "index"],
            work / "index",
        ),
        "search": (
            ["search", "--index", work / "index", "--query-embeddings", work / "queries",
             "--hits", 100, "--output", work / "run.trec"],
            work / "run.trec",
        ),
        "evaluate": (
            ["evaluate", "--run", work / "run.trec", "--qrels", f"{collection}:test",
             "--metrics", "nDCG@10", "--output", work / "metrics.json"],
            work / "metrics.json",
        ),
        "bm25": (
            ["index", "--corpus", collection, "--type", "bm25", "--output", work / "bm25"],
            work / "bm25",
        ),
        "bm25-search": (
            ["search", "--index", work / "bm25", "--queries", f"{collection}:test", "--hits", 100,
             "--output", work / "bm25.trec"],
            work / "bm25.trec",
        ),
        "fuse-bm25": (
            ["fuse-bm25", "--run", work / "run.trec", "--bm25-run", work / "bm25.trec", "--alpha", 0.9,
             "--output", work / "fused.trec"],
            work / "fused.trec",
        ),
        "mine-negatives": (
            ["mine-negatives", "--data", f"{collection}:test", "--run", work / "run.trec",
             "--depth", 50, "--num-negatives", 4, "--output", work / "examples.jsonl"],
            work / "examples.jsonl",
        ),
    }  # fmt: skip


def start(words: list[object], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the command line with those words."""
    command = [sys.executable, "-m", "dretrieve_cli", *map(str, words), "--quiet"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/"
    )


def finish(words: list[object], environment: dict[str, str]) -> float:
    """Run to the end; return the seconds."""
    started = time.perf_counter()
    process = start(words, environment)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    return time.perf_counter() - started


@pytest.mark.parametrize(
    ("signals", "rounds"),
    [((signal.SIGKILL,), 2), ((signal.SIGTERM, signal.SIGUSR1), 1)],
    ids=["kill", "term"],
)
@pytest.mark.slow
def test_any_signal_at_any_moment(
    collection: Path, tiny_model: Path, tmp_path: Path, signals: tuple[signal.Signals, ...], rounds: int
) -> None:
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'cli'}", "OMP_NUM_THREADS": "1"}
    unbroken = stages(collection, tiny_model, tmp_path / "unbroken")
    broken = stages(collection, tiny_model, tmp_path / "broken")
    chance = random.Random(11)
    for name, (words, output) in unbroken.items():
        seconds = finish(words, environment)
        again, other = broken[name]
        for _ in range(rounds):
            process = start(again, environment)
            time.sleep(chance.uniform(0.3, 1.0) * seconds)
            sent = chance.choice(signals)
            process.send_signal(sent)
            _, errors = process.communicate(timeout=30)
            legal = {0, -sent} if sent == signal.SIGKILL else {0, RESUMABLE, -sent}
            assert process.returncode in legal, (name, sent, errors.decode())
        for left in other.parent.rglob(".*.tmp-*"):
            os.utime(left, (1, 1))  # as if the kill had been long ago
        finish(again, environment)
        assert hashed(other) == hashed(output), name
        leftovers = [path for path in other.parent.rglob("*") if ".state.json" in path.name]
        assert not leftovers, name
