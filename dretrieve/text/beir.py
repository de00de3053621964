"""Folders of collections: BEIR's ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``; others'.

Each file may be compressed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, PreconditionError
from dretrieve.types import Record

SUFFIXES = ("", ".gz", ".zst", ".bz2", ".xz")
JSON_ENDINGS = tuple(form + suffix for form in (".jsonl", ".json", ".ndjson") for suffix in SUFFIXES)
NO_PASSAGES = {"queries", "topics", "qrels"}  # names of files and folders
NO_DATA = re.compile(r"_|readme|licen[cs]e|.*\.md$", re.IGNORECASE)  # Spark's _SUCCESS; what is for people
QRELS_HEADER = "query-id\tcorpus-id\tscore"
QRELS_ENDINGS = (".tsv", ".jsonl", ".json", ".txt", ".csv")  # MTEB has .jsonl; the first counts
QRELS = re.compile(r"([^.].*)(" + "|".join(map(re.escape, QRELS_ENDINGS)) + r")(\.(gz|zst|bz2|xz))?")
# The Multi-Domain Benchmark (Bassani et al., CIKM 2022): its passages, and split by folder of queries.
COLLECTION, QUERY_FOLDERS = "collection.jsonl", {"train": "train", "val": "dev", "test": "test"}


@dataclass(frozen=True, slots=True)
class Query:
    """One query with all that its line says.

    Attributes:
        id: without white space.
        text: may be empty.
        answers: strings, or one regular expression each.
        answers_are_regex: which of the two.
        fields: every other key of the line (``split``, ``relation`` …).
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    answers_are_regex: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a collection: any of them may be missing.

    Attributes:
        corpus: passages.
        queries: of all splits.
        qrels: judgements by split.
        judged: queries by split that name their relevant passages, in the place of the two.
    """

    corpus: Path | None = None
    queries: Path | None = None
    qrels: Mapping[str, Path] = field(default_factory=dict)
    judged: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def published(cls, folder: Path) -> Files:
        """Return those of `in_folder`, else of a folder of the Multi-Domain Benchmark."""
        own = cls.in_folder(folder)
        found = {split: find_file(folder / name, "queries.jsonl") for name, split in QUERY_FOLDERS.items()}
        judged = {split: path for split, path in found.items() if path is not None}
        corpus = find_file(folder, COLLECTION)
        return own if own.corpus or own.queries or not (corpus and judged) else cls(corpus, judged=judged)

    @classmethod
    def in_folder(cls, folder: Path) -> Files:
        """Return those that the folder holds; none where the path is no folder.

        Raises:
            DataError: one of them stands there in two forms.
        """
        inside, qrels = folder / "qrels", dict[str, Path]()
        found = (QRELS.fullmatch(path.name) for path in inside.iterdir()) if inside.is_dir() else ()
        for split in sorted({match[1] for match in found if match and not NO_DATA.match(match[0])}):
            forms = (find_file(inside, split + ending) for ending in QRELS_ENDINGS)
            if (path := next(filter(None, forms), None)) is not None:
                qrels[split] = path
        return cls(find_file(folder, "corpus.jsonl"), find_file(folder, "queries.jsonl"), qrels)

    @property
    def all(self) -> list[Path]:
        """Those that are there."""
        every = (self.corpus, self.queries, *self.qrels.values(), *self.judged.values())
        return [path for path in every if path is not None]


def find_file(folder: Path, stem: str) -> Path | None:
    """Return ``folder/stem`` or the compressed form that stands there; two forms at once are refused."""
    found = [path for suffix in SUFFIXES if (path := folder / (stem + suffix)).is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} holds {' and '.join(path.name for path in found)}; keep one of them")
    return found[0] if found else None


def collection_files(path: Path) -> list[Path]:
    """Return the file, or of a folder (Anserini's ``JsonCollection``) all JSON files, sorted by path.

    Hidden files and folders, and notes for people (``README.md``), are no part of it.

    Raises:
        PreconditionError: the folder holds none.
        DataError: it holds other files beside them, whose passages would be missing; queries or judgements
            beside passages, which would be read as some.
    """
    if not path.is_dir():
        return [path]
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(part[0] == "." for part in file.relative_to(path).parts)
    ]
    data = [file.relative_to(path) for file in files if not NO_DATA.match(file.name)]
    apart = [file for file in data if not NO_PASSAGES.isdisjoint(part.split(".")[0] for part in file.parts)]
    if 0 < len(apart) < len(data):
        raise DataError(
            f"{path} holds {apart[0]} beside {min(set(data) - set(apart))}, which are not of one kind; name "
            "one collection, or give each kind by a path of its own (--corpus, --queries, --qrels)"
        )
    found = [file for file in files if file.name.endswith(JSON_ENDINGS)]
    endings = ".json, .jsonl or .ndjson"
    if not found:
        raise PreconditionError(
            f"{path} holds no {endings} file; give a folder of such, or name a file of another form itself"
        )
    others = (file for file in files if not (file.name.endswith(JSON_ENDINGS) or NO_DATA.match(file.name)))
    if other := next(others, None):
        cure = f"give hf:{path}" if other.suffix == ".arrow" else "rename it, or move it away"
        raise DataError(
            f"{path} would be read without {other.relative_to(path)}, which is no {endings} file (also "
            f"compressed); {cure}"
        )
    return found


def corpus_line(record: Record) -> str:
    """Return the passage as one line with its end."""
    value = {"_id": record.id, "title": record.title, "text": record.text}
    return json.dumps(value, ensure_ascii=False) + "\n"


def query_line(query: Query) -> str:
    """Return the query as one line with its end; answers only where there are any."""
    value: dict[str, Any] = {"_id": query.id, "text": query.text}
    if query.answers:
        value["answers"] = list(query.answers)
    if query.answers_are_regex:
        value["answers_are_regex"] = True
    return json.dumps(value | dict(query.fields), ensure_ascii=False) + "\n"
