"""How the codes of token vectors are made: in chunks that survive a kill, in parts that a merge joins.

A token's code, residual and error depend on its vector and the centroids alone, so chunks, parts and threads
change no byte. What grows stands in a journal (`store.journal`) until it is whole.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, VerificationError
from dretrieve.index import token_clusters
from dretrieve.index.base import Filled, Passages, write_file
from dretrieve.index.token_clusters import Clusters
from dretrieve.index.token_codes import SALIENCE, TokenCodes
from dretrieve.index.token_prune import Pruned, check_salience
from dretrieve.kernels.residuals import code_residuals, lists_of
from dretrieve.store.interrupt import Signals
from dretrieve.store.journal import Journal
from dretrieve.store.manifest import Manifest
from dretrieve.store.npy import HEADER_BYTES, map_array, npy_header, write_values
from dretrieve.store.shards import Shard
from dretrieve.store.stage import Stage
from dretrieve.types import Progress, offsets_of

CHUNK_TOKENS = 1 << 16
GROWN = ("codes.npy", "residuals.npy", "errors.npy")
PARTIAL = ".codes.partial"


class _Source(Protocol):
    """Bytes of `GROWN` without headers: a `Journal`, a part, or what is kept of an index."""

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Append the bytes of a file to ``target``."""
        ...


class Part(NamedTuple):
    """A finished part of an index, made by ``index --shard I/N``."""

    folder: Path
    manifest: Manifest

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Append the numbers of a file to ``target``."""
        with (self.folder / name).open("rb") as file:
            file.seek(HEADER_BYTES)
            shutil.copyfileobj(file, target, 1 << 24)


class Kept(NamedTuple):
    """What a changed index keeps: some consecutive tokens of an index, and again some.

    Attributes:
        codes: of that index.
        passages: how many are kept.
        spans: [S, 2], first token and the one behind the last, rising.
    """

    codes: TokenCodes
    passages: int
    spans: NDArray[np.int64]

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Append the numbers of a file to ``target``."""
        array = getattr(self.codes, name.removesuffix(".npy"))
        by_centroid = name == "errors.npy" and self.codes.bits < 8
        for start, stop in self.spans.tolist():
            for at in range(start, stop, CHUNK_TOKENS):
                some = slice(at, min(at + CHUNK_TOKENS, stop))
                write_values(target, array[self.codes.codes[some]] if by_centroid else array[some])


def filled(passages: Passages, bits: int | None, shard: Shard | None = None) -> Filled:
    """Return what a manifest says: tokens, passages without any (kept, never found), by which model."""
    borders = offsets_of(passages.lengths())
    if shard is not None:
        borders = borders[shard.start : shard.stop + 1]
    counts = {
        "rows": len(borders) - 1,
        "tokens": int(borders[-1] - borders[0]),
        "without_tokens": int(np.count_nonzero(np.diff(borders) == 0)),
    }
    extra: dict[str, Any] = {"passage_model": passages.embeddings.passage_fingerprint}
    if isinstance(passages, Pruned):
        extra["pruned"] = passages.described(bits)
    return Filled(counts, extra)


def write_clusters(stage: Stage, clusters: Clusters) -> None:
    """Write centroids and levels."""
    for name in token_clusters.ARRAYS:
        write_file(stage, f"{name}.npy", getattr(clusters, name))


def write_codes(
    stage: Stage,
    passages: Passages,
    clusters: Clusters,
    shard: Shard | None,
    threads: int,
    progress: Progress,
    signals: Signals,
    kept: Kept | None = None,
) -> None:
    """Write the codes of all passages, or of a shard's, which are then one part.

    Raises:
        DataError: a vector holds NaN or infinity, or a salience that is negative or one of these.
        Interrupted: a signal came; the same command goes on behind the last whole chunk.
    """
    borders = offsets_of(passages.lengths())
    rows = (kept.passages if kept else 0, passages.rows) if shard is None else (shard.start, shard.stop)
    cuts = _cuts(borders, *rows)
    weighted = passages.embeddings.salience
    names = (*GROWN, f"{SALIENCE}.npy") if weighted else GROWN
    journal = Journal(stage.output / PARTIAL, names, {"fingerprint": stage.fingerprint})
    tokens = int(borders[rows[1]] - borders[rows[0]])
    progress.start("index", tokens, "tokens", int(borders[cuts[journal.chunks]] - borders[rows[0]]))

    def code(start: int, stop: int) -> dict[str, memoryview]:
        values, weights = _values(passages, start, stop)
        codes = clusters.nearest(values)
        residuals, errors = code_residuals(values, codes, clusters.coding)
        arrays: list[NDArray[Any]] = [codes, residuals, errors, *([] if weights is None else [weights])]
        return {name: array.data for name, array in zip(names, arrays, strict=True)}

    try:
        with ThreadPoolExecutor(threads) as pool:
            for first in range(journal.chunks, len(cuts) - 1, threads):
                some = cuts[first : first + threads + 1]
                for chunk in pool.map(code, some[:-1], some[1:]):
                    journal.append(chunk)
                progress.advance(int(borders[some[-1]] - borders[some[0]]))
                signals.check()
        before = [] if kept is None else [kept]
        dtype = passages.embeddings.dtype if weighted else ""
        if shard is None:
            _finish(stage, [*before, journal], clusters, int(borders[-1]), dtype, borders)
        else:
            _finish(stage, [journal], clusters, tokens, dtype)
    finally:
        journal.close()
    journal.discard()
    progress.finish()


def write_merged(stage: Stage, parts: Sequence[Part], passages: Passages) -> None:
    """Write what one process would have written, from all parts in the order of their rows.

    Raises:
        VerificationError: a part was made with other centroids.
    """
    first = parts[0]
    for part in parts[1:]:
        for name in token_clusters.ARRAYS:
            ours, theirs = (each.manifest.files[f"{name}.npy"]["sha256"] for each in (first, part))
            if ours != theirs:
                raise VerificationError(
                    f"{first.folder} and {part.folder} were made with different centroids; make one of them "
                    "again with the centroids of the other (--set centroids=FOLDER)"
                )
    clusters = Clusters.open(first.folder)
    write_clusters(stage, clusters)
    borders = offsets_of(passages.lengths())
    dtype = passages.embeddings.dtype if passages.embeddings.salience else ""
    _finish(stage, parts, clusters, int(borders[-1]), dtype, borders)


def _cuts(borders: NDArray[np.int64], start: int, stop: int) -> list[int]:
    """Return rows from ``start`` to ``stop`` between which chunks lie: each begins in other 65,536 tokens."""
    number = (borders[start:stop] - borders[start]) // CHUNK_TOKENS
    inner = np.flatnonzero(np.diff(number)) + start + 1
    return [start, *inner.tolist(), *([stop] if stop > start else [])]


def _values(passages: Passages, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[Any] | None]:
    """Return the token vectors of some passages, and their salience as it is stored."""
    parts, weights, row = [], [], start
    while row < stop:
        block = passages.block(row, stop)
        parts.append(block.values.astype(np.float32))
        if block.weights is not None:
            check_salience(block)
            weights.append(np.asarray(block.weights, passages.embeddings.dtype))
        row += len(block)
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if not np.isfinite(values).all():
        raise DataError(
            f"{passages.embeddings.folder} holds NaN or infinity between rows {start:,} and {stop:,}; encode "
            "the passages again"
        )
    return values, np.concatenate(weights) if weights else None


def _finish(
    stage: Stage,
    sources: Sequence[_Source],
    clusters: Clusters,
    tokens: int,
    salience: str,
    borders: NDArray[np.int64] | None = None,
) -> None:
    """Give what has grown its headers and names; of the whole, whose borders are given, make the rest.

    ``salience`` is the type of its numbers, empty where there is none.
    """
    count, bits = len(clusters.centroids), clusters.bits

    def write_grown(name: str, dtype: str, *shape: int) -> None:
        with stage.write(name) as file:
            file.write(npy_header(dtype, shape))
            _copy(sources, name, file)

    write_grown("codes.npy", "uint16", tokens)
    write_grown("residuals.npy", "uint8", tokens, -(-clusters.dim * bits // 8))
    if salience:
        write_grown(f"{SALIENCE}.npy", salience, tokens)
    else:  # an index that stood in its place may have left it
        (stage.output / f"{SALIENCE}.npy").unlink(missing_ok=True)
    if bits == 8 or borders is None:
        write_grown("errors.npy", "float32", tokens)
    if borders is None:
        return
    codes = map_array(stage.output / "codes.npy")
    if bits != 8:
        grown = io.BytesIO()
        _copy(sources, "errors.npy", grown)
        largest = np.zeros(count, np.float32)
        np.maximum.at(largest, codes, np.frombuffer(grown.getbuffer(), np.float32))
        write_file(stage, "errors.npy", largest)
    write_file(stage, "borders.npy", borders)
    if bits == 8:  # smaller indexes go without: `open_codes` makes them
        offsets, lists = lists_of(codes, borders, count)
        write_file(stage, "list_offsets.npy", offsets)
        write_file(stage, "lists.npy", lists)


def _copy(sources: Sequence[_Source], name: str, target: IO[bytes]) -> None:
    for source in sources:
        source.copy(name, target)
