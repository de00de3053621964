"""Rows of bare texts (FlagEmbedding, sentence-transformers) and of bare ids (ColBERT triples)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dretrieve.errors import DataError
from dretrieve.text.beir import Query
from dretrieve.text.fields import Fields
from dretrieve.text.files import json_type, parse_json, read_json_lines, read_lines
from dretrieve.text.foreign.rows import TrainingRow, passage_without_id, row_id

ANCHOR_KEYS = ("anchor", "query", "question", "sentence1")
POSITIVE_KEYS = ("positive", "pos", "answer", "sentence2")
NEGATIVE_KEY = re.compile(r"negative(_\d+)?$")


def read_flag_embedding(path: Path) -> Iterator[tuple[int, TrainingRow]]:
    """Yield ``(line, row)`` of FlagEmbedding's keys ``query, pos, neg[, pos_scores, neg_scores]``.

    ``prompt`` and ``type`` are not read: a prompt belongs into the model's card.
    """
    for row, (line, value) in enumerate(read_json_lines(path)):
        fields = Fields(path, line, value)
        fields.required("pos")
        positives, negatives = fields.texts("pos"), fields.texts("neg")
        yield (
            line,
            TrainingRow(
                Query(row_id(row), fields.text("query")),
                tuple(passage_without_id("", text) for text in positives),
                tuple(passage_without_id("", text) for text in negatives),
                fields.numbers("pos_scores", len(positives)),
                fields.numbers("neg_scores", len(negatives)),
            ),
        )


def read_triplets(path: Path) -> Iterator[tuple[int, TrainingRow]]:
    """Yield ``(line, row)`` of sentence-transformers' triplets: anchor, positive, negative, negative_1 ….

    The library goes by the order of columns; a JSON line has none to rely on, so here the names decide.
    """
    for row, (line, value) in enumerate(read_json_lines(path)):
        fields = Fields(path, line, value)
        anchor, positive = fields.first_of(ANCHOR_KEYS), fields.first_of(POSITIVE_KEYS)
        if anchor is None or positive is None:
            raise fields.refuse(
                f"expected an anchor ({', '.join(ANCHOR_KEYS)}) and a positive ({', '.join(POSITIVE_KEYS)})"
            )
        negatives = [fields.text(key) for key in value if NEGATIVE_KEY.fullmatch(key)]
        yield (
            line,
            TrainingRow(
                Query(row_id(row), fields.text(anchor)),
                (passage_without_id("", fields.text(positive)),),
                tuple(passage_without_id("", text) for text in negatives),
            ),
        )


def read_colbert_triples(
    path: Path,
) -> Iterator[tuple[int, tuple[str, tuple[str, ...], tuple[float, ...] | None]]]:
    """Yield ``(line, (query id, ids, scores))`` of ``[qid, pid+, pid-, …]`` or ``[qid, [pid, score], …]``.

    The first passage is the positive one; scores (a teacher's) are there in the second spelling only.
    """
    for line, text in read_lines(path):
        if not text.strip():
            continue
        value = parse_json(text, path, line)
        if not isinstance(value, list) or len(value) < 2:
            raise DataError.at(path, line, f"expected [qid, pid+, pid-, …], found {json_type(value)}")
        fields = Fields(path, line, {})
        scored = isinstance(value[1], list)
        pairs = value[1:] if scored else [[item, 0.0] for item in value[1:]]
        if not all(
            isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], int | float) for pair in pairs
        ):
            raise DataError.at(path, line, "expected every passage as [pid, score], as the first one is")
        ids = tuple(fields.as_id(pair[0], "pid") for pair in pairs)
        scores = tuple(float(pair[1]) for pair in pairs) if scored else None
        yield line, (fields.as_id(value[0], "qid"), ids, scores)
