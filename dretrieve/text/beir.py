"""BEIR folders: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``, plain or compressed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dretrieve.errors import DataError
from dretrieve.types import Record

SUFFIXES = ("", ".gz", ".zst", ".bz2", ".xz")
QRELS_HEADER = "query-id\tcorpus-id\tscore"


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


def find_file(folder: Path, stem: str) -> Path | None:
    """Return ``folder/stem`` or the compressed form that stands there; two forms at once are refused."""
    found = [path for suffix in SUFFIXES if (path := folder / (stem + suffix)).is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} holds {' and '.join(path.name for path in found)}; keep one of them")
    return found[0] if found else None


def split_files(folder: Path) -> dict[str, Path]:
    """Return split name to qrels file, sorted by name."""
    found: dict[str, Path] = {}
    qrels = folder / "qrels"
    for path in sorted(qrels.iterdir()) if qrels.is_dir() else ():
        for suffix in SUFFIXES:
            if path.name.endswith(".tsv" + suffix) and path.is_file():
                name = path.name.removesuffix(suffix).removesuffix(".tsv")
                if name in found:
                    raise DataError(f"{qrels} holds {found[name].name} and {path.name}; keep one of them")
                found[name] = path
                break
    return dict(sorted(found.items()))


def corpus_line(record: Record) -> str:
    """Return the passage as one line with its end."""
    return _json({"_id": record.id, "title": record.title, "text": record.text}) + "\n"


def query_line(query: Query) -> str:
    """Return the query as one line with its end; answers only where there are any."""
    value: dict[str, Any] = {"_id": query.id, "text": query.text}
    if query.answers:
        value["answers"] = list(query.answers)
    if query.answers_are_regex:
        value["answers_are_regex"] = True
    return _json(value | dict(query.fields)) + "\n"


def write_qrels(file: IO[str], rows: Iterator[tuple[str, str, int]]) -> int:
    """Write header and ``query-id⇥corpus-id⇥score`` lines; return how many judgements."""
    file.write(QRELS_HEADER + "\n")
    count = 0
    for query_id, passage_id, grade in rows:
        file.write(f"{query_id}\t{passage_id}\t{grade}\n")
        count += 1
    return count


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
