"""Writing a collection (BEIR folder) from readers of any form: passages, queries, judgements, examples.

Every file appears whole when the writer closes, and none of them when it fails.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

from dretrieve.errors import DataError
from dretrieve.store.stage import Stage
from dretrieve.text.beir import QRELS_HEADER, Query, corpus_line, query_line
from dretrieve.text.examples import EXAMPLES, Example, example_line
from dretrieve.text.training_rows import TrainingRow
from dretrieve.types import Qrels, Record


class CollectionWriter(ExitStack):
    """Opens the files of a folder stage as they are first needed; a context manager.

    Attributes:
        counts: what was written and what was merged or left out, by name.
        notes: one line for each thing a user should know.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self._files: dict[str, IO[str]] = {}
        self._passages: dict[str, int] = {}
        self._queries: dict[str, str] = {}
        self._judged: dict[tuple[str, str, str], int] = {}

    def passage(self, record: Record) -> None:
        """Write a passage; the caller sees to it that ids are unique."""
        self._file("corpus.jsonl").write(corpus_line(record))
        self.counts["passages"] += 1
        self.counts["empty_passages"] += not (record.title.strip() or record.text.strip())

    def passage_once(self, record: Record) -> None:
        """Write a passage unless its id was written; a second text of an id is counted, the first stays."""
        known = self._passages.get(record.id)
        content = hash((record.title, record.text))
        if known is None:
            self._passages[record.id] = content
            self.passage(record)
        elif known != content:
            if not self.counts["passages_of_two_texts"]:
                self.notes.append(
                    f"the id {record.id!r} has two texts; the first is kept (see passages_of_two_texts)"
                )
            self.counts["passages_of_two_texts"] += 1

    def query(self, query: Query) -> None:
        """Write a query; the same id with the same text again is skipped.

        Raises:
            DataError: the id was written with another text.
        """
        before = self._queries.get(query.id)
        if before is None:
            self._queries[query.id] = query.text
            self._file("queries.jsonl").write(query_line(query))
            self.counts["queries"] += 1
            self.counts["empty_queries"] += not query.text.strip()
        elif before != query.text:
            raise DataError(
                f"the query id {query.id!r} has two texts ({before[:40]!r}, {query.text[:40]!r}); rename one"
            )

    def judge(self, split: str, query_id: str, passage_id: str, grade: int = 1) -> None:
        """Write a judgement; the same one again is skipped.

        Raises:
            DataError: the passage was judged for that query with another grade.
        """
        key = (split, query_id, passage_id)
        before = self._judged.get(key)
        if before is not None:
            if before != grade:
                raise DataError(
                    f"passage {passage_id!r} is judged {before} and {grade} for query {query_id!r} ({split})"
                )
            return
        self._judged[key] = grade
        name = f"qrels/{split}.tsv"
        if name not in self._files:
            self._file(name).write(QRELS_HEADER + "\n")
        self._file(name).write(f"{query_id}\t{passage_id}\t{grade}\n")
        self.counts["judgements"] += 1

    def qrels(self, split: str, qrels: Qrels) -> None:
        """Write all judgements of a split."""
        for query_id, passage_id, grade in qrels.rows():
            self.judge(split, query_id, passage_id, grade)

    def example(self, example: Example) -> None:
        """Write a training example by id."""
        self._file(EXAMPLES).write(example_line(example))
        self.counts["examples"] += 1

    def training(self, row: TrainingRow, split: str) -> None:
        """Write a row that carries texts: passages once each, query, judgements of ``split``, an example.

        A row without a positive gives a query and passages but no example; a negative that is a positive of
        the same row is dropped. Both are counted.
        """
        query = replace(row.query, fields={"split": split})
        self.query(query)
        for record in (*row.positives, *row.negatives, *row.others):
            self.passage_once(record)
        if not row.positives:
            self.counts["rows_without_positive"] += 1
            return
        positives = _scored(row.positives, row.positive_scores)
        negatives = _scored(row.negatives, row.negative_scores)
        self.counts["negatives_that_are_positives"] += len(negatives.keys() & positives.keys())
        negatives = {name: score for name, score in negatives.items() if name not in positives}
        for passage_id in positives:
            self.judge(split, query.id, passage_id)
        self.example(
            Example(
                query.id,
                query.text,
                tuple(positives),
                tuple(negatives),
                tuple(positives.values()) if row.positive_scores else None,
                tuple(negatives.values()) if row.negative_scores else None,
            )
        )

    def query_text(self, query_id: str) -> str | None:
        """Return the text of a query written before."""
        return self._queries.get(query_id)

    @property
    def splits(self) -> list[str]:
        """The splits with judgements."""
        names = (Path(name) for name in self._files)
        return sorted(name.stem for name in names if name.parent.name == "qrels")

    def _file(self, name: str) -> IO[str]:
        if name not in self._files:
            self._files[name] = self.enter_context(self.stage.write(name, text=True))
        return self._files[name]


def _scored(records: tuple[Record, ...], scores: tuple[float, ...] | None) -> dict[str, float]:
    """Return id to score, each id once; 0 where there are no scores."""
    return {record.id: score for record, score in zip(records, scores or [0.0] * len(records), strict=True)}
