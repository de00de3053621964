"""Anserini's and Pyserini's ``JsonCollection``: a folder of JSONL files, JSON arrays or single objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, PreconditionError
from dretrieve.text.beir import SUFFIXES
from dretrieve.text.fields import Fields
from dretrieve.text.files import parse_object, read_json_lines, read_lines
from dretrieve.text.json_array import read_json_array
from dretrieve.types import Record

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


def split_contents(contents: str) -> tuple[str, str]:
    """Return title and text: ``contents`` parted at its first newline; without one it is all text.

    Later newlines belong to the text (several of Pyserini's scripts fail on them).
    """
    title, newline, text = contents.partition("\n")
    return (title, text) if newline else ("", contents)


def read_corpus(path: Path) -> Iterator[tuple[Path, int, Record]]:
    """Yield ``(file, line, passage)`` of a folder or of one of its files."""
    for file in collection_files(path) if path.is_dir() else [path]:
        for line, value in _objects(file):
            fields = Fields(file, line, value)
            title, text = split_contents(fields.text("contents"))
            yield file, line, Record(fields.id("id"), title, text)


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    first = next((line for _, line in read_lines(file) if line.strip()), "").lstrip()
    if first.startswith("["):
        for number, value in read_json_array(file):
            if not isinstance(value, dict):
                raise DataError.at(file, number, "expected an array of objects with 'id' and 'contents'")
            yield number, value
    elif first.startswith("{") and not first.rstrip().endswith("}"):
        yield 1, parse_object("\n".join(line for _, line in read_lines(file)), file, 1)
    else:
        yield from read_json_lines(file)
