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
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from bench_tokens import Hits, measured, overlap, timed, written

from dretrieve.index import flat
from dretrieve.index.exact import ExactOptions
from dretrieve.index.registry import build_index, plan_index
from dretrieve.index.top_k import TopK
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.types import Silent, Vectors

CLUSTERS = 2000


def clustered(chance: np.random.Generator, centres: np.ndarray, count: int) -> np.ndarray:
    """Return unit vectors around the centres, float16."""
    vectors = centres[chance.integers(0, len(centres), count)]
    vectors = vectors + chance.standard_normal(vectors.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16)


def ours(index: flat.FlatIndex, queries: np.ndarray, k: int, threads: int) -> Hits:
    """Return the k best rows of every query, best first."""
    kept = TopK.empty(len(queries), k)
    index.search(Vectors(queries), kept, (0, index.passages.rows), ExactOptions(threads=threads))
    return [rows.tolist() for rows, _ in kept.best_first(index.passages.ranks)]


def main() -> None:
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

        def block(start: int, stop: int) -> Vectors:
            return Vectors(clustered(np.random.default_rng(start + 1), centres, stop - start))

        written(place / "embeddings", "passage", given.rows, block)
        embeddings = Embeddings.open(place / "embeddings")
        planned = plan_index("flat", embeddings, place / "index", {}, progress=Silent())
        began = time.perf_counter()
        build_index(*planned, progress=Silent(), signals=Signals())
        built = time.perf_counter() - began
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
                ways: dict[str, Callable[[], Hits]] = {
                    "faiss FlatIP": lambda asked=queries, k=k: peer.search(asked, k)[1].tolist(),
                    "embeddings": partial(ours, bare, queries, k, given.threads),
                    "flat index": partial(ours, indexed, queries, k, given.threads),
                }
                results = timed({name: partial(measured, way) for name, way in ways.items()}, given.rounds)
                base = results["faiss FlatIP"]
                for name, one in results.items():
                    print(
                        f"{batch:>6} {k:>5}  {name:<14} {batch / one.wall:>10.1f} "
                        f"{base.wall / one.wall:>8.2f} {overlap(one.hits, base.hits):>8.5f}"
                    )


if __name__ == "__main__":
    main()
