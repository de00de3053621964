"""What every index over embeddings is: passages by row, ids, an order of ids, a search."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError, VerificationError
from dretrieve.index.exact import ExactOptions
from dretrieve.index.top_k import TopK
from dretrieve.order import id_ranks
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.fingerprint import canonical_json, sha256_bytes
from dretrieve.store.ids import IdTable
from dretrieve.store.manifest import Manifest
from dretrieve.store.npy import map_array, write_array
from dretrieve.store.stage import Stage
from dretrieve.types import Side, Vectors

RANKS = "id_rank.npy"


class Passages:
    """The rows of an embeddings folder: vectors block by block, ids, ranks of ids.

    Args:
        embeddings: of passages.
        ranks_file: where an index keeps the ranks; without it they are computed when first asked for.
        many: whether the index compares vectors per token; refused are embeddings of the other kind.
        side: whose vectors they are, where they are read and not searched.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        ranks_file: Path | None = None,
        *,
        many: bool = False,
        side: Side = "passage",
    ) -> None:
        if embeddings.side != side:
            raise VerificationError(
                f"{embeddings.folder} holds vectors of queries, passages are wanted; give it as "
                "--query-embeddings, and the passages' embeddings or index as --index"
            )
        if many and embeddings.vectors.kind == "one":
            raise VerificationError(
                f"{embeddings.folder} holds one vector per passage; index it with --type flat"
            )
        if not many and embeddings.vectors.kind == "many":
            raise VerificationError(
                f"{embeddings.folder} holds one vector per token; index it with --type token"
            )
        self.embeddings, self._ranks_file = embeddings, ranks_file
        self._shards = [entry for entry in embeddings.shards if len(entry.shard)]
        self._starts = [entry.shard.start for entry in self._shards]
        self._vectors: dict[int, Vectors] = {}
        self._tables: dict[int, IdTable] = {}

    @property
    def rows(self) -> int:
        """How many passages there are."""
        return self.embeddings.rows

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self.embeddings.vectors.dim

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """[rows] position of each id in ascending order of UTF-8 bytes."""
        if self._ranks_file is not None:
            return map_array(self._ranks_file)
        return id_ranks([text_id for entry in self._shards for text_id in entry.ids()])

    def shard_of(self, row: int) -> int:
        """Return which of the shards with rows holds that row."""
        return bisect.bisect_right(self._starts, row) - 1

    def vectors(self, shard: int) -> Vectors:
        """Return the mapped vectors of that shard."""
        if shard not in self._vectors:
            self._vectors[shard] = self._shards[shard].vectors()
        return self._vectors[shard]

    def block(self, start: int, stop: int) -> Vectors:
        """Return rows ``start`` to ``stop``, or as many as the first row's shard holds."""
        number = self.shard_of(start)
        first = self._starts[number]
        return self.vectors(number)[start - first : stop - first]

    def start_of(self, shard: int) -> int:
        """Return the first row of that shard."""
        return self._starts[shard]

    def stems(self) -> list[tuple[str, int]]:
        """Return name and number of rows of every shard that has rows."""
        return [(entry.shard.stem, len(entry.shard)) for entry in self._shards]

    def gather(self, rows: NDArray[np.int64]) -> Vectors:
        """Return the vectors of ascending rows, in memory."""
        if not self._shards:
            return self.embeddings.all_vectors()
        parts = []
        for number, entry in enumerate(self._shards):
            low, high = np.searchsorted(rows, [entry.shard.start, entry.shard.stop])
            parts.append(self.vectors(number).take(rows[low:high] - entry.shard.start))
        return Vectors.joined(parts)

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the ids of ascending rows."""
        found: list[str] = []
        for number, entry in enumerate(self._shards):
            low, high = np.searchsorted(rows, [entry.shard.start, entry.shard.stop])
            if low == high:
                continue
            if number not in self._tables:
                self._tables[number] = entry.ids()
            table = self._tables[number]
            found += [table[row - entry.shard.start] for row in rows[low:high].tolist()]
        return found


class Filled(NamedTuple):
    """What a kind adds to the manifest of the index that it filled."""

    counts: Mapping[str, int] = {}
    extra: Mapping[str, Any] = {}


class VectorIndex(Protocol):
    """An index that answers query vectors, of the kind of its passages, with canonical scores."""

    @property
    def passages(self) -> Passages:
        """The passages behind it."""
        ...

    @property
    def exact(self) -> bool:
        """Whether its hits are the k best of all, so that parts of a search can be merged."""
        ...

    @property
    def search_options(self) -> dict[str, Any]:
        """What the hits depend on beside vectors, ids and k; empty for an exact index."""
        ...

    def search(self, queries: Vectors, kept: TopK, rows: tuple[int, int], options: ExactOptions) -> TopK:
        """Add the best passages among ``rows`` (start, stop) to ``kept`` and return it."""
        ...


def write_ranks(stage: Stage, passages: Passages) -> None:
    """Write the order of the passages' ids."""
    with stage.write(RANKS) as file:
        write_array(file, id_ranks(passages.embeddings.ids()))


def contents(embeddings: Embeddings) -> str:
    """Return a hash over the stored vectors' bytes: what an index that copies from them depends on."""
    many = ("offsets", "tokens", "salience") if embeddings.vectors.kind == "many" else ()
    files = [
        (entry.shard.start, *(file["sha256"] for name in ("vectors", *many) if (file := entry.file(name))))
        for entry in embeddings.shards
    ]
    return sha256_bytes(canonical_json(sorted(files)))


def described_inputs(embeddings: Embeddings) -> dict[str, str]:
    """Return the inputs of an index over the embeddings, for its manifest."""
    return {"embeddings": embeddings.fingerprint, "vectors": contents(embeddings)}


def open_embeddings(index: Path, manifest: Manifest, *, full: bool = False) -> Embeddings:
    """Return the embeddings that an index was built over.

    Raises:
        PreconditionError: they are not where they stood.
        VerificationError: they were encoded anew since.
    """
    folder = index / manifest.extra["embeddings"]
    if not folder.is_dir():
        raise PreconditionError(
            f"{index} reads its vectors from {folder}, which is not there; move it back, or index again"
        )
    embeddings = Embeddings.open(folder, full=full)
    if described_inputs(embeddings) != dict(manifest.inputs):
        raise VerificationError(
            f"{index} was built over other vectors than {folder} holds now; index again with --force"
        )
    return embeddings
