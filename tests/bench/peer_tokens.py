"""Another engine of token vectors, in an environment of its own; `bench_tokens.py` starts it and asks it.

Run: ``PYTHON peer_tokens.py ENGINE VECTORS INDEX``, ENGINE ``xtr-warp`` or ``fast-plaid``; VECTORS holds
``values.npy`` [T, dim] and ``offsets.npy``, and the same of each set of queries, ``SET.values.npy`` …. The
index is built once and kept. First comes a line with the CPU seconds of the build (null: kept from before),
then for each line ``{"queries": SET, "rows": […], "k": K, "options": {…}}`` one with wall and CPU seconds and
the hits.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch


def texts(folder: Path, name: str) -> list[torch.Tensor]:
    """Return the token vectors of each text."""
    values, offsets = (np.load(folder / f"{name}{part}.npy") for part in ("values", "offsets"))
    return [torch.from_numpy(part.astype(np.float32)) for part in np.split(values, offsets[1:-1])]


def opened(engine: str, vectors: Path, index: Path):
    """Return the engine over its index, and how long building took."""
    done, began = index / "done", time.process_time()
    build = not done.exists()
    if engine == "xtr-warp":
        from xtr_warp import XTRWarp

        found = XTRWarp(str(index), device="cpu")
        if build:
            found.create(texts(vectors, ""), device="cpu")
        found.load(device="cpu")
    else:
        from fast_plaid.search import FastPlaid

        found = FastPlaid(str(index), device="cpu")
        if build:
            found.create(documents_embeddings=texts(vectors, ""))
    done.touch()
    return found, time.process_time() - began if build else None


def main() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    engine, vectors, index = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    found, seconds = opened(engine, vectors, index)
    print(json.dumps(seconds), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        queries = texts(vectors, f"{asked['queries']}.")
        wall, cpu, hits = time.perf_counter(), time.process_time(), []
        for row in asked["rows"]:
            hits += found.search(queries[row][None], top_k=asked["k"], **asked["options"])
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(spent | {"hits": [[int(row) for row, _ in best] for best in hits]}), flush=True)


if __name__ == "__main__":
    main()
