"""What `validate` compares by fingerprint: vectors, models, indexes, runs with what they were made from."""

from __future__ import annotations

from collections.abc import Iterator

from dretrieve.errors import VerificationError
from dretrieve.jobs.validate_parts import Finding, IndexPart, RunPart
from dretrieve.store.card import ModelCard
from dretrieve.store.embeddings import Embeddings
from dretrieve.text.collection import Collection

UNVERIFIED = VerificationError.exit_code
SIDES = {"query": "queries", "passage": "passages"}


def check_run_origin(
    part: RunPart, embeddings: dict[str, Embeddings], indexes: list[IndexPart]
) -> Iterator[Finding]:
    """Whether the run says that it was searched in one of the given embeddings or indexes."""
    inputs = part.manifest.inputs if part.manifest is not None else {}
    given = {
        "passages": {e.fingerprint: name for name, e in embeddings.items() if e.side == "passage"},
        "index": {i.manifest.fingerprint: i.name for i in indexes if i.manifest and i.embeddings is None},
        "queries": {e.fingerprint: name for name, e in embeddings.items() if e.side == "query"},
    }
    for role, known in given.items():
        if role not in inputs or not known:
            continue
        if inputs[role] in known:
            yield Finding("ok", part.name, f"was searched with {known[inputs[role]]}")
        elif role != "queries":  # encoded on the spot, they have another fingerprint and are right
            named = " or ".join(known.values())
            text = f"was not searched in {named}, which changed since or is another; search again"
            yield Finding("problem", part.name, text, UNVERIFIED)


def check_run_words(part: RunPart, collections: dict[str, Collection]) -> Iterator[Finding]:
    """Whether a run over words was searched with the queries of one of the collections."""
    inputs = part.manifest.inputs if part.manifest is not None else {}
    known = {sha256: word for word, c in collections.items() for sha256 in queries_sha256(c)}
    if "index" not in inputs or not known:
        return
    if inputs["queries"] in known:
        yield Finding("ok", part.name, f"was searched with the queries of {known[inputs['queries']]}")
    else:
        named = " or ".join(dict.fromkeys(known.values()))
        text = f"was not searched with queries of {named} (or another split of it); search again"
        yield Finding("problem", part.name, text, UNVERIFIED)


def queries_sha256(collection: Collection) -> set[str]:
    """Return the hashes of the named split's queries, or of all queries and of every split."""
    if not collection.files.queries or collection.files.queries == collection.files.corpus:
        return set()
    names = [collection.split] if collection.split else [None, *collection.splits]
    return {collection.queries(split).sha256 for split in names}


def check_vectors_collection(
    name: str, embeddings: Embeddings, collections: dict[str, Collection]
) -> Iterator[Finding]:
    """Whether one of the collections is what was encoded."""
    fits: list[str] = []
    differs: list[str] = []
    for word, collection in collections.items():
        if embeddings.side == "passage" and collection.files.corpus:
            (fits if collection.corpus().sha256 == embeddings.collection_sha256 else differs).append(word)
        elif embeddings.side == "query" and collection.files.queries:
            fitting = embeddings.collection_sha256 in queries_sha256(collection)
            (fits if fitting else differs).append(word)
    if fits:
        yield Finding("ok", name, f"encodes the {SIDES[embeddings.side]} of {fits[0]}")
    elif differs:
        text = (
            f"was not encoded from {' or '.join(differs)}: the {SIDES[embeddings.side]} differ "
            "(another collection or split, or the texts changed since); encode again"
        )
        yield Finding("problem", name, text, UNVERIFIED)


def check_models(embeddings: dict[str, Embeddings], models: dict[str, ModelCard]) -> Iterator[Finding]:
    """Whether the given models made the given vectors, with the inference choices that the vectors record."""
    for name, vectors in embeddings.items():
        for model, card in models.items():
            chosen = vectors.shards[0].manifest.options.get("inference", {})
            known = {key: value for key, value in chosen.items() if key in card.inference}
            side_fits = card.fingerprint(vectors.side, known) == (
                vectors.passage_fingerprint if vectors.side == "passage" else vectors.query_fingerprint
            )
            passages_fit = card.fingerprint("passage", known) == vectors.passage_fingerprint
            if side_fits and passages_fit:
                yield Finding("ok", name, f"was encoded by {model}")
            elif passages_fit:
                yield Finding("note", name, f"fits the passages of {model}, whose query side is another")
            else:
                text = f"was encoded by another model than {model}, or with other templates or lengths"
                yield Finding("problem", name, text, UNVERIFIED)


def check_sides(embeddings: dict[str, Embeddings]) -> Iterator[Finding]:
    """Whether query vectors belong to passage vectors."""
    queries = {name: e for name, e in embeddings.items() if e.side == "query"}
    passages = {name: e for name, e in embeddings.items() if e.side == "passage"}
    for name, mine in queries.items():
        for other, theirs in passages.items():
            about = f"{name} with {other}"
            if mine.vectors != theirs.vectors:
                text = f"vectors differ: {mine.vectors} and {theirs.vectors}; encode both with one model"
                yield Finding("problem", about, text, UNVERIFIED)
            elif mine.passage_fingerprint != theirs.passage_fingerprint:
                text = "queries and passages were encoded by different models; encode one of them again"
                yield Finding("problem", about, text, UNVERIFIED)
            else:
                yield Finding("ok", about, "queries and passages were encoded by one model")


def check_index(part: IndexPart, collections: dict[str, Collection]) -> Iterator[Finding]:
    """Whether an index over words was built over one of the collections."""
    corpus = part.manifest.inputs.get("corpus") if part.manifest is not None else None
    known = {c.corpus().sha256: word for word, c in collections.items() if c.files.corpus}
    if corpus is None or not known:
        return
    if corpus in known:
        yield Finding("ok", part.name, f"was built over {known[corpus]}")
    else:
        text = f"was not built over {' or '.join(known.values())}, or the texts changed since; index again"
        yield Finding("problem", part.name, text, UNVERIFIED)
