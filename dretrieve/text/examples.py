"""Training examples by id, one JSON object a line: what ``mine-negatives`` writes and ``train`` reads.

The keys are those of Tevatron's id-based form: ``query_id``, ``query_text``, ``positive_document_ids``,
``negative_document_ids``; ours adds optional ``positive_scores`` and ``negative_scores``, one for each id.
Both together are a teacher's, which `train --distil-weight` learns from. ``negative_scores`` alone are those
of the run that the negatives were mined from: a record, which training does not read. Texts are never
repeated here: they stand in the collection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError
from dretrieve.text.fields import Fields, is_score, json_type
from dretrieve.text.files import read_lines
from dretrieve.text.json_files import parse_json, read_json_lines

EXAMPLES = "examples.jsonl"  # of a collection
KEYS = (
    "query_id",
    "query_text",
    "positive_document_ids",
    "negative_document_ids",
    "positive_scores",
    "negative_scores",
)


@dataclass(frozen=True, slots=True)
class Example:
    """One query with passages to be near and far.

    Attributes:
        positive_scores: a teacher's, one for each positive; None without a teacher.
        negative_scores: one for each negative, a teacher's or (without ``positive_scores``) the run's.
        close: what a run found for the query, best first (training sets it); None where judgements teach.
        fields: every other key of its line, for methods that ask for one (labels, answers …).
        line: where it stands in its file; 0 where it was not read from one.
    """

    query_id: str
    query_text: str
    positive_document_ids: tuple[str, ...]
    negative_document_ids: tuple[str, ...] = ()
    positive_scores: tuple[float, ...] | None = None
    negative_scores: tuple[float, ...] | None = None
    close: tuple[str, ...] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False)
    line: int = field(default=0, compare=False)

    @property
    def taught(self) -> bool:
        """Whether a teacher scored all its passages."""
        return self.positive_scores is not None and (
            self.negative_scores is not None or not self.negative_document_ids
        )


def read_examples(path: Path) -> Iterator[Example]:
    """Yield the examples in file order.

    Raises:
        DataError: a missing key, an id that is no string, a passage that is positive and negative at
            once, as many scores as not ids; names the line.
    """
    for line, value in read_json_lines(path):
        fields = Fields(path, line, value)
        positives = fields.ids("positive_document_ids")
        negatives = fields.ids("negative_document_ids") if "negative_document_ids" in value else ()
        both = set(positives) & set(negatives)
        if both:
            raise fields.refuse(f"'{min(both)}' is a positive and a negative of the same query; drop one")
        yield Example(
            fields.id("query_id"),
            fields.text("query_text"),
            positives,
            negatives,
            fields.numbers("positive_scores", len(positives)),
            fields.numbers("negative_scores", len(negatives)),
            fields={name: of for name, of in value.items() if name not in KEYS},
            line=line,
        )


def example_line(example: Example) -> str:
    """Return the example as one line with its end; scores only where there are any."""
    value = {name: of for name in KEYS if (of := getattr(example, name)) is not None}
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def read_triples(path: Path) -> Iterator[Example]:
    """Yield ColBERT's ``[qid, pid+, pid-, …]`` or ``[qid, [pid, score], …]`` as examples without query text.

    MS MARCO's ``qid⇥pid+⇥pid-`` too. The first passage is the positive one; scores (a teacher's) are there in
    the second spelling only.

    Raises:
        DataError: a line of another shape; names it.
    """
    for line, text in read_lines(path):
        if not text.strip():
            continue
        value = text.split() if text.lstrip()[0] not in "[{" else parse_json(text, path, line)
        if not isinstance(value, list) or len(value) < 2:
            raise DataError.at(path, line, f"expected [qid, pid+, pid-, …], found {json_type(value)}")
        scored = isinstance(value[1], list)
        pairs = value[1:] if scored else [[item, 0.0] for item in value[1:]]
        if not all(isinstance(pair, list) and len(pair) == 2 and is_score(pair[1]) for pair in pairs):
            raise DataError.at(path, line, "expected every passage as [pid, score], as the first one is")
        fields = Fields(path, line, {})
        (positive, score), *others = ((fields.as_id(pair[0], "pid"), float(pair[1])) for pair in pairs)
        negatives = {name: other for name, other in others if name != positive}
        yield Example(
            fields.as_id(value[0], "qid"),
            "",
            (positive,),
            tuple(negatives),
            (score,) if scored else None,
            tuple(negatives.values()) if scored else None,
            line=line,
        )
