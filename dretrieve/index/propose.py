"""Candidates: which passages of a block may belong to a query's k best, found fast and never too few.

Three ways, equal in what the search returns: bytes (`dretrieve.kernels.scan`, where the processor multiplies
them), a float32 matrix product (everywhere), a matrix product on an accelerator. Each knows how far its score
may be from the canonical one and keeps everything within that margin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError
from dretrieve.index.top_k import Found
from dretrieve.kernels import codes as packed
from dretrieve.kernels import simd
from dretrieve.kernels.dot import SMALLEST, rounding_margin
from dretrieve.kernels.scan import scan
from dretrieve.types import offsets_of

Spread = Callable[[Callable[[int, int], Any], int, int], list[Any]]
"""``spread(work, total, step)`` calls ``work(start, stop)`` over ``range(total)`` on the search's threads."""

HALF_LIMIT = 3e4


class Proposer(Protocol):
    """Proposes candidates for queries that it was made with."""

    def load(self, vectors: NDArray[Any], codes: packed.Codes | None, spread: Spread) -> Any:
        """Return the block, [N, dim] and its bytes if the index holds them, in the form that `find` takes.

        Some of its rows are a slice of that, which begins at a multiple of 32.
        """
        ...

    def find(self, block: Any, queries: slice, floors: NDArray[np.float64], k: int) -> Found:
        """Return offsets and rows of the block: a superset of what can enter the queries' k best.

        Args:
            block: from `load`, or a slice of it.
            queries: which queries, Q of them.
            floors: [Q], the k-th best canonical score so far, or minus infinity.
            k: how many hits are wanted.
        """
        ...


class ByteProposer:
    """Scans bytes: the fastest on processors with AVX-512 VNNI or AVX2."""

    def __init__(self, queries: NDArray[np.float64]) -> None:
        self._queries = packed.pack_queries(queries)
        self._centre: NDArray[np.float32] | None = None

    def load(self, vectors: NDArray[Any], codes: packed.Codes | None, spread: Spread) -> Any:
        """Return the codes, packing the vectors when the index holds none."""
        if codes is not None:
            return codes
        if self._centre is None:
            self._centre = packed.centre_of(vectors)
        fresh = packed.empty_codes(len(vectors), self._centre)

        def pack(start: int, stop: int) -> None:
            packed.pack_into(fresh[start:stop], vectors[start:stop])

        spread(pack, len(vectors), 4096)
        return fresh

    def find(self, block: Any, queries: slice, floors: NDArray[np.float64], k: int) -> Found:
        """Return the rows whose byte score comes within the margin of the floor."""
        capacity = max(8 * k, 1024)
        return Found(*scan(block, self._queries.part(queries), floors, k, capacity))


def within_margin(
    scores: NDArray[np.floating[Any]], margins: NDArray[np.float64], floors: NDArray[np.float64], k: int
) -> Found:
    """Return the candidates among [Q, N] scores that may be off by [Q] margins from the canonical ones."""
    lowest = np.array(floors, dtype=np.float64)
    if scores.shape[1] > k:
        kth = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k]
        lowest = np.maximum(lowest, kth - margins)
    # one step down, since the comparison is made in float32
    with np.errstate(over="ignore"):  # of a margin that rules nothing out
        bars = np.nextafter((lowest - margins).astype(np.float32), np.float32(-np.inf))
    found = ~(scores < bars[:, None])  # so that no NaN of an overflow is lost
    return Found(offsets_of(np.count_nonzero(found, axis=1)), np.nonzero(found)[1].astype(np.int32))


class EveryRow:
    """Proposes every passage: for a few queries that is less work than packing a block into bytes."""

    def load(self, vectors: NDArray[Any], codes: packed.Codes | None, spread: Spread) -> Any:
        """Return what is needed of the block: its rows, as a range."""
        return range(len(vectors))

    def find(self, block: Any, queries: slice, floors: NDArray[np.float64], k: int) -> Found:
        """Return all rows for each query."""
        offsets = np.arange(len(floors) + 1, dtype=np.int64) * len(block)
        return Found(offsets, np.tile(np.arange(len(block), dtype=np.int32), len(floors)))


class MatrixProposer:
    """A float32 matrix product by numpy: works on every processor."""

    def __init__(self, queries: NDArray[np.float64]) -> None:
        self._queries = queries.astype(np.float32)
        self._lengths = np.linalg.norm(queries, axis=1)

    def load(self, vectors: NDArray[Any], codes: packed.Codes | None, spread: Spread) -> Any:
        """Return the block in float32."""
        return np.asarray(vectors, dtype=np.float32)

    def find(self, block: Any, queries: slice, floors: NDArray[np.float64], k: int) -> Found:
        """Return the rows whose product comes within the margin of rounding."""
        longest = float(np.sqrt(np.einsum("nd,nd->n", block, block, dtype=np.float64).max(initial=0)))
        margins = self._lengths[queries] * longest * rounding_margin(block.shape[1]) + SMALLEST
        return within_margin(self._queries[queries] @ block.T, margins, floors, k)


class TorchProposer:
    """A matrix product on an accelerator; float16 passages are multiplied as they are stored."""

    def __init__(self, queries: NDArray[np.float64], device: str) -> None:
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise PreconditionError(f"--device {device}: torch sees no GPU here; use --device cpu")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        self._torch, self._device = torch, device
        self._exact = torch.from_numpy(queries).to(device)
        self._lengths = self._exact.norm(dim=1)
        self._largest = float(self._lengths.max()) if len(queries) else 0.0

    def load(self, vectors: NDArray[Any], codes: packed.Codes | None, spread: Spread) -> Any:
        """Return the block on the device."""
        return self._torch.from_numpy(np.array(vectors)).to(self._device)

    def find(self, block: Any, queries: slice, floors: NDArray[np.float64], k: int) -> Found:
        """Return the rows whose product comes within the margin of rounding."""
        torch = self._torch
        exact, lengths = self._exact[queries], self._lengths[queries]
        longest = float(block.double().norm(dim=1).max()) if len(block) else 0.0
        relative = rounding_margin(block.shape[1])
        half = block.dtype == torch.float16 and longest * self._largest < HALF_LIMIT
        asked = exact.half() if half else exact.float()
        margins = relative * longest * lengths + SMALLEST
        if half:  # the queries are rounded to float16, and so is each score
            margins = (margins + longest * (exact - asked.double()).norm(dim=1)) * (1 + 2.0**-10)
            margins = margins + (2.0**-11 * longest * lengths * (1 + 2.0**-10) + 2.0**-24)
        scores = asked @ (block if half else block.float()).T
        lowest = torch.from_numpy(floors).to(self._device)
        if scores.shape[1] > k:
            kth = scores.topk(k, dim=1, sorted=False).values.amin(dim=1).double()
            lowest = torch.maximum(lowest, kth - margins)
        bars = torch.nextafter((lowest - margins).float(), torch.full_like(lowest, -torch.inf).float())
        owners, rows = torch.nonzero(~(scores < bars[:, None]), as_tuple=True)  # as in `within_margin`
        counts = torch.bincount(owners, minlength=len(exact)).cpu().numpy()
        return Found(offsets_of(counts), rows.int().cpu().numpy())


def proposer_for(queries: NDArray[np.float64], device: str) -> Proposer:
    """Return the fastest proposer for the device (``cpu``, ``cuda`` …)."""
    if device != "cpu":
        return TorchProposer(queries, device)
    return ByteProposer(queries) if simd.has_byte_tile() else MatrixProposer(queries)
