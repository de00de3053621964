"""Evaluation of 6,980 queries x 1,000 hits, loading included: ``dretrieve evaluate`` against pytrec_eval.

Run: ``python tests/bench/bench_evaluate.py [--queries 6980 --hits 1000 --rounds 3]``.
Both sides are whole processes that take turns: start, imports, reading the same files, measuring, every
query's values as JSON. The peer reads into the dicts that pytrec_eval wants with one ``split`` a line, its
own documented way without the checks. The first round of ours may compile its loops; it is not counted.
Passes at 3 times the peer and equal values (within 1e-9 for every query).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
MEASURES = {"nDCG@10": "ndcg_cut_10", "RR": "recip_rank", "R@100": "recall_100", "AP": "map"}
REQUIRED, TOLERANCE = 3.0, 1e-9

PEER = """
import json, sys
import pytrec_eval
run, qrels = {}, {}
with open(sys.argv[1]) as file:
    for line in file:
        query, _, passage, _, score, _ = line.split()
        if query not in run:
            run[query] = {}
        run[query][passage] = float(score)
with open(sys.argv[2]) as file:
    for line in file:
        query, _, passage, grade = line.split()
        if query not in qrels:
            qrels[query] = {}
        qrels[query][passage] = int(grade)
found = pytrec_eval.RelevanceEvaluator(qrels, set(sys.argv[4:])).evaluate(run)
with open(sys.argv[3], "w") as file:
    json.dump(found, file)
"""


def generate(folder: Path, queries: int, hits: int) -> tuple[Path, Path]:
    """Write a run like a first stage's on MS MARCO (8.8 million passages) and its qrels."""
    chance = np.random.default_rng(0)
    run, qrels = folder / "run.trec", folder / "qrels.txt"
    with open(run, "w") as run_file, open(qrels, "w") as qrels_file:
        for query in range(queries):
            passages = chance.choice(8_841_823, hits, replace=False)
            scores = np.sort(chance.random(hits, dtype=np.float32) * 30)[::-1].round(4)
            name = 1_000_000 + 7 * query
            run_file.write(
                "".join(
                    f"{name} Q0 {passage} {rank} {score:.6f} bench\n"
                    for rank, passage, score in zip(range(1, hits + 1), passages, scores, strict=True)
                )
            )
            relevant = {int(passages[min(int(chance.exponential(60)), hits - 1)]), 8_841_823 + query}
            qrels_file.writelines(
                f"{name} 0 {passage} {chance.integers(0, 4)}\n" for passage in sorted(relevant)
            )
    return run, qrels


def timed(command: list[str]) -> tuple[float, float]:
    """Return wall and processor seconds of a command."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'cli'}"}
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def largest_difference(our_file: Path, peer_file: Path) -> float:
    """Return the largest difference of any query's value."""
    mine = json.loads(our_file.read_text())["runs"][0]["per_query"]
    peer = json.loads(peer_file.read_text())
    assert set(mine) == set(peer), "the two sides measured different queries"
    pairs = [(values, peer[query]) for query, values in mine.items()]
    return max(abs(ours[name] - theirs[other]) for ours, theirs in pairs for name, other in MEASURES.items())


def main() -> int:
    """Print one row a round and the ratio of the medians; return 0 when both gates hold."""
    parser = argparse.ArgumentParser(description="Evaluation against pytrec_eval, turn by turn.")
    parser.add_argument("--queries", type=int, default=6980)
    parser.add_argument("--hits", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-evaluate-") as name:
        folder = Path(name)
        run, qrels = generate(folder, arguments.queries, arguments.hits)
        print(f"{arguments.queries:,} queries x {arguments.hits:,} hits, {run.stat().st_size / 1e6:,.0f} MB")
        ours = [sys.executable, "-m", "dretrieve_cli", "evaluate", "--force", "--quiet", "--run", str(run)]
        ours += ["--qrels", str(qrels), "-m", " ".join(MEASURES), "--output", str(folder / "ours.json")]
        peer = [sys.executable, "-c", PEER, str(run), str(qrels), str(folder / "peer.json")]
        peer += MEASURES.values()
        print(f"first call of ours: {timed(ours)[0]:.2f} s")
        rows = [(*timed(ours), *timed(peer)) for _ in range(arguments.rounds)]
        print("round  dretrieve wall/cpu  pytrec_eval wall/cpu")
        for number, row in enumerate(rows, 1):
            print(f"{number:>5}  {row[0]:8.2f} {row[1]:8.2f}  {row[2]:8.2f} {row[3]:10.2f}")
        wall, cpu, peer_wall, peer_cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        difference = largest_difference(folder / "ours.json", folder / "peer.json")
    print(f"ratio wall {peer_wall / wall:.2f}, cpu {peer_cpu / cpu:.2f} (required {REQUIRED})")
    print(f"largest difference of a query's value {difference:.1e} (allowed {TOLERANCE:.0e})")
    passed = peer_wall / wall >= REQUIRED and difference <= TOLERANCE
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
