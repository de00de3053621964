"""A collection by name: ``DIR[:split]`` to passages, queries and judgements.

Besides BEIR folders a single corpus or query file in any known form may be named: it is a collection of
passages only, or of queries only.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from dretrieve.errors import (
    DataError,
    DretrieveError,
    PreconditionError,
    SpokenWarning,
    UsageError,
    VerificationError,
)
from dretrieve.store.interrupt import interruptible
from dretrieve.store.leftovers import remove_leftovers
from dretrieve.store.manifest import Manifest, manifest_path, read_manifest, verify_files
from dretrieve.store.text_store import TextStore, records_sha256, source_of
from dretrieve.text.beir import Files, Query, collection_files
from dretrieve.text.cache import cache_folder, read_once, remember
from dretrieve.text.fields import Side
from dretrieve.text.files import exists, is_stream, sha256_of
from dretrieve.text.forms import detect, headerless
from dretrieve.text.qrels import read_qrels
from dretrieve.text.queries import QuerySet
from dretrieve.text.records import check_topic_field, read_corpus, read_queries
from dretrieve.types import SILENT, Progress, Qrels, Record

STORE_FOLDER = ".dretrieve"
READING = 2  # how passages are read; a text store by another rule is made anew


def parse_spec(spec: str | Path) -> tuple[Path, str | None]:
    """Return path and split of ``DIR[:split]``: the last colon splits, an existing path wins.

    Raises:
        PreconditionError: neither the whole nor the part before the last colon exists.
        UsageError: the split is empty (``DIR:``).
    """
    whole = Path(spec)
    if exists(whole):
        return whole, None
    folder, colon, split = str(spec).rpartition(":")
    if colon and folder and Path(folder).exists():
        if not split:
            raise UsageError(f"'{spec}' names no split after the colon; write DIR or DIR:split")
        return Path(folder), split
    raise PreconditionError(
        f"'{spec}' does not exist; give the folder of a collection as DIR or DIR:split, or an existing file"
    )


def files_of(path: Path, side: Side | None = None) -> Files:
    """Return the files of the collection that a folder or a single file is.

    ``side`` is what a single file holds, where the user said it; else its content is asked.

    Raises:
        DataError: it is no collection, corpus or query file.
    """
    folder = Files.in_folder(path)
    if folder.all:
        return folder
    if side is None:
        form = detect(path)
        if form.role == "texts":
            return Files(path, path)
        if form.role not in ("corpus", "queries"):
            raise DataError(
                f"{path} holds {form.role} ({form.name}), not a collection; "
                "turn it into one: dretrieve prepare SOURCE --output DIR"
            )
        side = "corpus" if form.role == "corpus" else "queries"
    return Files(corpus=path) if side == "corpus" else Files(queries=path)


class Collection:
    """An opened collection.

    Args:
        path: a BEIR folder, or a single file of passages or queries.
        split: the split that `queries` and `qrels` take when none is named.
        side: what a single file holds, where the user said it.
        topic_field: what of TREC's topics is searched.
    """

    def __init__(
        self, path: Path, split: str | None = None, side: Side | None = None, topic_field: str | None = None
    ) -> None:
        check_topic_field(topic_field)
        self.path, self.split, self.topic_field = path, split, topic_field
        self.files = files_of(path, side)
        self._store: TextStore | None = None
        self._queries: list[Query] | None = None
        self._qrels: dict[Path, Qrels] = {}

    @classmethod
    def open(cls, spec: str | Path, side: Side | None = None, topic_field: str | None = None) -> Collection:
        """Return the collection named by ``DIR[:split]``.

        Raises:
            PreconditionError: it does not exist.
            DataError: it is no collection.
            UsageError: it has no such split, the message lists those it has; a split is named where passages
                are wanted, of which there are none.
        """
        path, split = parse_spec(spec)
        if side == "corpus" and split is not None:
            raise UsageError(
                f"--corpus {spec}: passages have no splits, all of them are taken; write --corpus {path}"
            )
        collection = cls(path, split, side, topic_field)
        if split is not None and split not in collection.files.qrels and split not in collection.splits:
            raise collection.unknown_split(split)
        return collection

    @property
    def name(self) -> str:
        """The last part of its path without endings."""
        if is_stream(self.path):
            return "stream"
        return self.path.resolve().name.split(".")[0] or "collection"

    @property
    def splits(self) -> list[str]:
        """Names of splits: of the qrels files, and of the queries' field ``split``."""
        either = self.files.queries == self.files.corpus  # bare lines, which name no split
        queries = [] if either else self._all_queries()
        named = {str(query.fields["split"]) for query in queries if query.fields.get("split")}
        return sorted(named | set(self.files.qrels))

    @property
    def sha256(self) -> str:
        """Hash over the canonical passages; over the queries where there are no passages."""
        return self.corpus().sha256 if self.files.corpus else self.queries().sha256

    def corpus(self, progress: Progress = SILENT, *, hashed: bool = False, full: bool = False) -> TextStore:
        """Return the passages with random access; builds the text store on first use.

        It stands in the collection's own folder when that may be written, else in the cache
        (``DRETRIEVE_CACHE``, by default ``~/.cache/dretrieve``), and is built again when the file changes, or
        when the store is found damaged. That the passages are no longer those that `prepare` wrote is said.
        With ``hashed`` the store's files are hashed, whatever their size and time; ``full`` also reads the
        corpus again and compares.

        Raises:
            PreconditionError: no passages here.
            DataError: broken lines, an id twice.
            VerificationError: ``full`` found other texts in the corpus than when it was first read.
        """
        if self.files.corpus is None:
            raise PreconditionError(
                f"{self.path} has queries but no passages (corpus.jsonl); name the corpus too"
            )
        if self._store is None:
            self._store = open_or_build(self.files.corpus, progress, hashed=hashed or full)
            if full:
                check_texts(self.files.corpus, self._store)
            listed = self._prepared()
            if listed is not None and listed.extra.get("sha256", self._store.sha256) != self._store.sha256:
                self._say_changed(self.files.corpus)
        return self._store

    def verify(self, *, full: bool = False) -> None:
        """Refuse a text store that is damaged, instead of making it again as `corpus` does.

        Raises:
            VerificationError: names the file, and says which of them to make again.
        """
        corpus = self.files.corpus
        for folder in _standing(corpus) if corpus else ():
            store = TextStore.open(folder, full=full)
            if corpus and full:
                check_texts(corpus, store)

    def queries(self, split: str | None = None) -> QuerySet:
        """Return the queries of a split (by default the one named when opening, else all).

        A split is the ids of ``qrels/<split>.tsv`` in the order of the query file, or, without such a file,
        the queries whose field ``split`` says so.

        Raises:
            PreconditionError: no queries here.
            UsageError: no such split.
            DataError: the qrels judge a query that the query file lacks.
        """
        name = split or self.split
        queries = self._all_queries()
        if self.files.queries is None:
            raise PreconditionError(
                f"{self.path} has no queries (queries.jsonl); name a collection with queries"
            )
        if name is None:
            return QuerySet(queries, self.files.queries)
        if name in self.files.qrels:
            wanted = set(self.qrels(name).query_ids)
            chosen = [query for query in queries if query.id in wanted]
            lost = wanted - {query.id for query in chosen}
            if lost:
                raise DataError(
                    f"{self.files.qrels[name]} judges {len(lost):,} queries that are not in "
                    f"{self.files.queries.name} (first: {min(lost)!r}); use the files of one release"
                )
        else:
            chosen = [query for query in queries if query.fields.get("split") == name]
            if not chosen:
                raise self.unknown_split(name)
        return QuerySet(chosen, self.files.queries, name)

    def qrels(self, split: str | None = None) -> Qrels:
        """Return the judgements of a split (by default the one named when opening, else the only one).

        Raises:
            UsageError: no such split has judgements, or several have and none was named.
        """
        file = self.qrels_file(split)
        if file not in self._qrels:
            self._qrels[file] = read_once("judgements", [file], partial(read_qrels, file))
        return self._qrels[file]

    def qrels_file(self, split: str | None = None) -> Path:
        """Return where the judgements of that split stand; errors as `qrels`."""
        name, known = split or self.split, self.files.qrels
        if name is None and len(known) == 1:
            name = next(iter(known))
        if name is not None and name in known:
            self._check_listed(known[name])
            return known[name]
        listed = ", ".join(known) or "none"
        if name is None and known:
            raise UsageError(
                f"{self.path} has judgements for several splits; write {self.path}:SPLIT ({listed})"
            )
        asked = f" for split '{name}'" if name else ""
        raise UsageError(f"{self.path} has no judgements{asked}; splits with judgements: {listed}")

    def unknown_passages(self, qrels: Qrels) -> list[str]:
        """Return the sorted ids of judged passages that the corpus lacks (a perfect run cannot find them)."""
        store = self.corpus()
        judged = {qrels.passage_ids[row] for row in set(qrels.passages.tolist())}
        return sorted(passage for passage in judged if store.row_of(passage) is None)

    def unknown_split(self, split: str) -> UsageError:
        """Return the error for a split that is not here."""
        listed = ", ".join(self.splits) or "none (use it without a split)"
        return UsageError(f"{self.path} has no split '{split}'; it has: {listed}")

    def _all_queries(self) -> list[Query]:
        if self._queries is None:
            file = self.files.queries
            if file is None:
                return []

            def read() -> list[Query]:
                return list(read_queries(file, self.topic_field))

            shared = file.is_file()  # a folder does not show that a file in it changed
            self._queries = read_once(f"queries {self.topic_field}", [file], read) if shared else read()
            self._check_listed(file)
        return self._queries

    def _prepared(self) -> Manifest | None:
        """Return what `prepare` wrote of this folder, None for one that it did not make."""
        with suppress(DretrieveError):
            found = read_manifest(manifest_path(self.path)) if self.path.is_dir() else None
            return found if found is not None and found.stage == "prepare" else None
        return None

    def _check_listed(self, file: Path) -> None:
        """Say that a file is not the one that `prepare` wrote; of others' files look for damage only."""
        listed = self._prepared()
        if listed is None:
            remember({file: sha256_of(file)}, said=False)
            return
        try:
            verify_files(manifest_path(self.path), listed, only=[str(file.relative_to(self.path))])
        except VerificationError:
            self._say_changed(file)

    def _say_changed(self, file: Path) -> None:
        warnings.warn(
            f"{file} is not the file that prepare wrote: it was changed since; prepare again with "
            f"--force, or remove {manifest_path(self.path)} if the change is meant",
            SpokenWarning,
            stacklevel=3,
        )


def _source(corpus: Path) -> dict[str, Any]:
    if is_stream(corpus):
        return {"reading": READING, "sha256": sha256_of(corpus)}
    files = [(str(file.relative_to(corpus.parent)), file.stat()) for file in collection_files(corpus)]
    return {
        "reading": READING,
        "files": [
            {"name": name, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns} for name, status in files
        ],
    }


def store_folders(corpus: Path) -> list[Path]:
    """Return where the text store of that corpus may stand, best first: beside it, or in the cache.

    That of a stream stands in the cache under the hash of what it held.
    """
    real = corpus.resolve()
    name = sha256_of(corpus) if is_stream(corpus) else hashlib.sha256(str(real).encode()).hexdigest()
    cached = cache_folder() / "texts" / name[:16]
    if is_stream(corpus):
        return [cached]
    folder = real.parent
    writable = folder.stat().st_mode & 0o222 and os.access(folder, os.W_OK)
    return [folder / STORE_FOLDER / f"{real.name}.texts", cached] if writable else [cached]


def check_texts(corpus: Path, store: TextStore) -> None:
    """Read the corpus again and compare it with its text store.

    Raises:
        VerificationError: they differ, though the file has the size and time with which the store was made.
    """
    if records_sha256(read_corpus(corpus)) != store.sha256:
        raise VerificationError(
            f"{corpus} holds other texts than when its text store was made, though its size and time are the "
            f"same: the file is damaged, fetch it again (or, if the file is right, remove {store.folder})"
        )


def open_or_build(corpus: Path, progress: Progress, *, hashed: bool = False) -> TextStore:
    """Return the text store of a corpus file (or JsonCollection folder), made now if missing or stale."""
    folders = store_folders(corpus)
    for folder in folders:
        remove_leftovers(folder.parent, [folder.name])
    for folder in _standing(corpus):
        try:
            return TextStore.open(folder, full=hashed)
        except (DretrieveError, OSError) as error:  # OSError: another process replaces it just now
            progress.note(f"text store rebuilt: {error}")
    for folder in folders:
        try:
            return _build(folder, corpus, progress)
        except PreconditionError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError):
                raise
            if folder == folders[-1]:
                raise PreconditionError(
                    f"the text store of {corpus} cannot be written to the cache {cache_folder()} "
                    f"({cause.strerror or cause}); set DRETRIEVE_CACHE to a folder that takes it"
                ) from error
            progress.note(f"the text store goes to the cache: {error}")
    raise AssertionError("store_folders returned nothing")


def _build(folder: Path, corpus: Path, progress: Progress) -> TextStore:
    progress.start(f"reading {corpus.name}", None, "passages")

    def counted() -> Iterator[Record]:
        for count, record in enumerate(read_corpus(corpus), 1):
            if count % 10_000 == 0:
                progress.advance(10_000)
                signals.check()
            yield record

    with interruptible() as signals:
        store = TextStore.build(folder, counted(), _source(corpus))
    signals.check()  # for one that came after the last passage; the store stands
    progress.advance(len(store) % 10_000)
    progress.finish()
    if note := headerless(corpus, "corpus"):
        progress.note(note)
    return store


def _standing(corpus: Path) -> Iterator[Path]:
    """Yield the text stores that were made from the corpus as it is now, by size and time."""
    source = _source(corpus)
    for folder in store_folders(corpus):
        if source_of(folder) == source:
            yield folder
