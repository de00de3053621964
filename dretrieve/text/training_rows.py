"""Training rows that carry their texts, as DPR, Tevatron, FlagEmbedding and sentence-transformers write them.

Each is JSON (lines, or an array), or a table: MS MARCO's triples of texts. Rows without an id are counted
from 0; passages without one are named by their content. Rows by ids stand in `dretrieve.text.examples`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError
from dretrieve.text.beir import Query
from dretrieve.text.fields import ANCHORS, POSITIVES, Fields, is_score, word_of
from dretrieve.text.files import read_lines
from dretrieve.text.json_files import check_encodable, parse_json, read_objects
from dretrieve.text.tables import answers_of, read_rows
from dretrieve.types import Record

DPR_IDS = ("passage_id", "psg_id", "id", "docid")
NEGATIVE_KEY = re.compile(r"(hard_)?neg(ative)?s?(_?\d+)?")
SCORE_KEYS = ("scores", "score", "labels", "label")
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
TRIPLES, ARRAYS = "triples-of-texts", "arrays-of-texts"
Scores = tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One query with the texts of its passages.

    Attributes:
        query: its id is the row's number where the form has none.
        positives: at least one is needed to train; readers yield rows without too, the caller counts them.
        positive_scores: a teacher's, one for each positive.
        negative_scores: likewise.
        others: passages of the row that are neither; they come along (DPR's dev files are pools of them).
    """

    query: Query
    positives: tuple[Record, ...]
    negatives: tuple[Record, ...]
    positive_scores: Scores = None
    negative_scores: Scores = None
    others: tuple[Record, ...] = ()


class _Looked(dict[str, Any]):
    """A record that keeps which of its keys nobody looked up."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        super().__init__(record)
        self.left = dict.fromkeys(record)

    def __getitem__(self, key: str) -> Any:
        self.left.pop(key, None)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default


def read_training(
    path: Path, form: str, left: dict[str, None] | None = None
) -> Iterator[tuple[int, TrainingRow]]:
    """Yield ``(line, row)``; ``left`` takes the keys that are not read.

    Raises:
        DataError: a key that the form needs is missing or holds something else; names the line.
    """
    objects = _arrays(path) if form == ARRAYS else read_objects(path, split=False)
    rows = map(_cells, read_rows(path, "training")) if form == TRIPLES else objects
    known = set[tuple[str, ...]]()  # as rows mostly have the keys of those before
    for number, (line, value) in enumerate(rows):
        if left is None or (keys := tuple(value)) in known:
            yield line, ROWS[form](Fields(path, line, value), str(number))
            continue
        looked = _Looked(value)
        yield line, ROWS[form](Fields(path, line, looked), str(number))
        known.add(keys)
        left.update(looked.left)


def content_id(title: str, text: str) -> str:
    """Return an id for a passage whose form gives none: equal content, equal id."""
    return "c" + hashlib.sha256(f"{title}\0{text}".encode()).hexdigest()[:16]


def _bare(texts: tuple[str, ...]) -> tuple[Record, ...]:
    return tuple(Record(content_id("", text), "", text) for text in texts)


def _answers(fields: Fields) -> tuple[str, ...]:
    return answers_of(fields, "answers") if "answers" in fields.record else ()


def _dpr(fields: Fields, number: str) -> TrainingRow:
    """All positives, the gold one first; DPR itself trains on the first only, which is the trainer's choice.

    As in its own loader (`create_biencoder_input2`) the negatives are ``hard_negative_ctxs``, and
    ``negative_ctxs`` only where there are none. The contexts' ``score`` and ``title_score`` are those of the
    search that found them, not a teacher's, and are not read.
    """
    fields.required("positive_ctxs")
    hard, easy = fields.objects("hard_negative_ctxs"), fields.objects("negative_ctxs")
    return TrainingRow(
        Query(number, fields.text("question"), _answers(fields)),
        tuple(map(_dpr_passage, fields.objects("positive_ctxs"))),
        tuple(map(_dpr_passage, hard or easy)),
        others=tuple(map(_dpr_passage, easy)) if hard else (),
    )


def _dpr_passage(fields: Fields) -> Record:
    title, text, key = fields.optional_text("title"), fields.text("text"), fields.first_of(DPR_IDS)
    has_id = key is not None and fields.record[key] not in (None, "")
    return Record(fields.id(key) if key and has_id else content_id(title, text), title, text)


def _tevatron(fields: Fields, number: str) -> TrainingRow:
    """Tevatron's classic form, whose passages may have a teacher's ``score`` each."""
    fields.required("positive_passages")
    sides = []
    for key in ("positive_passages", "negative_passages"):
        passages = fields.objects(key)
        scores = [item.record["score"] for item in passages if item.record.get("score") is not None]
        if scores and (len(scores) != len(passages) or not all(map(is_score, scores))):
            raise fields.refuse(
                f"'{key}': a 'score' must be a finite number, and all passages have one or none"
            )
        records = (Record(one.id("docid"), one.optional_text("title"), one.text("text")) for one in passages)
        sides.append((tuple(records), tuple(map(float, scores)) or None))
    (positives, positive_scores), (negatives, negative_scores) = sides
    query = Query(fields.id("query_id"), fields.text("query"), _answers(fields))
    return TrainingRow(query, positives, negatives, positive_scores, negative_scores)


def _flag_embedding(fields: Fields, number: str) -> TrainingRow:
    """FlagEmbedding's keys; ``prompt`` and ``type`` are not read: a prompt belongs into the model's card."""
    fields.required("pos")
    positives, negatives = fields.texts("pos"), fields.texts("neg")
    return TrainingRow(
        Query(number, fields.text("query")),
        _bare(positives),
        _bare(negatives),
        fields.numbers("pos_scores", len(positives)),
        fields.numbers("neg_scores", len(negatives)),
    )


def _triplet(fields: Fields, number: str) -> TrainingRow:
    """sentence-transformers' anchor, positive, negative, negative_1 …, or a list ``negatives``.

    The library goes by the order of columns; a JSON line has none to rely on, so here the names decide.
    """
    anchor, positive = fields.first_of(ANCHORS), fields.first_of(POSITIVES)
    if anchor is None or positive is None:
        raise fields.refuse(
            f"expected an anchor ({', '.join(ANCHORS)}) and a positive ({', '.join(POSITIVES)})"
        )
    query, positives = Query(number, fields.text(anchor)), _bare((fields.text(positive),))
    texts: list[str] = []
    for key in fields.record:
        if NEGATIVE_KEY.fullmatch(key):
            texts += fields.texts(key) if isinstance(fields.record[key], list) else [fields.text(key)]
        elif "neg" in key.lower():
            raise fields.refuse(
                f"'{key}' may hold negatives; call them negative, negative_1 …, or drop the key"
            )
    negatives = _bare(tuple(texts))
    scores = _triplet_scores(fields, len(negatives))
    return TrainingRow(query, positives, negatives, scores and scores[:1], scores and scores[1:])


def _triplet_scores(fields: Fields, negatives: int) -> Scores:
    """Return a teacher's scores of the positive and the negatives; None where the row has none.

    As the library takes them: one number for each passage, or its margins, positive minus negative (a lone
    number where there is one negative). A constant added to all of a row's scores changes neither loss, so
    margins stand as scores below a positive of 0.
    """
    key = fields.first_of(SCORE_KEYS)
    value = fields.record[key] if key else None
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    if not negatives:
        raise fields.refuse(
            f"'{key}' is a grade of a pair, which is not learned here; drop the key, or give negatives"
        )
    if len(values) not in (negatives, negatives + 1) or not all(map(is_score, values)):
        raise fields.refuse(
            f"'{key}' must hold a teacher's {negatives + 1} scores of the positive and the negatives, or "
            f"{negatives} margins of the positive over them"
        )
    if len(values) == negatives:
        return (0.0, *(-float(margin) for margin in values))
    return tuple(map(float, values))


def _cells(row: tuple[int, Mapping[str, str]]) -> tuple[int, dict[str, Any]]:
    """Return a row of a table: MS MARCO's query⇥positive⇥negative, or as its header says; blank is none."""
    cells = {word_of(name): cell for name, cell in row[1].items() if cell.strip()}
    scores = {key: float(cells[key]) for key in SCORE_KEYS if NUMBER.fullmatch(cells.get(key, ""))}
    return row[0], cells | scores


def _arrays(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of sentence-transformers' published training data: an array of texts a line."""
    for line, text in read_lines(path):
        if not text.strip():
            continue
        row = parse_json(text, path, line)
        if not isinstance(row, list) or len(row) < 2 or not all(isinstance(item, str) for item in row):
            raise DataError.at(path, line, 'expected ["query", "positive", "negative", …], all strings')
        check_encodable(row, path, line)
        negatives = {f"negative_{number}": item for number, item in enumerate(row[2:], 1)}
        yield line, {"anchor": row[0], "positive": row[1], **negatives}


ROWS = {
    "dpr-training": _dpr,
    "tevatron-training": _tevatron,
    "flag-embedding": _flag_embedding,
    "triplets": _triplet,
    TRIPLES: _triplet,
    ARRAYS: _triplet,
}
