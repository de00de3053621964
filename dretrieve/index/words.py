"""The BM25 index by its options: which engine holds it, how it is built, how it is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from dretrieve.errors import UsageError
from dretrieve.index.bm25_formula import STAGE, Bm25Options
from dretrieve.options import read_settings
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.types import Progress, Run, Texts

BACKENDS = {
    "embedded": "our own arrays, scores equal to Lucene's; the default",
    "bm25s": "another name of embedded, which took the place of the library bm25s",
    "lucene": "Lucene itself through pyserini, for collections beyond the embedded index",
}


class WordIndex(Protocol):
    """An index that answers words."""

    @property
    def options(self) -> Bm25Options:
        """k1 and b that it searches with."""
        ...

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""
        ...

    def __len__(self) -> int: ...

    def search(
        self,
        query_ids: Sequence[str],
        query_texts: Sequence[str],
        k: int,
        *,
        threads: int = 1,
        tag: str = "bm25",
    ) -> Run:
        """Return the k best passages of each query."""
        ...


def stage_of(texts: Texts, output: Path, settings: Mapping[str, Any], *, force: bool = False) -> Stage:
    """Return the stage of the index that `build_words` writes; errors as there."""
    backend, options = check_settings(settings)
    if backend == "lucene":
        from dretrieve.index import bm25_lucene

        return bm25_lucene.stage_of(texts, output, options, force=force)
    from dretrieve.index import bm25_build

    return bm25_build.stage_of(texts, output, options, force=force)


def build_words(
    texts: Texts,
    output: Path,
    settings: Mapping[str, Any],
    *,
    force: bool = False,
    progress: Progress | None = None,
    signals: Signals | None = None,
) -> Manifest:
    """Write the index and return its manifest.

    Args:
        texts: the passages.
        output: the folder.
        settings: ``k1``, ``b`` and ``backend``, each optional.
        force: replace an index of other options.
        progress: is told the passages done.
        signals: checked between chunks.

    Raises:
        UsageError: unknown or impossible settings.
        PreconditionError: the collection is too large for the backend, or the backend is not installed.
        Interrupted: a signal came.
    """
    backend, options = check_settings(settings)
    if backend == "lucene":
        from dretrieve.index.bm25_lucene import build_lucene

        return build_lucene(texts, output, options, force=force, progress=progress, signals=signals)
    from dretrieve.index.bm25_build import build_bm25

    return build_bm25(texts, output, options, force=force, progress=progress, signals=signals)


def open_words(folder: Path, settings: Mapping[str, Any] | None = None, *, full: bool = False) -> WordIndex:
    """Return the index at ``folder``.

    Args:
        folder: what `build_words` wrote.
        settings: other ``k1`` and ``b`` than it was built with.
        full: hash every file again.

    Raises:
        UsageError: unknown or impossible settings.
        PreconditionError: there is no finished index, or its backend is not installed.
        VerificationError: it is something else, or its bytes changed.
    """
    manifest = open_artefact(folder, (STAGE,), full=full)
    built = Bm25Options(k1=manifest.options["k1"], b=manifest.options["b"])
    options = word_options(settings or {}, built)
    if manifest.options["backend"] == "lucene":
        from dretrieve.index.bm25_lucene import LuceneIndex

        return LuceneIndex(folder, manifest, options)
    from dretrieve.index.bm25 import Bm25Index

    return Bm25Index(folder, manifest, options)


def check_settings(settings: Mapping[str, Any]) -> tuple[str, Bm25Options]:
    """Return the backend, and k1 and b, of an index to build.

    Raises:
        UsageError: unknown or impossible settings.
    """
    backend = str(settings.get("backend", "embedded"))
    if backend not in BACKENDS:
        raise UsageError(f"--backend {backend} is unknown; choose one of {', '.join(BACKENDS)}")
    return backend, word_options(
        {name: settings[name] for name in settings if name != "backend"}, Bm25Options()
    )


def word_options(settings: Mapping[str, Any], default: Bm25Options) -> Bm25Options:
    """Return k1 and b of the settings, else the default's.

    Raises:
        UsageError: other names, or values that are no numbers in range.
    """
    return read_settings(Bm25Options, asdict(default) | dict(settings), "BM25")
