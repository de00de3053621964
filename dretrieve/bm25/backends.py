"""The BM25 index by its options: which engine holds it, how it is built, how it is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from dretrieve.bm25.scores import Bm25Options
from dretrieve.options import option, read_settings
from dretrieve.store.atomic import explained, make_folder
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.store.text_store import TextStore
from dretrieve.types import SILENT, Progress, Run

STAGE = "index-bm25"
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Bm25Choices(Bm25Options):
    """``--set`` of a BM25 index to build; a search may take other k1 and b, these are its defaults.

    Attributes:
        backend: ``embedded``, our own arrays with Lucene's scores (``bm25s`` is another name of it, after the
            library whose place it took), or ``lucene`` through pyserini, for larger collections.
    """

    backend: str = option("embedded", legal=("embedded", "bm25s", "lucene"))


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
        """Return the k best passages of each query, k at least 1.

        A word that a query says twice counts twice; threads change nothing.
        """
        ...


def plan_words(texts: TextStore, output: Path, settings: Mapping[str, Any], *, force: bool = False) -> Stage:
    """Return the stage of a BM25 index; nothing is written.

    Title and text of a passage make one field, as in Anserini's flat indexes.

    Raises:
        UsageError: unknown or impossible settings.
        PreconditionError: the collection is too large for the backend.
    """
    chosen = read_settings(Bm25Choices, settings, "building an index of type bm25")
    known = {"k1": chosen.k1, "b": chosen.b, "backend": "lucene"}
    if chosen.backend != "lucene":
        from dretrieve.bm25.build import ANALYSIS, check_size

        check_size(texts)
        known |= {"backend": "embedded", "analysis": ANALYSIS}
    return Stage(output, "folder", STAGE, VERSION, known, {"corpus": texts.sha256}, force)


def build_words(
    stage: Stage, texts: TextStore, *, progress: Progress = SILENT, signals: Signals | None = None
) -> Manifest:
    """Write the index that `plan_words` planned and return its manifest.

    Raises:
        PreconditionError: the backend is not installed, or the output holds something else.
        Interrupted: a signal came; nothing is kept.
    """
    if stage.up_to_date():
        return stage.existing()
    if stage.options["backend"] == "lucene":
        from dretrieve.bm25.lucene import fill
    else:
        from dretrieve.bm25.build import fill
    make_folder(stage.output)
    with explained(stage.output):
        return fill(stage, texts, progress, signals or Signals())


def open_words(folder: Path, settings: Mapping[str, Any] | None = None, *, full: bool = False) -> WordIndex:
    """Return the index at ``folder``; the settings may name other ``k1`` and ``b`` than it was built with.

    Raises:
        UsageError: unknown or impossible settings.
        PreconditionError: there is no finished index, or its backend is not installed.
        VerificationError: it is something else, or its bytes changed.
    """
    manifest = open_artefact(folder, (STAGE,), full=full)
    built = Bm25Options(k1=manifest.options["k1"], b=manifest.options["b"])
    options = read_settings(Bm25Options, asdict(built) | dict(settings or {}), "searching a BM25 index")
    if manifest.options["backend"] == "lucene":
        from dretrieve.bm25.lucene import LuceneIndex

        return LuceneIndex(folder, manifest, options)
    from dretrieve.bm25.index import Bm25Index

    return Bm25Index(folder, manifest, options)
