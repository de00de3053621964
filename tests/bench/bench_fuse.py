"""Fusion beside ranx: 6,000 queries x 1,000 hits a run, interleaved, one thread, ranx compiled and warm.

Run: ``python tests/bench/bench_fuse.py [--queries 6000] [--rounds 3]``.
Two rules that both know: reciprocal ranks (ranx's ``rrf``, k 60) and a weighted sum with 0 for what is
missing (ranx's ``wsum`` without normalisation). Timed twice: fusing alone, and with reading both
runs from TREC files. The results must be equal to 1e-6. The rule: fusing at
least 5 times as fast as ranx.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import ranx  # noqa: E402

from dretrieve.runs.build import HitColumns, build_run  # noqa: E402
from dretrieve.runs.fuse import align, fuse  # noqa: E402
from dretrieve.runs.options import FuseOptions  # noqa: E402
from dretrieve.runs.read import read_run  # noqa: E402
from dretrieve.runs.write import write_run  # noqa: E402
from dretrieve.types import Run  # noqa: E402

ALPHA = 0.4
OURS = {
    "rrf": FuseOptions(method="rrf", depth=1000, hits=2000),
    "weighted": FuseOptions(alpha=ALPHA, missing="zero", depth=1000, hits=2000),
}


def make_columns(queries: int, hits: int, passages: int, seed: int) -> dict[str, Any]:
    """Return a run as columns: query rows, passage rows (each once a query), scores."""
    chance = np.random.default_rng(seed)
    rows = np.stack([chance.choice(passages, hits, replace=False) for _ in range(queries)])
    # No two scores of a query are equal: ranx has another rule for ties.
    scores = chance.permuted(np.tile(np.arange(hits), (queries, 1)), axis=1) + chance.uniform(
        0, 0.9, rows.shape
    )
    return {
        "queries": np.repeat(np.arange(queries, dtype=np.int32), hits),
        "passages": rows.astype(np.int32).ravel(),
        "scores": scores.astype(np.float32).ravel(),
        "query_ids": [f"q{row}" for row in range(queries)],
        "passage_ids": [f"passage-{row}" for row in range(passages)],
    }


def our_run(columns: dict[str, Any]) -> Run:
    return build_run(HitColumns(**columns, tag="bench"))


def their_run(path: Path) -> ranx.Run:
    return ranx.Run.from_file(str(path), kind="trec")


def their_fusion(first: ranx.Run, second: ranx.Run, rule: str) -> ranx.Run:
    if rule == "rrf":
        return ranx.fuse(runs=[first, second], method="rrf", params={"k": 60}, norm=None)
    return ranx.fuse(runs=[first, second], method="wsum", params={"weights": (1.0, ALPHA)}, norm=None)


def compile_all(files: list[Path]) -> None:
    """Let both sides compile what they will run."""
    for rule, options in OURS.items():
        fuse(align(*map(read_run, files)), options)
        their_fusion(*map(their_run, files), rule)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of one call, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def check_equal(ours: Run, theirs: ranx.Run) -> None:
    """Compare the scores of some queries."""
    for row in range(0, len(ours), max(1, len(ours) // 20)):
        found, expected = dict(ours.hits(row)), theirs.run[ours.query_ids[row]]
        assert found.keys() == set(expected), "other passages"
        np.testing.assert_allclose([found[p] for p in expected], list(expected.values()), rtol=1e-6)


def main() -> None:
    """Measure and print; exit 1 when the rule is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=6_000)
    parser.add_argument("--hits", type=int, default=1_000)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-fuse-"))
    small = [folder / f"small-{seed}.trec" for seed in (1, 2)]
    files = [folder / f"run-{seed}.trec" for seed in (3, 4)]
    for seed, path in enumerate(small, 1):
        write_run(path, our_run(make_columns(20, 50, 200, seed)))
    for seed, path in enumerate(files, 3):
        write_run(path, our_run(make_columns(arguments.queries, arguments.hits, arguments.passages, seed)))
    compile_all(small)
    ours_read, ours = timed(lambda: [read_run(path) for path in files])
    theirs_read, theirs = timed(lambda: [their_run(path) for path in files])
    shutil.rmtree(folder)
    print(
        f"two runs of {arguments.queries:,} x {arguments.hits:,}, CPU seconds, median of {arguments.rounds}"
    )
    print(f"reading   ours {ours_read:.2f}   ranx {theirs_read:.2f}")
    broken = False
    for rule, options in OURS.items():
        seconds: list[tuple[float, float]] = []
        for _ in range(arguments.rounds):
            own, fused = timed(lambda options=options: fuse(align(*ours), options))
            peer, expected = timed(lambda rule=rule: their_fusion(*theirs, rule))
            seconds.append((own, peer))
        check_equal(fused, expected)
        own, peer = (statistics.median(column) for column in zip(*seconds, strict=True))
        alone, whole = peer / own, (peer + theirs_read) / (own + ours_read)
        print(f"{rule:9} ours {own:.2f}   ranx {peer:.2f}   ratio {alone:.1f}, with reading {whole:.1f}")
        broken |= alone < 5
    if broken:
        sys.exit(1)


if __name__ == "__main__":
    main()
