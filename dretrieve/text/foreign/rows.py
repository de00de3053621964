"""Training rows that carry their texts: what the forms of Tevatron, DPR, FlagEmbedding and others become."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dretrieve.text.beir import Query
from dretrieve.types import Record


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One query with the texts of its passages.

    Attributes:
        query: its id is made from the row number where the form has none.
        positives: at least one is needed to train; readers yield rows without too, the caller counts them.
        negatives: those to train with.
        others: passages of the row that are neither; they come along (DPR's dev files are pools of them).
        positive_scores: a teacher's, one for each positive.
        negative_scores: likewise.
    """

    query: Query
    positives: tuple[Record, ...]
    negatives: tuple[Record, ...]
    positive_scores: tuple[float, ...] | None = None
    negative_scores: tuple[float, ...] | None = None
    others: tuple[Record, ...] = ()


def content_id(title: str, text: str) -> str:
    """Return an id for a passage whose form gives none: equal content, equal id."""
    return "c" + hashlib.sha256(f"{title}\0{text}".encode()).hexdigest()[:16]


def passage_without_id(title: str, text: str) -> Record:
    """Return the passage under its `content_id`."""
    return Record(content_id(title, text), title, text)


def row_id(row: int) -> str:
    """Return the query id of a row (from 0) for forms that give none, as DPR's and Pyserini's results do."""
    return str(row)
