"""The query vectors of a search: read from embeddings, or encoded on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dretrieve.errors import VerificationError
from dretrieve.models.places import PACKAGED
from dretrieve.runs.search import QueryVectors
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.fingerprint import fingerprint
from dretrieve.store.interrupt import Signals
from dretrieve.types import Progress, Record, Vectors

if TYPE_CHECKING:
    from dretrieve.jobs.configs.search import SearchConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySource:
    """Queries before their vectors are at hand: enough to know whether the run stands already.

    Attributes:
        ids: one per query.
        passage_model: fingerprint of the passage side that they belong to.
        fingerprint: of what the vectors are a function of.
        name: for messages.
        load: returns the vectors.
        texts: ``DIR:split`` with the queries' texts, where it is known and there.
        query_model: fingerprint of the query side that made them; None where vectors came without it.
        extra: what finds that model's card again (a packaged name, inference choices), for the manifest.
    """

    ids: Sequence[str]
    passage_model: str
    fingerprint: str
    name: str
    load: Callable[[], Vectors]
    texts: str | None = None
    query_model: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def vectors(self) -> QueryVectors:
        """Return the queries with their vectors."""
        return QueryVectors(
            ids=self.ids,
            vectors=self.load(),
            passage_model=self.passage_model,
            fingerprint=self.fingerprint,
            name=self.name,
        )


def given_queries(folder: Path, *, full: bool = False) -> QuerySource:
    """Return the queries of an embeddings folder.

    Raises:
        PreconditionError: it is missing or unfinished.
        VerificationError: it holds passages.
    """
    embeddings = Embeddings.open(folder, full=full)
    if embeddings.side != "query":
        raise VerificationError(
            f"{folder} holds vectors of passages, queries are wanted; give it as --index, and encode the "
            "queries with `dretrieve encode --queries`"
        )
    return QuerySource(
        ids=embeddings.ids(),
        passage_model=embeddings.passage_fingerprint,
        fingerprint=embeddings.fingerprint,
        name=str(folder),
        load=embeddings.all_vectors,
        texts=recorded_collection(embeddings),
        query_model=embeddings.query_fingerprint,
        extra=model_places(embeddings.extra.get("model"), embeddings.extra.get("inference")),
    )


def encoded_queries(
    config: SearchConfig, embeddings: Embeddings, progress: Progress, signals: Signals
) -> QuerySource:
    """Return the queries of a split, to be encoded here as `encode --queries` would.

    Args:
        config: names the split and the model.
        embeddings: the passages; the model must be theirs, and the queries take their dtype.
        progress: is told when they are encoded.
        signals: checked between chunks.

    Raises:
        UsageError: a split that does not exist, an unknown inference choice.
        VerificationError: the passages were encoded by another model.
    """
    from dretrieve.encoding.numerics import resolve_precision
    from dretrieve.models.cards import read_card
    from dretrieve.models.places import find_model
    from dretrieve.models.registry import check_choices
    from dretrieve.text.collection import Collection

    assert config.queries is not None
    assert config.model is not None
    card, _ = read_card(find_model(config.model))
    check_choices(card, config.settings)
    collection = Collection.open(config.queries, "queries", config.topic_field)
    queries = collection.queries(collection.split)
    device = resolved_device(config.device)
    precision = resolve_precision(config.precision, device)
    ours = card.fingerprint("passage", config.settings)
    inputs = {
        "collection": queries.sha256,
        "passage_model": ours,
        "query_model": card.fingerprint("query", config.settings),
    }

    def load() -> Vectors:
        progress.note(f"encoding {len(queries):,} queries with {config.model} in {precision} on {device}")
        return _encode(
            config, queries.records(0, len(queries)), (device, precision, embeddings.dtype), signals
        )

    return QuerySource(
        ids=queries.ids(),
        passage_model=ours,
        fingerprint=fingerprint("queries", 1, {"precision": precision, "dtype": embeddings.dtype}, inputs),
        name=f"{config.queries} by {config.model}",
        load=load,
        texts=config.queries,
        query_model=inputs["query_model"],
        extra=model_places(config.model, config.settings),
    )


def model_places(model: object, inference: object) -> dict[str, Any]:
    """Return what a manifest must say so that its model's card is found by its fingerprint.

    A card in the work folder needs nothing; a packaged model is found by its name, and a side under
    inference choices by these. No path is written: equal runs have equal manifests.
    """
    found: dict[str, Any] = {"model": model} if model in PACKAGED else {}
    return found | ({"inference": dict(inference)} if isinstance(inference, Mapping) and inference else {})


def _encode(
    config: SearchConfig, records: list[Record], numbers: tuple[str, str, str], signals: Signals
) -> Vectors:
    """Return the vectors; torch and the model's libraries are loaded only now."""
    from dretrieve.encoding.pipeline import encode_records
    from dretrieve.models.loading import load_model

    assert config.model is not None
    device, precision, dtype = numbers
    model = load_model(config.model, device, precision, config.settings)
    stored: Literal["float16", "float32"] = "float16" if dtype == "float16" else "float32"
    return encode_records(model, "query", records, stored, signals)


def resolved_device(device: str) -> str:
    """Return ``cpu`` or the accelerator to use; ``auto`` loads torch only where a driver is to be found."""
    if device == "auto" and not Path("/proc/driver/nvidia/version").exists():
        return "cpu"
    from dretrieve.encoding.numerics import resolve_device

    return resolve_device(device)


def recorded_collection(embeddings: Embeddings) -> str | None:
    """Return the collection as ``DIR`` or ``DIR:split`` as the embeddings name it, if it is still there."""
    name, split = embeddings.extra.get("collection"), embeddings.extra.get("split")
    if not isinstance(name, str):
        return None
    folder = embeddings.folder / name
    if not folder.exists():
        return None
    return f"{folder}:{split}" if split else str(folder)
