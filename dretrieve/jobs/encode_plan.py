"""Before anything is computed: what an embeddings folder will hold; whether a shard fits those in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dretrieve.encoding.numerics import resolve_precision
from dretrieve.errors import PreconditionError
from dretrieve.models import packed
from dretrieve.store.card import Choice, ModelCard
from dretrieve.store.embeddings import ENGINE_ENTRY, EmbeddingPlan
from dretrieve.store.manifest import Manifest, read_manifest
from dretrieve.store.shards import Shard
from dretrieve.store.stage import differences, replaces_stale
from dretrieve.text.collection import Collection
from dretrieve.text.files import is_stream
from dretrieve.types import Side, Texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One side of a collection by one model.

    Attributes:
        model: the name that the user gave.
        card: its card.
        settings: inference choices over the card's defaults.
        side: which side.
        texts: its records.
        collection: where they come from.
    """

    model: str
    card: ModelCard
    side: Side
    texts: Texts
    collection: Collection
    settings: Mapping[str, Choice] = field(default_factory=dict)


def embedding_plan(
    source: Source, folder: Path, precision: str, dtype: Literal["float16", "float32"]
) -> EmbeddingPlan:
    """Return what ``folder`` will hold; paths in it are relative to the folder."""
    card, side, settings = source.card, source.side, source.settings
    inputs = {"collection": source.texts.sha256, "passage_model": card.fingerprint("passage", settings)}
    if side == "query":
        inputs["query_model"] = card.fingerprint("query", settings)
    both: tuple[Side, ...] = ("query", "passage")
    chosen = card.chosen(settings)
    mine = {name: value for name, value in chosen.items() if side in card.inference_sides.get(name, both)}
    path = source.collection.path
    place = None if is_stream(path) else os.path.relpath(path.resolve(), folder.resolve())
    extra = {
        "collection": place,
        "split": source.collection.split,
        "model": source.model,
        "inference": mine,
        ENGINE_ENTRY: packed.ENGINE_VERSION,
    }
    return EmbeddingPlan(
        side=side,
        vectors=card.vectors,
        dtype=dtype,
        options={"precision": precision},
        inputs=inputs,
        salience=bool(card.side(side).settings.get("salience")),
        extra=extra,
    )


def agreed_precision(folder: Path, shard: Shard, precision: str, device: str) -> str:
    """Return the precision of a shard; ``auto`` must come out as it did for the shards that stand there.

    Raises:
        PreconditionError: it comes out otherwise.
    """
    mine = resolve_precision(precision, device)
    other = _other_shard(folder, shard) if precision == "auto" else None
    theirs = other.options.get("precision") if other is not None else None
    if theirs in (None, mine):
        return mine
    raise PreconditionError(
        f"{folder} holds shards of precision {theirs}, and auto means {mine} on this {device.upper()}; "
        f"give --precision {theirs} to go on with theirs"
    )


def check_company(folder: Path, shard: Shard, plan: EmbeddingPlan, *, force: bool = False) -> None:
    """Refuse to add a shard to those of another model, collection, precision, cut or version of our engine.

    Where `replaces_stale` says so, such shards are removed. A shard that
    stands finished was computed by the version that it records, unless ``force`` computes it again.

    Raises:
        PreconditionError: says what differs.
    """
    own = folder / f"{shard.stem}.manifest.json"
    recorded = read_manifest(own).extra if own.exists() and not force else plan.extra or {}
    engine = recorded.get(ENGINE_ENTRY)
    for file in sorted(folder.glob("shard-*-of-*.manifest.json")):
        if file.name.startswith(f"{shard.stem}."):
            continue
        other = read_manifest(file)
        problem = _unfit(other, shard, plan) or _other_engine(other.extra.get(ENGINE_ENTRY), engine)
        if problem and replaces_stale():
            for path in [file, *folder.glob(f"{file.name.partition('.')[0]}.*")]:  # the manifest first
                path.unlink(missing_ok=True)
        elif problem:
            raise PreconditionError(f"{folder} holds {problem}; choose another --output, or remove those")


def _unfit(other: Manifest, shard: Shard, plan: EmbeddingPlan) -> str:
    """Return why that finished shard and this one cannot be of one folder; nothing when they can."""
    cut = other.options.get("shard", {})
    if (cut.get("count"), cut.get("total")) != (shard.count, shard.total):
        return (
            f"shards cut as N={cut.get('count')} of {cut.get('total'):,} rows, this one is "
            f"N={shard.count} of {shard.total:,}"
        )
    theirs, mine = _without_shard(other), _without_shard(plan.manifest(shard))
    if theirs.fingerprint == mine.fingerprint:
        return ""
    return f"shards of other options ({differences(theirs, mine)})"


def _other_engine(theirs: int | None, mine: int | None) -> str:
    """Return why vectors of those two versions of our engine do not belong together; nothing when they do.

    Embeddings made before the version was recorded (None) are not told apart.
    """
    if None in (theirs, mine) or theirs == mine:
        return ""
    return f"shards computed by version {theirs} of the engine, this one is by version {mine} with other bits"


def _without_shard(manifest: Manifest) -> Manifest:
    options = {name: value for name, value in manifest.options.items() if name != "shard"}
    return Manifest(stage=manifest.stage, version=manifest.version, options=options, inputs=manifest.inputs)


def _other_shard(folder: Path, shard: Shard) -> Manifest | None:
    """Return the manifest of some finished shard of the folder other than this one."""
    for file in sorted(folder.glob("shard-*-of-*.manifest.json")):
        if not file.name.startswith(f"{shard.stem}."):
            return read_manifest(file)
    return None
