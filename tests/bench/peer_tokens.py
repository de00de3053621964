"""Another way to search token vectors, in a process of its own; `bench_tokens.py` starts it and asks it.

Run: ``PYTHON peer_tokens.py ENGINE VECTORS INDEX``; VECTORS holds ``values.npy`` [T, dim] and
``offsets.npy``, and the same of each set of queries, ``SET.values.npy`` …. ENGINE is ``xtr-warp`` or
``fast-plaid``, by the Python of an environment with their torch, whose index is built once and kept;
``plaid``, fast-plaid's algorithm in float32 over an index of ours; ``dretrieve``, ours as numba compiles it
for the processor that the environment names. First comes a line with the CPU seconds of the build (null: kept
from before), then for each line ``{"queries": SET, "rows": […], "k": K, "options": {…}}`` one with wall and
CPU seconds and the hits.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Sequence[np.ndarray]
Find = Callable[..., Sequence[Sequence[int]]]


def texts(folder: Path, name: str = "") -> Arrays:
    """Return the token vectors of each text, float32."""
    values, offsets = (np.load(folder / f"{name}{part}.npy") for part in ("values", "offsets"))
    return np.split(values.astype(np.float32), offsets[1:-1])


def _asking(search: Callable[..., Any]) -> Find:
    """Return what asks another engine, query after query."""
    import torch

    def find(queries: Arrays, k: int, **options: Any) -> Sequence[Sequence[int]]:
        asked = [torch.from_numpy(query)[None] for query in queries]
        found = [search(one, top_k=k, show_progress=False, **options)[0] for one in asked]
        return [[row for row, _ in hits] for hits in found]

    return find


def xtr_warp(vectors: Path, index: Path) -> Find:
    """Return a search by xtr-warp-rs; build its index unless one is there."""
    import torch
    from xtr_warp import XTRWarp

    engine = XTRWarp(str(index), device="cpu")
    if not (index / "done").exists():
        every = [torch.from_numpy(one) for one in texts(vectors)]
        engine.create(every, device="cpu", show_progress=False)
    engine.load(device="cpu")
    return _asking(engine.search)


def fast_plaid(vectors: Path, index: Path) -> Find:
    """Return a search by fast-plaid; build its index unless one is there."""
    import torch
    from fast_plaid.search import FastPlaid

    engine = FastPlaid(str(index), device="cpu")
    if not (index / "done").exists():
        engine.create(documents_embeddings=[torch.from_numpy(one) for one in texts(vectors)])
    return _asking(engine.search)


def plaid(vectors: Path, index: Path) -> Find:
    """Return fast-plaid's search in float32, by torch, over an index of ours with 4 bits.

    After its ``rust/search/search.rs`` and defaults: the passages of each query token's 8 best centroids, of
    these the 1,024 best by centroid scores alone, of which all vectors are decompressed to unit length.
    """
    import torch

    from dretrieve.index.token_codes import open_codes

    stored = open_codes(index)
    codes, residuals = (
        torch.from_numpy(stored.codes.astype(np.int64)),
        torch.from_numpy(np.array(stored.residuals)),
    )
    centroids, borders, starts = torch.from_numpy(stored.centroids), stored.borders[:], stored.list_offsets[:]
    steps = stored.levels.astype(np.float32) * np.float32(stored.scale)
    shifts = np.arange(0, 8, stored.bits)
    unpacked = torch.from_numpy(steps[np.arange(256)[:, None] >> shifts & (1 << stored.bits) - 1])

    def tokens_of(rows: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        lengths = np.diff(borders)[rows]
        skipped = np.repeat(borders[rows] - np.cumsum(lengths) + lengths, lengths)
        return torch.from_numpy(skipped + np.arange(len(skipped))), lengths

    def best(rows: np.ndarray, scores: torch.Tensor, lengths: np.ndarray, count: int) -> np.ndarray:
        starts = np.cumsum(lengths) - lengths
        sums = np.maximum.reduceat(scores.numpy(), starts, axis=0).sum(axis=1)  # torch's own is far slower
        return rows[np.argsort(-sums)[:count]]

    def one(query: np.ndarray, k: int) -> Sequence[int]:
        asked = torch.from_numpy(query).T.contiguous()
        near = centroids @ asked
        cells = near.topk(8, dim=0).indices.unique().tolist()
        rows = np.unique(np.concatenate([stored.lists[starts[cell] : starts[cell + 1]] for cell in cells]))
        tokens, lengths = tokens_of(rows)
        rows = best(rows, near[codes[tokens]], lengths, 1024)
        tokens, lengths = tokens_of(rows)
        whole = centroids[codes[tokens]] + unpacked[residuals[tokens].int()].flatten(1)
        return best(rows, torch.nn.functional.normalize(whole) @ asked, lengths, k).tolist()

    return lambda queries, k: [one(query, k) for query in queries]


def dretrieve(vectors: Path, index: Path) -> Find:
    """Return our fast search."""
    from bench_tokens import ours

    from dretrieve.index.token import open_index
    from dretrieve.kernels.token_search import Counts
    from dretrieve.types import Vectors, offsets_of

    search = open_index(index).by_codes
    assert search is not None

    def find(queries: Arrays, k: int, **counts: Any) -> Sequence[Sequence[int]]:
        lengths = np.array([len(query) for query in queries])
        return ours(search, Vectors(np.concatenate(queries), offsets_of(lengths)), k, Counts(**counts))

    return find


ENGINES = {"xtr-warp": xtr_warp, "fast-plaid": fast_plaid, "plaid": plaid, "dretrieve": dretrieve}


def main() -> None:
    """Answer until the input ends."""
    engine, vectors, index = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    builds = engine in ("xtr-warp", "fast-plaid") and not (index / "done").exists()
    began = time.process_time()
    find = ENGINES[engine](vectors, index)
    print(json.dumps(time.process_time() - began if builds else None), flush=True)
    if builds:
        (index / "done").touch()
    for line in sys.stdin:
        asked = json.loads(line)
        queries = texts(vectors, f"{asked['queries']}.")
        some = [queries[row] for row in asked["rows"]]
        wall, cpu = time.perf_counter(), time.process_time()
        hits = find(some, asked["k"], **asked["options"])
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(spent | {"hits": [list(map(int, rows)) for rows in hits]}), flush=True)


if __name__ == "__main__":
    main()
