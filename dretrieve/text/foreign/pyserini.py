"""Anserini's and Pyserini's ``JsonCollection``: a folder of JSONL files, JSON arrays or single objects."""

from __future__ import annotations

from pathlib import Path

from dretrieve.errors import PreconditionError
from dretrieve.text.beir import SUFFIXES

ENDINGS = tuple(form + suffix for form in (".jsonl", ".json") for suffix in SUFFIXES)


def collection_files(folder: Path) -> list[Path]:
    """Return the JSON files of the folder and its subfolders, sorted by path."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name.endswith(ENDINGS) and not path.name.startswith(".")
    ]
    if not found:
        raise PreconditionError(
            f"{folder} holds no .json or .jsonl file; a JsonCollection is a folder of such files"
        )
    return found
