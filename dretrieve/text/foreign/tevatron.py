"""Tevatron's classic training form, with texts inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dretrieve.text.beir import Query
from dretrieve.text.fields import Fields, is_score
from dretrieve.text.files import read_json_lines
from dretrieve.text.foreign.rows import TrainingRow
from dretrieve.types import Record


def read_training(path: Path) -> Iterator[tuple[int, TrainingRow]]:
    """Yield ``(line, row)`` of ``query_id, query, positive_passages, negative_passages`` (classic form)."""
    for line, value in read_json_lines(path):
        fields = Fields(path, line, value)
        fields.required("positive_passages")
        query = Query(fields.id("query_id"), fields.text("query"), fields.texts("answers"))
        sides = []
        for key in ("positive_passages", "negative_passages"):
            passages = fields.objects(key)
            records = tuple(
                Record(item.id("docid"), item.optional_text("title"), item.text("text")) for item in passages
            )
            scores = [item.record["score"] for item in passages if item.record.get("score") is not None]
            if scores and (len(scores) != len(passages) or not all(map(is_score, scores))):
                raise fields.refuse(
                    f"'{key}': a 'score' must be a finite number, and all passages have one or none"
                )
            sides.append((records, tuple(map(float, scores)) if scores else None))
        yield line, TrainingRow(query, sides[0][0], sides[1][0], sides[0][1], sides[1][1])
