"""Rows of bare texts (FlagEmbedding, sentence-transformers) and of bare ids (ColBERT triples)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dretrieve.errors import DataError
from dretrieve.text.beir import Query
from dretrieve.text.fields import Fields, is_score
from dretrieve.text.files import json_type, parse_json, read_json_lines, read_lines
from dretrieve.text.foreign.rows import TrainingRow, passage_without_id, row_id

ANCHOR_KEYS = ("anchor", "query", "question", "sentence1")
POSITIVE_KEYS = ("positive", "pos", "answer", "sentence2")
NEGATIVE_KEY = re.compile(r"negative(_?\d+)?$")
SCORE_KEYS = ("scores", "score", "labels", "label")


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
        scores = _scores(fields, len(negatives))
        yield (
            line,
            TrainingRow(
                Query(row_id(row), fields.text(anchor)),
                (passage_without_id("", fields.text(positive)),),
                tuple(passage_without_id("", text) for text in negatives),
                scores and scores[:1],
                scores and scores[1:],
            ),
        )


def _scores(fields: Fields, negatives: int) -> tuple[float, ...] | None:
    """Return a teacher's scores of the positive and the negatives; None where the row has none.

    As the library takes them: one number for each passage, or its margins, positive minus negative (a lone
    number where there is one negative). A constant added to all of a row's scores changes neither loss, so
    margins stand as scores below a positive of 0.

    Raises:
        DataError: another number of them; names the line.
    """
    key = fields.first_of(SCORE_KEYS)
    if key is None or fields.record[key] is None:
        return None
    value = fields.record[key]
    values = value if isinstance(value, list) else [value]
    if not negatives or len(values) not in (negatives, negatives + 1) or not all(map(is_score, values)):
        raise fields.refuse(
            f"'{key}' must hold a teacher's {negatives + 1} scores of the positive and the negatives, or "
            f"{negatives} margins of the positive over them"
            if negatives
            else f"'{key}' is a grade of a pair, which is not learned here; drop the key, or give negatives"
        )
    if len(values) == negatives:
        return (0.0, *(-float(margin) for margin in values))
    return tuple(map(float, values))


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
        if not all(isinstance(pair, list) and len(pair) == 2 and is_score(pair[1]) for pair in pairs):
            raise DataError.at(path, line, "expected every passage as [pid, score], as the first one is")
        ids = tuple(fields.as_id(pair[0], "pid") for pair in pairs)
        scores = tuple(float(pair[1]) for pair in pairs) if scored else None
        yield line, (fields.as_id(value[0], "qid"), ids, scores)
