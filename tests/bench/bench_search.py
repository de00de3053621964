"""Exact search against faiss IndexFlatIP: same vectors, same threads, turn by turn, overlap beside speed.

Run: ``make bench-search`` (or ``python tests/bench/bench_search.py [--rows 1000000 --dim 384 --threads 2]``).
The vectors are clustered unit vectors, float16 as `encode` stores them; faiss holds the same numbers in
float32 in memory. Ours reads memory-mapped files: once as bare embeddings, once with the flat index's bytes.
Overlap is the share of faiss's k hits that are ours too; the two differ where float32 sums of faiss tie or
swap neighbours, which is why the count of true errors (a canonical score below faiss's k-th by more than
rounding) stands beside it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dretrieve.index import flat  # noqa: E402
from dretrieve.index.exact import ExactOptions  # noqa: E402
from dretrieve.index.registry import build_index, plan_index  # noqa: E402
from dretrieve.index.top_k import TopK  # noqa: E402
from dretrieve.store.embeddings import EmbeddingPlan, Embeddings  # noqa: E402
from dretrieve.store.interrupt import Signals  # noqa: E402
from dretrieve.store.shard_writer import ShardWriter  # noqa: E402
from dretrieve.store.shards import shard_rows  # noqa: E402
from dretrieve.types import Silent, Vectors, VectorSpec  # noqa: E402

CLUSTERS = 2000


def clustered(chance: np.random.Generator, centres: np.ndarray, count: int) -> np.ndarray:
    """Return unit vectors around the centres, float16."""
    vectors = centres[chance.integers(0, len(centres), count)]
    vectors = vectors + chance.standard_normal(vectors.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16)


def write_embeddings(folder: Path, rows: int, dim: int, centres: np.ndarray) -> Embeddings:
    """Write passages as `encode` does."""
    plan = EmbeddingPlan(
        side="passage",
        vectors=VectorSpec(dim, "one", "dot"),
        dtype="float16",
        options={},
        inputs={"collection": "generated", "passage_model": "generated"},
    )
    chance = np.random.default_rng(1)
    shard = shard_rows(rows, 0, 1)
    writer = ShardWriter(folder, shard, plan)
    for start, stop in shard.chunks():
        writer.write(
            [f"p{row}" for row in range(start, stop)], Vectors(clustered(chance, centres, stop - start))
        )
    writer.commit({})
    return Embeddings.open(folder)


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Return seconds and the result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def ours(index: flat.FlatIndex, queries: np.ndarray, k: int, threads: int) -> np.ndarray:
    """Return the k best rows of every query, best first."""
    kept = TopK.empty(len(queries), k)
    index.search(Vectors(queries), kept, (0, index.passages.rows), ExactOptions(threads=threads))
    return np.stack([rows for rows, _ in kept.best_first(index.passages.ranks)])


def found_by_faiss(peer: Any, queries: np.ndarray, k: int) -> np.ndarray:
    """Return the same by faiss."""
    return np.asarray(peer.search(queries, k)[1])


def compare(ways: dict[str, Callable[[], np.ndarray]], rounds: int) -> dict[str, tuple[float, np.ndarray]]:
    """Return the median seconds and the rows of each way, timed turn by turn after one warm-up."""
    rows = {name: work() for name, work in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            seconds[name].append(timed(work)[0])
    return {name: (statistics.median(seconds[name]), rows[name]) for name in ways}


def overlap(found: np.ndarray, other: np.ndarray) -> float:
    """Return the mean share of hits in common."""
    common = [len(set(a) & set(b)) / len(a) for a, b in zip(found.tolist(), other.tolist(), strict=True)]
    return statistics.fmean(common)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1000, 100, 1])
    parser.add_argument("--hits", type=int, nargs="+", default=[100])
    given = parser.parse_args()
    import faiss

    faiss.omp_set_num_threads(given.threads)
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, given.dim), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        embeddings = write_embeddings(place / "embeddings", given.rows, given.dim, centres)
        built, _ = timed(
            lambda: build_index(
                *plan_index("flat", embeddings, place / "index", {}, progress=Silent()),
                progress=Silent(),
                signals=Signals(),
            )
        )
        indexed, bare = flat.open_index(place / "index"), flat.over_embeddings(embeddings)
        peer = faiss.IndexFlatIP(given.dim)
        stored = embeddings.all_vectors().values
        for row in range(0, len(stored), 1 << 16):
            peer.add(stored[row : row + (1 << 16)].astype(np.float32))
        bare.passages.ranks  # noqa: B018  # sorting ids is not what is measured
        print(f"{given.rows:,} x {given.dim}, {given.threads} threads; flat index built in {built:.1f} s")
        print(f"{'batch':>6} {'k':>5}  {'way':<14} {'queries/s':>10} {'x faiss':>8} {'overlap':>8}")
        for batch in given.batches:
            queries = clustered(np.random.default_rng(2), centres, batch).astype(np.float32)
            for k in given.hits:
                ways: dict[str, Callable[[], np.ndarray]] = {
                    "faiss FlatIP": partial(found_by_faiss, peer, queries, k),
                    "embeddings": partial(ours, bare, queries, k, given.threads),
                    "flat index": partial(ours, indexed, queries, k, given.threads),
                }
                results = compare(ways, given.rounds)
                base, truth = results["faiss FlatIP"]
                for name, (seconds, rows) in results.items():
                    print(
                        f"{batch:>6} {k:>5}  {name:<14} {batch / seconds:>10.1f} {base / seconds:>8.2f} "
                        f"{overlap(rows, truth):>8.5f}"
                    )


if __name__ == "__main__":
    main()
