"""What every index over embeddings is: passages by row, ids, an order of ids, a search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError, VerificationError
from dretrieve.index.exact import ExactOptions
from dretrieve.index.top_k import TopK
from dretrieve.order import id_ranks
from dretrieve.store.embeddings import STAGE, Embeddings, EmbeddingShard
from dretrieve.store.fingerprint import canonical_json, sha256_bytes
from dretrieve.store.ids import IdTable
from dretrieve.store.manifest import Manifest
from dretrieve.store.npy import map_array, write_array
from dretrieve.store.shards import Shard, shard_stem
from dretrieve.store.stage import Stage
from dretrieve.types import Side, Vectors, VectorSpec, offsets_of

RANKS = "id_rank.npy"
ENCODED = "encoded"
"""In the manifest of an index whose embeddings may go: what it keeps of them, all but the vectors."""
IDS = f"{shard_stem(0, 1)}.ids.txt"
"""Its ids, as embeddings have them."""


class Passages:
    """The rows of an embeddings folder: vectors block by block, ids, ranks of ids.

    Args:
        embeddings: of passages.
        ranks_file: where an index keeps the ranks; without it they are computed when first asked for.
        many: whether the index compares vectors per token; refused are embeddings of the other kind.
        side: whose vectors they are, where they are read and not searched.
        without: ascending rows of the embeddings that are left out; those behind them move up.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        ranks_file: Path | None = None,
        *,
        many: bool = False,
        side: Side = "passage",
        without: NDArray[np.int64] | None = None,
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
        self.embeddings = embeddings
        self._ranks = None if ranks_file is None else map_array(ranks_file)
        self._pieces = list(_pieces(embeddings.shards, np.empty(0, np.int64) if without is None else without))
        self._starts = offsets_of(np.array([piece.stop - piece.start for piece in self._pieces], np.int64))
        self._vectors: dict[int, Vectors] = {}
        self._shard_vectors: dict[Shard, Vectors] = {}
        self._tables: dict[Shard, IdTable] = {}

    @property
    def rows(self) -> int:
        """How many passages there are."""
        return int(self._starts[-1])

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self.embeddings.vectors.dim

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """[rows] position of each id in ascending order of UTF-8 bytes."""
        return id_ranks(self.every_id()) if self._ranks is None else self._ranks

    def lengths(self) -> NDArray[np.int64]:
        """Return [rows], how many token vectors each passage has.

        Raises:
            VerificationError: the offsets of a shard fall, or do not fit its vectors.
        """
        every = (self.vectors(shard).offsets for shard in range(len(self._pieces)))
        return np.concatenate([np.empty(0, np.int64), *(np.diff(of) for of in every if of is not None)])

    def shard_of(self, row: int) -> int:
        """Return which of the shards, or pieces of them, holds that row."""
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def shards_of(self, rows: NDArray[np.integer[Any]]) -> list[int]:
        """Return which shards, or pieces of them, hold some rows, rising."""
        shards: list[int] = np.unique(np.searchsorted(self._starts, rows, side="right") - 1).tolist()
        return shards

    def vectors(self, shard: int) -> Vectors:
        """Return the mapped vectors of that shard, or piece of one."""
        if shard not in self._vectors:
            entry, start, stop = self._pieces[shard]
            if entry.shard not in self._shard_vectors:
                self._shard_vectors[entry.shard] = entry.vectors()
            whole = self._shard_vectors[entry.shard]
            self._vectors[shard] = whole if stop - start == len(entry.shard) else whole[start:stop]
        return self._vectors[shard]

    def block(self, start: int, stop: int) -> Vectors:
        """Return rows ``start`` to ``stop``, or as many as the first row's shard holds."""
        number = self.shard_of(start)
        first = self.start_of(number)
        return self.vectors(number)[start - first : stop - first]

    def start_of(self, shard: int) -> int:
        """Return the first row of that shard."""
        return int(self._starts[shard])

    def stems(self) -> list[tuple[str, int]]:
        """Return name and number of rows of every shard, or piece of one, that has rows."""
        return [(entry.shard.stem, stop - start) for entry, start, stop in self._pieces]

    def gather(self, rows: NDArray[np.int64]) -> Vectors:
        """Return the vectors of ascending rows, in memory."""
        if not self._pieces:
            return self.embeddings.all_vectors()[:0]
        parts = []
        for number in self.shards_of(rows) or [0]:
            low, high = np.searchsorted(rows, self._starts[number : number + 2])
            parts.append(self.vectors(number).take(rows[low:high] - self._starts[number]))
        return Vectors.joined(parts)

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the ids of ascending rows."""
        found: list[str] = []
        for number, piece in enumerate(self._pieces):
            low, high = np.searchsorted(rows, self._starts[number : number + 2])
            if low == high:
                continue
            table, moved = self._table(piece.shard), piece.start - self.start_of(number)
            found += [table[row + moved] for row in rows[low:high].tolist()]
        return found

    def every_id(self) -> list[str]:
        """Return the ids of all rows."""
        return [
            text_id
            for piece in self._pieces
            for text_id in self._table(piece.shard)[piece.start : piece.stop]
        ]

    def _table(self, entry: EmbeddingShard) -> IdTable:
        if entry.shard not in self._tables:
            self._tables[entry.shard] = entry.ids()
        return self._tables[entry.shard]


class _Piece(NamedTuple):
    """Rows ``start`` to ``stop`` of a shard, counted from its first."""

    shard: EmbeddingShard
    start: int
    stop: int


def _pieces(shards: Iterable[EmbeddingShard], without: NDArray[np.int64]) -> Iterator[_Piece]:
    """Yield what is left of the shards, in order."""
    for entry in shards:
        low, high = np.searchsorted(without, [entry.shard.start, entry.shard.stop])
        start = 0
        for row in [*(without[low:high] - entry.shard.start).tolist(), len(entry.shard)]:
            if row > start:
                yield _Piece(entry, start, row)
            start = row + 1


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
    write_file(stage, RANKS, id_ranks(passages.every_id()))


def write_file(stage: Stage, name: str, array: NDArray[Any]) -> None:
    """Write an array as a file of the index."""
    with stage.write(name) as file:
        write_array(file, array)


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
    """Return the embeddings that an index was built over, or what it keeps of them where they may go.

    Raises:
        PreconditionError: they are not where they stood.
        VerificationError: they were encoded anew since.
    """
    if ENCODED in manifest.extra:
        return _kept(index, manifest)
    folders = [index / place for place in places_of(manifest)]
    for folder in folders:
        if not folder.is_dir():
            raise PreconditionError(
                f"{index} reads its vectors from {folder}, which is not there; move it back, or index again"
            )
    embeddings = Embeddings.joined([Embeddings.open(folder, full=full) for folder in folders])
    if described_inputs(embeddings) != dict(manifest.inputs):
        raise VerificationError(
            f"{index} was built over other vectors than {' and '.join(map(str, folders))} holds now; index "
            "again with --force"
        )
    return embeddings


def _kept(index: Path, manifest: Manifest) -> Embeddings:
    about, rows = manifest.extra[ENCODED], manifest.counts["rows"]
    shard = EmbeddingShard(index, Shard(0, rows, 0, 1, rows), Manifest(stage=STAGE, **about))
    options = about["options"]
    return Embeddings(
        folder=index,
        shards=(shard,),
        vectors=VectorSpec(**options["vectors"]),
        side=options["side"],
        dtype=options["dtype"],
        rows=rows,
    )


def places_of(manifest: Manifest) -> list[str]:
    """Return where an index's embeddings stand, relative to it: those that it was built over, those added."""
    return [manifest.extra["embeddings"], *manifest.extra.get("added", [])]
