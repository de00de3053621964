"""Embeddings on disk, for those who read them: per shard an array file, an id file and a manifest.

``shard-00003-of-00016.vectors.npy`` holds [rows, dim] for one vector per text, or [tokens, dim] for many,
then with ``….offsets.npy`` (int64, [rows + 1]), ``….tokens.npy`` (int32, [tokens], the vocabulary's number of
each) and, where the method has it, ``….salience.npy`` ([tokens]).
`store.shard_writer` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError, VerificationError
from dretrieve.store.fingerprint import canonical_json, fingerprint, sha256_bytes
from dretrieve.store.ids import IdTable
from dretrieve.store.manifest import Manifest, is_spent, read_verified
from dretrieve.store.npy import map_array
from dretrieve.store.parts import whole_of
from dretrieve.store.shards import Shard, check_tiling
from dretrieve.store.stage import differences
from dretrieve.types import ScoreName, Side, Vectors, VectorSpec

STAGE = "encode"
VERSIONS = {"one": 1, "many": 2}  # many, 2: with the tokens' numbers
# What `EmbeddingPlan.extra` calls the version of the engine that computed the vectors.
ENGINE_ENTRY = "engine_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingPlan:
    """What a folder of embeddings is: shared by all its shards, checked against each.

    Attributes:
        side: whose vectors these are.
        vectors: dim, one or many, score.
        dtype: stored numbers, ``float16`` or ``float32``.
        salience: whether each token has a weight beside its vector.
        options: byte-changing options of the stage (precision, inference choices, …).
        inputs: ``collection`` (sha256 of the texts), ``passage_model`` and, for queries, ``query_model``.
        extra: what later stages read and no fingerprint depends on: relative path of the collection, card
            name, version of the engine.
    """

    side: Side
    vectors: VectorSpec
    dtype: Literal["float16", "float32"]
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    salience: bool = False
    extra: Mapping[str, Any] | None = None

    def described(self) -> dict[str, Any]:
        """Return the options as the manifest holds them."""
        spec = {"dim": self.vectors.dim, "kind": self.vectors.kind, "score": self.vectors.score}
        return {
            **self.options,
            "side": self.side,
            "vectors": spec,
            "dtype": self.dtype,
            "salience": self.salience,
        }

    def manifest(self, shard: Shard, counts: Mapping[str, int] | None = None) -> Manifest:
        """Return the manifest of one shard, all but its files."""
        rows = {"start": shard.start, "stop": shard.stop, "total": shard.total}
        return Manifest(
            stage=STAGE,
            version=VERSIONS[self.vectors.kind],
            options={**self.described(), "shard": {"index": shard.index, "count": shard.count, **rows}},
            inputs=self.inputs,
            counts=counts or {},
            extra=self.extra or {},
        )


@dataclass(frozen=True, slots=True)
class EmbeddingShard:
    """One finished shard: its rows and where its arrays stand."""

    folder: Path
    shard: Shard
    manifest: Manifest

    def array(self, name: str) -> NDArray[Any]:
        """Return ``vectors``, ``offsets``, ``tokens`` or ``salience`` as a read-only memory map.

        Raises:
            PreconditionError: it was let go.
            VerificationError: it does not hold one entry a row (vectors) or a border around each (offsets).
        """
        file = self.folder / f"{self.shard.stem}.{name}.npy"
        if is_spent(file):
            raise PreconditionError(
                f"{file} was let go when all was made of it; make it again: encode with --force"
            )
        found = map_array(file)
        if name == "offsets":
            self._check("offsets.npy", len(found), len(self.shard) + 1)
        elif self.manifest.options["vectors"]["kind"] == "one":
            self._check(f"{name}.npy", len(found), len(self.shard))
        return found

    def file(self, name: str) -> Mapping[str, Any] | None:
        """Return what the manifest says of ``NAME.npy`` (sha256, bytes); None where the shard has none."""
        found: Mapping[str, Any] | None = self.manifest.files.get(f"{self.shard.stem}.{name}.npy")
        return found

    def vectors(self) -> Vectors:
        """Return the shard's vectors, memory-mapped as they are stored.

        Raises:
            VerificationError: values, offsets, tokens and salience do not fit together.
        """
        values = self.array("vectors")
        if self.manifest.options["vectors"]["kind"] == "one":
            return Vectors(values)
        offsets = self.array("offsets")
        if offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise VerificationError(
                f"{self.folder / self.shard.stem}.offsets.npy does not rise from 0; encode that shard again "
                "with --force"
            )
        self._check("vectors.npy", len(values), int(offsets[-1]))
        tokens = self.array("tokens")
        self._check("tokens.npy", len(tokens), len(values))
        weights = self.array("salience") if self.manifest.options["salience"] else None
        if weights is not None:
            self._check("salience.npy", len(weights), len(values))
        return Vectors(values, offsets, weights, tokens)

    def ids(self) -> IdTable:
        """Return the ids of the shard's rows, memory-mapped.

        Raises:
            VerificationError: there are more or fewer than rows.
        """
        found = IdTable.open(self.folder / f"{self.shard.stem}.ids.txt")
        self._check("ids.txt", len(found), len(self.shard))
        return found

    def _check(self, name: str, have: int, wanted: int) -> None:
        if have != wanted:
            raise VerificationError(
                f"{self.folder / f'{self.shard.stem}.{name}'} has {have:,} entries where its shard of "
                f"{len(self.shard):,} rows needs {wanted:,}; encode that shard again with --force"
            )


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A complete, verified folder of embeddings: all rows of one side of one collection by one model."""

    folder: Path
    shards: tuple[EmbeddingShard, ...]
    vectors: VectorSpec
    side: Side
    dtype: Literal["float16", "float32"]
    rows: int

    @classmethod
    def open(cls, folder: Path, *, full: bool = False) -> Embeddings:
        """Return the embeddings after checking that the shards belong together and tile all rows.

        Raises:
            PreconditionError: the folder or a shard is missing.
            VerificationError: shards overlap, differ in model, collection or options, or were changed.
        """
        files = sorted(folder.glob("shard-*-of-*.manifest.json")) if folder.is_dir() else []
        if not files:
            raise PreconditionError(
                f"{folder} holds no finished embeddings; make them with `dretrieve encode "
                f"--output {quote(str(folder))}`"
            )
        found = []
        for file in files:
            manifest = read_verified(file, full=full)
            if manifest.stage != STAGE:
                raise VerificationError(f"{file} was made by '{manifest.stage}', not by encode")
            if manifest.version != VERSIONS[manifest.options["vectors"]["kind"]]:
                raise PreconditionError(
                    f"{folder} was encoded when tokens' numbers were not kept; encode again with --force"
                )
            found.append(EmbeddingShard(folder, Shard(**manifest.options["shard"]), manifest))
        first = found[0]
        mine = whole_of(first.manifest)
        for other in found[1:]:
            theirs = whole_of(other.manifest)
            if theirs.fingerprint != mine.fingerprint:
                raise VerificationError(
                    f"{folder} mixes embeddings that do not belong together: {first.shard.stem} and "
                    f"{other.shard.stem} differ ({differences(mine, theirs)}); "
                    "remove the one that does not belong and encode that shard again"
                )
        _check_engine(folder, found)
        check_tiling((entry.shard for entry in found), first.shard.total, str(folder))
        found.sort(key=lambda entry: (entry.shard.start, entry.shard.index))
        options = first.manifest.options
        return cls(
            folder=folder,
            shards=tuple(found),
            vectors=VectorSpec(**options["vectors"]),
            side=options["side"],
            dtype=options["dtype"],
            rows=first.shard.total,
        )

    @classmethod
    def joined(cls, parts: Sequence[Embeddings]) -> Embeddings:
        """Return several embeddings, one behind the other, as one; its folder is that of the first.

        Raises:
            VerificationError: they differ in side, model, kind or type of their vectors.
        """
        first, shards, rows = parts[0], list[EmbeddingShard](), 0
        for part in parts:
            for what in ("side", "passage_fingerprint", "vectors", "dtype", "salience"):
                ours, theirs = getattr(first, what), getattr(part, what)
                if ours != theirs:
                    raise VerificationError(
                        f"{first.folder} and {part.folder} cannot be searched together: {what.split('_')[0]} "
                        f"{ours} and {theirs}; encode both in one way"
                    )
            for entry in part.shards:
                at = entry.shard
                shards.append(replace(entry, shard=replace(at, start=at.start + rows, stop=at.stop + rows)))
            rows += part.rows
        return replace(first, shards=tuple(shards), rows=rows)

    @property
    def collection_sha256(self) -> str:
        """Hash of the texts that were encoded."""
        found = self.collections
        return found[0] if len(found) == 1 else sha256_bytes(canonical_json(found))

    @property
    def collections(self) -> list[str]:
        """Hashes of the texts that were encoded, one for each collection."""
        return list(dict.fromkeys(entry.manifest.inputs["collection"] for entry in self.shards))

    @property
    def searched(self) -> dict[str, str]:
        """What a run says of the passages that were searched; nothing where several collections are."""
        return {"corpus": self.collection_sha256} if len(self.collections) == 1 else {}

    @property
    def passage_fingerprint(self) -> str:
        """The model's passage side; query embeddings carry it too, to be searched only there."""
        return self.shards[0].manifest.inputs["passage_model"]

    @property
    def query_fingerprint(self) -> str | None:
        """The model's query side, for query embeddings."""
        return self.shards[0].manifest.inputs.get("query_model")

    @property
    def score(self) -> ScoreName:
        """Which score compares two of these vectors."""
        return self.vectors.score

    @property
    def salience(self) -> bool:
        """Whether each token has a weight beside its vector."""
        return bool(self.shards[0].manifest.options["salience"])

    @property
    def extra(self) -> Mapping[str, Any]:
        """What `encode` left for later stages (relative path of the collection, name of the model)."""
        return self.shards[0].manifest.extra

    @property
    def fingerprint(self) -> str:
        """One hash for the whole, independent of how many shards it was cut into."""
        first = whole_of(self.shards[0].manifest)
        inputs = {**first.inputs, "collection": self.collection_sha256}
        return fingerprint(STAGE, first.version, {**first.options, "rows": self.rows}, inputs)

    def ids(self) -> list[str]:
        """Return the ids of all rows."""
        return [text_id for entry in self.shards for text_id in entry.ids()]

    def all_vectors(self) -> Vectors:
        """Return the vectors of all rows in row order; for small sets such as queries.

        Raises:
            VerificationError: the arrays of a shard do not fit together.
        """
        return Vectors.joined([entry.vectors() for entry in self.shards])


def _check_engine(folder: Path, shards: Sequence[EmbeddingShard]) -> None:
    """Refuse shards of two versions of the engine; of those without a record nothing is known."""
    first: dict[int, str] = {}
    for entry in shards:
        version = entry.manifest.extra.get(ENGINE_ENTRY)
        if version is not None:
            first.setdefault(version, entry.shard.stem)
    if len(first) > 1:
        named = " and ".join(f"{stem} by version {version}" for version, stem in sorted(first.items()))
        raise VerificationError(
            f"{folder} mixes embeddings that do not belong together: the engine computed {named}; "
            "remove those of the older version and encode their shards again"
        )
