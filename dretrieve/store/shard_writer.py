"""Writes one shard of embeddings, chunk by chunk, so that a kill at any moment loses at most one chunk.

The shard's files grow in a journal beside their place (`store.journal`) and are renamed when whole; the
manifest is written last and is the commit.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dretrieve.errors import DataError
from dretrieve.store.atomic import explained, replacing, sync
from dretrieve.store.embeddings import EmbeddingPlan
from dretrieve.store.journal import Journal
from dretrieve.store.leftovers import remove_leftovers
from dretrieve.store.manifest import Manifest, commit, provenance_path
from dretrieve.store.npy import npy_header
from dretrieve.store.shards import Shard
from dretrieve.store.stage import is_current
from dretrieve.store.state import clear_state, state_path
from dretrieve.types import Vectors, offsets_of


class ShardWriter:
    """Writes one shard; a killed writer's successor continues at the first chunk that is not durable."""

    def __init__(self, folder: Path, shard: Shard, plan: EmbeddingPlan, *, force: bool = False) -> None:
        self.folder, self.shard, self.plan = folder, shard, plan
        many = ("offsets.npy", "tokens.npy") if plan.vectors.kind == "many" else ()
        self.names = ("vectors.npy", "ids.txt", *many, *(("salience.npy",) if plan.salience else ()))
        self.manifest_file = folder / f"{shard.stem}.manifest.json"
        self._journal: Journal | None = None
        records = (self.manifest_file, provenance_path(self.manifest_file), state_path(self.manifest_file))
        remove_leftovers(
            folder, [*(f"{shard.stem}.{name}" for name in self.names), *(at.name for at in records)]
        )
        what = f"{folder} holds {shard.stem}"
        self.complete = is_current(self.manifest_file, plan.manifest(shard), what, force=force)
        partial = folder / f".{shard.stem}.partial"
        if self.complete:  # killed between its manifest and its last cleaning
            shutil.rmtree(partial, ignore_errors=True)
            clear_state(self.manifest_file)
        else:
            self.manifest_file.unlink(missing_ok=True)
            self._journal = Journal(partial, self.names, plan.manifest(shard).as_json())

    @property
    def done_chunks(self) -> int:
        """How many chunks of the shard are already durable."""
        return len(self.shard.chunks()) if self._journal is None else self._journal.chunks

    def write(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Append the next chunk.

        Raises:
            DataError: a vector with NaN or infinity, or a row of zeros (names the ids).
        """
        assert self._journal is not None
        start, stop = self.shard.chunks()[self._journal.chunks]
        assert len(ids) == len(vectors) == stop - start
        assert vectors.many == (self.plan.vectors.kind == "many")
        assert vectors.dim == self.plan.vectors.dim
        assert (vectors.weights is not None) == self.plan.salience
        assert (vectors.tokens is not None) == vectors.many
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(vectors.values, dtype=self.plan.dtype)
            weights = vectors.weights
            if weights is not None:
                weights = np.ascontiguousarray(weights, dtype=self.plan.dtype)
        check_vectors(Vectors(stored, vectors.offsets, weights), ids)
        parts: dict[str, bytes | memoryview] = {
            "vectors.npy": stored.data,
            "ids.txt": "".join(f"{text_id}\n" for text_id in ids).encode(),
        }
        if vectors.offsets is not None:  # a journal grows by lengths; `_finish_file` adds them up
            parts["offsets.npy"] = np.diff(vectors.offsets).data
        if vectors.tokens is not None:
            parts["tokens.npy"] = np.ascontiguousarray(vectors.tokens, dtype=np.int32).data
        if weights is not None:
            parts["salience.npy"] = weights.data
        self._journal.append(parts)

    def commit(self, counts: Mapping[str, int], details: Mapping[str, Any] | None = None) -> Manifest:
        """Give the grown files their headers and names, then write the manifest."""
        assert self._journal is not None
        assert self._journal.chunks == len(self.shard.chunks())
        with explained(self.folder):
            for name in self.names:
                self._finish_file(name)
            sync(self.folder)
        names = [f"{self.shard.stem}.{name}" for name in self.names]
        manifest = self.plan.manifest(self.shard, counts)
        manifest = commit(self.manifest_file, manifest, names, details or {})
        clear_state(self.manifest_file)
        self._journal.discard()
        self.complete, self._journal = True, None
        return manifest

    def close(self) -> None:
        """Leave the shard as it is, resumable."""
        if self._journal is not None:
            self._journal.close()

    def _finish_file(self, name: str) -> None:
        assert self._journal is not None
        with replacing(self.folder / f"{self.shard.stem}.{name}") as file:
            if name == "ids.txt":
                self._journal.copy(name, file)
                return
            file.write(npy_header(*self._array_form(name)))
            if name != "offsets.npy":
                self._journal.copy(name, file)
                return
            grown = io.BytesIO()
            self._journal.copy(name, grown)
            file.write(offsets_of(np.frombuffer(grown.getvalue(), dtype=np.int64)).tobytes())

    def _array_form(self, name: str) -> tuple[str, tuple[int, ...]]:
        if name == "offsets.npy":
            return "int64", (len(self.shard) + 1,)
        dtype = "int32" if name == "tokens.npy" else self.plan.dtype
        assert self._journal is not None
        items = self._journal.sizes[name] // np.dtype(dtype).itemsize
        dim = self.plan.vectors.dim
        return dtype, ((items // dim, dim) if name == "vectors.npy" else (items,))


def check_vectors(vectors: Vectors, ids: Sequence[str]) -> None:
    """Raise `DataError` naming the texts that have a vector with NaN, infinity or only zeros.

    Salience must be finite and not negative.
    """
    finite, zero = np.isfinite(vectors.values).all(axis=1), ~vectors.values.any(axis=1)
    owners = np.arange(len(ids))
    if vectors.offsets is not None:
        owners = np.repeat(owners, np.diff(vectors.offsets))
    refused = [(~finite, "NaN or infinity"), (zero, "only zeros")]
    if vectors.weights is not None:
        weighed = np.isfinite(vectors.weights) & (vectors.weights >= 0)
        refused.append((~weighed, "a salience that is negative, NaN or infinity"))
    for bad, what in refused:
        if bad.any():
            named = ", ".join(ids[row] for row in dict.fromkeys(owners[bad].tolist()[:5]))
            raise DataError(
                f"{int(bad.sum())} vectors hold {what} (text ids {named}); the model or its precision is at "
                "fault: try --precision fp32, and check the weights with `dretrieve inspect`"
            )
