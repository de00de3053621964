"""A set of queries in memory: texts with random access, answers, and whatever else their lines say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dretrieve.store.text_store import records_sha256
from dretrieve.text.beir import Query
from dretrieve.types import Record


class QuerySet:
    """Queries in file order; implements `dretrieve.types.Texts`."""

    def __init__(self, queries: Iterable[Query], source: Path, split: str | None = None) -> None:
        self.queries = list(queries)
        self.source, self.split = source, split
        self._rows = {query.id: row for row, query in enumerate(self.queries)}
        self._sha256: str | None = None

    @property
    def sha256(self) -> str:
        """Hash over the canonical records (id, "", text)."""
        if self._sha256 is None:
            self._sha256 = records_sha256(self.records(0, len(self)))
        return self._sha256

    @property
    def answers(self) -> list[tuple[str, ...]]:
        """The answers of each query, () where it has none."""
        return [query.answers for query in self.queries]

    @property
    def answers_are_regex(self) -> list[bool]:
        """Whether each query's answers are regular expressions."""
        return [query.answers_are_regex for query in self.queries]

    @property
    def fields(self) -> list[Mapping[str, Any]]:
        """Every other key of each query's line (``split``, ``relation`` …)."""
        return [query.fields for query in self.queries]

    @property
    def num_empty(self) -> int:
        """How many queries have no text."""
        return sum(not query.text.strip() for query in self.queries)

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, row: int) -> Query:
        return self.queries[row]

    def ids(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Return the ids of rows ``start`` to ``stop`` (exclusive)."""
        return [query.id for query in self.queries[start:stop]]

    def records(self, start: int, stop: int) -> list[Record]:
        """Return the records of rows ``start`` to ``stop`` (exclusive), with empty titles."""
        return [Record(query.id, "", query.text) for query in self.queries[start:stop]]

    def row_of(self, query_id: str) -> int | None:
        """Return the row of that id, or None."""
        return self._rows.get(query_id)
