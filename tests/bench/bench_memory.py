"""Peak anonymous memory of encode, index, search and evaluate on 100,000 and on 1,000,000 passages.

Run: ``python tests/bench/bench_memory.py [--rows 100000 1000000]`` (part of ``make bench``).
The passages are generated, the model is the tests' tiny BERT, every stage is its own process. Anonymous
memory (RssAnon of the process and its children, sampled every 10 ms) is what a process really needs;
memory-mapped files are not in it. The rule: the larger collection needs at most 300 MB more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from conftest import TOPICS, build_tiny_model, command_environment  # noqa: E402

LIMIT_MB = 300
QUERIES = 200
WARM_UP_ROWS = 20_000


def make_collection(folder: Path, rows: int) -> None:
    """Write a BEIR folder of ``rows`` passages of eight words, 200 queries and their qrels."""
    (folder / "qrels").mkdir(parents=True)
    chance = random.Random(rows)
    words = sorted({word for text in TOPICS.values() for word in text.split()})
    with open(folder / "corpus.jsonl", "w") as file:
        for row in range(rows):
            text = " ".join(chance.choices(words, k=8))
            file.write(json.dumps({"_id": f"passage-{row:08d}", "title": f"{row}", "text": text}) + "\n")
    with open(folder / "queries.jsonl", "w") as file, open(folder / "qrels" / "test.tsv", "w") as qrels:
        qrels.write("query-id\tcorpus-id\tscore\n")
        for row in range(QUERIES):
            file.write(json.dumps({"_id": f"q{row}", "text": " ".join(chance.choices(words, k=3))}) + "\n")
            qrels.write(f"q{row}\tpassage-{chance.randrange(rows):08d}\t1\n")


def family(process_id: int) -> list[int]:
    """Return the process and its descendants."""
    found, queue = [], [process_id]
    while queue:
        one = queue.pop()
        found.append(one)
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                queue += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
        except (OSError, ValueError):
            continue
    return found


def anonymous_kb(process_id: int) -> int:
    """Return the anonymous resident memory of one process now (0 when it has ended)."""
    try:
        for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def peak_mb(*words: object) -> tuple[float, float]:
    """Run one command; return its peak anonymous memory in MB and its seconds."""
    command = [sys.executable, "-m", "dretrieve_cli", *map(str, words), "--quiet"]
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, env=command_environment(), stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, sum(anonymous_kb(one) for one in family(process.pid)))
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return peak / 1000, time.perf_counter() - started


def measure(rows: int, folder: Path, model: Path) -> dict[str, tuple[float, float]]:
    """Return stage to (peak MB, seconds) on a collection of that size."""
    data, work = folder / "data", folder / "work"
    make_collection(data, rows)
    model_words = ("--model", model, "--threads", 2)
    return {
        "encode": peak_mb("encode", "--corpus", data, "--output", work / "passages", *model_words),
        "index": peak_mb(
            "index", "--embeddings", work / "passages", "--type", "flat", "--output", work / "index"
        ),
        "search": peak_mb(
            "search", "--index", work / "index", "--queries", f"{data}:test", "--hits", 1000,
            "--output", work / "run.trec", *model_words,
        ),
        "evaluate": peak_mb(
            "evaluate", "--run", work / "run.trec", "--qrels", f"{data}:test", "--metrics", "nDCG@10 R@1000",
            "--output", work / "metrics.json",
        ),
    }  # fmt: skip


def main() -> None:
    """Measure both sizes and print the table; exit 1 when a stage grows by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=(100_000, 1_000_000))
    small, large = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = build_tiny_model(folder / "model")
        measure(WARM_UP_ROWS, folder / "warm-up", model)  # else the first size pays for compiling
        found = {rows: measure(rows, folder / str(rows), model) for rows in (small, large)}
    print(f"peak anonymous memory, MB (limit: +{LIMIT_MB})")
    print(f"{'stage':<10}{small:>12,}{large:>12,}{'more':>8}{'seconds':>16}")
    worst = 0.0
    for stage, (less, seconds) in found[small].items():
        more, longer = found[large][stage]
        worst = max(worst, more - less)
        print(f"{stage:<10}{less:>12.0f}{more:>12.0f}{more - less:>8.0f}{seconds:>8.1f}{longer:>8.1f}")
    if worst > LIMIT_MB:
        raise SystemExit(f"a stage needs {worst:.0f} MB more on {large:,} passages; the limit is {LIMIT_MB}")


if __name__ == "__main__":
    main()
