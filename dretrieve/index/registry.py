"""The kinds of index, by the name that ``--type`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import read_manifest


@dataclass(frozen=True, slots=True)
class IndexKind:
    """One kind.

    Attributes:
        module: holds ``STAGE``, ``build`` and ``open_index`` (vectors), or what `dretrieve.jobs` calls.
        source: what it is made from.
        line: for the help.
    """

    module: str
    source: Literal["embeddings", "corpus"]
    line: str


KINDS: dict[str, IndexKind] = {
    "flat": IndexKind("dretrieve.index.flat", "embeddings", "exact; reads every passage in bytes"),
    "hnsw": IndexKind("dretrieve.index.ann", "embeddings", "approximate, a graph of neighbours; fast, large"),
    "ivf": IndexKind("dretrieve.index.ann", "embeddings", "approximate, cells; as large as the embeddings"),
    "ivfpq": IndexKind("dretrieve.index.ann", "embeddings", "approximate, cells of short codes; small"),
    "bm25": IndexKind("dretrieve.index.words", "corpus", "exact BM25 over words, scores as Lucene's"),
}


def kind_named(name: str) -> IndexKind:
    """Return the kind of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in KINDS:
        raise UsageError(f"there is no index of type '{name}'; there are {', '.join(KINDS)}")
    return KINDS[name]


def kind_at(path: Path) -> str:
    """Return the kind of the finished index at ``path``; ``flat`` for embeddings.

    Raises:
        PreconditionError: nothing finished stands there.
        VerificationError: something else does.
    """
    if not path.is_dir():
        raise PreconditionError(
            f"{path} is no folder; give --index what `dretrieve index` or `dretrieve encode` wrote"
        )
    if not (path / "manifest.json").exists() and any(path.glob("shard-*.manifest.json")):
        return "flat"
    if not (path / "manifest.json").exists():
        raise PreconditionError(
            f"{path} holds no finished index and no finished embeddings; run the `dretrieve index` or "
            "`dretrieve encode` that makes it (again)"
        )
    stage = read_manifest(path / "manifest.json").stage
    name = stage.removeprefix("index-")
    if name not in KINDS or name == stage:
        raise VerificationError(f"{path} was made by '{stage}'; --index takes an index or embeddings")
    return name


def search_settings(path: Path) -> tuple[str, ...]:
    """Return the names of what a search in the index of vectors at ``path`` leaves open."""
    if (kind := kind_at(path)) in ("flat", "bm25"):
        return ()
    return tuple(field.name for field in fields(import_module(KINDS[kind].module).SEARCHED[kind]))


def open_vector_index(path: Path, *, full: bool = False, settings: Mapping[str, Any] | None = None) -> Any:
    """Return the `VectorIndex` at ``path``: an index over embeddings, or the embeddings themselves.

    Args:
        path: a folder.
        full: hash every file again.
        settings: the search options of an approximate index (``--set``).
    """
    name = kind_at(path)
    if name not in ("flat", "bm25"):
        return import_module(KINDS[name].module).open_index(path, full=full, settings=settings)
    if (path / "manifest.json").exists():
        return import_module(KINDS[name].module).open_index(path, full=full)
    from dretrieve.index.flat import over_embeddings

    return over_embeddings(Embeddings.open(path, full=full))
