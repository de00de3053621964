"""DPR's retriever training file: a JSON array (or, as Contriever reads it, JSONL) of questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError
from dretrieve.text.beir import Query
from dretrieve.text.fields import Fields
from dretrieve.text.files import read_json_lines, read_lines
from dretrieve.text.foreign.rows import TrainingRow, passage_without_id, row_id
from dretrieve.text.json_array import read_json_array
from dretrieve.types import Record

PASSAGE_ID_KEYS = ("passage_id", "psg_id", "id", "docid")


def read_training(path: Path) -> Iterator[tuple[int, TrainingRow]]:
    """Yield ``(line, row)``: all positives, the gold one first.

    As in DPR's own loader (`create_biencoder_input2`) the negatives are ``hard_negative_ctxs``, and
    ``negative_ctxs`` only where there are none. Contexts without an id get one from their content. DPR itself
    trains on the first positive only; keep that choice for the trainer. The contexts' ``score`` and
    ``title_score`` are those of the search that found them, not a teacher's, and are not read.
    """
    for row, (line, value) in enumerate(_elements(path)):
        if not isinstance(value, dict):
            raise DataError.at(path, line, "expected an array of objects with 'question' and 'positive_ctxs'")
        fields = Fields(path, line, value)
        fields.required("positive_ctxs")
        hard, easy = fields.objects("hard_negative_ctxs"), fields.objects("negative_ctxs")
        yield (
            line,
            TrainingRow(
                Query(row_id(row), fields.text("question"), fields.texts("answers")),
                tuple(_passage(item) for item in fields.objects("positive_ctxs")),
                tuple(_passage(item) for item in (hard or easy)),
                others=tuple(_passage(item) for item in easy) if hard else (),
            ),
        )


def _passage(fields: Fields) -> Record:
    title, text = fields.optional_text("title"), fields.text("text")
    key = fields.first_of(PASSAGE_ID_KEYS)
    if key is None or fields.record[key] in (None, ""):
        return passage_without_id(title, text)
    return Record(fields.id(key), title, text)


def _elements(path: Path) -> Iterator[tuple[int, Any]]:
    first = next((line for _, line in read_lines(path) if line.strip()), "").lstrip()
    return read_json_array(path) if first.startswith("[") else read_json_lines(path)
