"""From columns as a file has them to a `Run`: grouped by query, sorted by the one rule, nothing twice.

Three columns may hold ranks instead of scores; `holds_ranks` tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.order import id_ranks
from dretrieve.runs.lines import Sniffed, numbered_lines, parse_line, read_blocks
from dretrieve.store.ids import IdTable
from dretrieve.text.beir import QRELS_HEADER
from dretrieve.types import Run, offsets_of


class HashedIds(IdTable):
    """Ids with their hashes, so that looking for some among millions reads no id twice.

    Args:
        data: [bytes] uint8, each id followed by a newline.
        ends: [P] int64, where the newlines stand.
        hashes: [P] uint64 of `dretrieve.kernels.interning.hash_bytes`.
    """

    def __init__(self, data: NDArray[np.uint8], ends: NDArray[np.int64], hashes: NDArray[np.uint64]) -> None:
        self._data, self._ends = data, ends
        self.hashes = hashes


@dataclass(frozen=True, slots=True, kw_only=True)
class HitColumns:
    """Hits as they stand in a file.

    Attributes:
        query_ids: in order of first appearance.
        passage_ids: likewise.
        queries: [H] int32 rows of ``query_ids``.
        passages: [H] int32 rows of ``passage_ids``.
        scores: [H] float64, finite.
    """

    query_ids: Sequence[str]
    passage_ids: Sequence[str]
    queries: NDArray[np.int32]
    passages: NDArray[np.int32]
    scores: NDArray[np.float64]
    tag: str = "dretrieve"

    @classmethod
    def of(
        cls,
        query_ids: Sequence[str],
        passage_ids: Sequence[str],
        rows: Sequence[tuple[int, int, float]],
        tag: str = "dretrieve",
    ) -> HitColumns:
        """Return the columns of ``rows``: query, passage, score."""
        queries, passages, scores = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(
            query_ids=query_ids,
            passage_ids=passage_ids,
            queries=np.asarray(queries, dtype=np.int32),
            passages=np.asarray(passages, dtype=np.int32),
            scores=np.asarray(scores, dtype=np.float64),
            tag=tag,
        )

    def offsets(self) -> NDArray[np.int64]:
        """Return where each query's hits begin once the rows are grouped: [Q + 1]."""
        return offsets_of(np.bincount(self.queries, minlength=len(self.query_ids)))

    def names(self, hit: int) -> tuple[str, str]:
        """Return query id and passage id of a hit."""
        return self.query_ids[int(self.queries[hit])], self.passage_ids[int(self.passages[hit])]


def build_run(
    hits: HitColumns, *, ranks: bool = False, repeated: Callable[[int], DataError] | None = None
) -> Run:
    """Return the run: grouped by query, sorted; plain numpy, the twin of the compiled path of large files.

    With ``ranks`` the scores are ranks (then `score_of_ranks` gives the scores); ``repeated`` makes the error
    for a hit whose passage came before for its query, where a file may hold one.

    Raises:
        DataError: a passage stands twice for a query.
    """
    scores = score_of_ranks(hits.scores) if ranks else hits.scores
    by_id = id_ranks(hits.passage_ids)[hits.passages]
    order = np.lexsort((-by_id, -scores, hits.queries))
    _refuse_repeated(hits, repeated)
    return Run(
        query_ids=hits.query_ids,
        passage_ids=hits.passage_ids,
        offsets=hits.offsets(),
        passages=hits.passages[order],
        scores=scores[order],
        tag=hits.tag,
        by_rank=ranks,
    )


def _refuse_repeated(hits: HitColumns, repeated: Callable[[int], DataError] | None) -> None:
    keys = hits.queries.astype(np.int64) * max(len(hits.passage_ids), 1) + hits.passages
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(twice):
        assert repeated is not None
        raise repeated(int(order[twice + 1].min()))


def used_ids(run: Run) -> tuple[list[str], NDArray[np.int32]]:
    """Return the ids that a run hits, and its passages as rows of them."""
    used = np.zeros(len(run.passage_ids), dtype=np.bool_)
    used[run.passages] = True
    if used.all():
        return list(run.passage_ids), run.passages
    rows = (np.cumsum(used) - 1).astype(np.int32)
    return [run.passage_ids[row] for row in np.flatnonzero(used).tolist()], rows[run.passages]


def one_table(first: Run, second: Run) -> tuple[Sequence[str], tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Return the ids that either run hits, each once, and each run's passages as rows of them."""
    if first.passage_ids is second.passage_ids and isinstance(first.passage_ids, IdTable):
        return first.passage_ids, (first.passages, second.passages)
    (ids, passages), (others, other_passages) = used_ids(first), used_ids(second)
    place_of = {text_id: row for row, text_id in enumerate(ids)}
    places = [place_of.setdefault(text_id, len(place_of)) for text_id in others]
    return list(place_of), (passages, np.asarray(places, dtype=np.int32)[other_passages])


@dataclass(frozen=True, slots=True)
class Column:
    """The third of three columns, by query, the lines of each in the order of the file.

    Attributes:
        offsets: [Q + 1] where each query's begin.
        scores: [H] the numbers.
        fractions: how many are not written as whole numbers.
    """

    offsets: NDArray[np.int64]
    scores: NDArray[np.float64]
    fractions: int

    def no_rank(self) -> int | None:
        """Return the first that can be no rank: below 0 or no whole number; None if all can."""
        return _first((self.scores < 0) | (self.scores != np.floor(self.scores)))

    def not_next_rank(self) -> int | None:
        """Return the first that is not its query's next rank, counted from 1; None if all are."""
        starts = np.repeat(self.offsets[:-1], np.diff(self.offsets))
        return _first(self.scores != np.arange(1, len(self.scores) + 1) - starts)

    def place(self, hit: int) -> tuple[int, int]:
        """Return the query of a number and how many of the query's stand before it."""
        query = int(np.searchsorted(self.offsets, hit, side="right")) - 1
        return query, hit - int(self.offsets[query])


def _first(found: NDArray[np.bool_]) -> int | None:
    return int(np.argmax(found)) if found.any() else None


def score_of_ranks(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores that order as the ranks do: 1 / rank, or 1 / (rank + 1) where they count from 0."""
    reciprocals: NDArray[np.float64] = 1.0 / (ranks + (1.0 if len(ranks) and ranks.min() < 1 else 0.0))
    return reciprocals


def holds_ranks(path: Path, seen: Sniffed, column: Column, query_ids: Sequence[bytes]) -> bool:
    """Return whether the scores of a file are ranks.

    Raises:
        DataError: ranks were asked for and there are other numbers; or three columns may be either, or
            judgements.
    """
    if seen.judged and not column.fractions:
        raise DataError.at(
            path,
            None,
            f"the header {' '.join(QRELS_HEADER.split())} above whole numbers alone is that of judgements; "
            "give them as --qrels, or say --run-format tevatron if these are scores",
        )
    if seen.ranks is False:
        return False
    odd = column.no_rank() if seen.ranks else column.not_next_rank()
    if odd is None and (seen.ranks or not column.fractions):
        return True
    if not seen.ranks and column.fractions and (odd is not None or len(column.scores) == len(query_ids)):
        return False
    line = None if odd is None else _line_of(path, seen, column, query_ids, odd)
    if seen.ranks:
        assert odd is not None
        message = f"the third column of an MS MARCO run is a rank (1, 2, 3 …), found {column.scores[odd]:.9g}"
        raise DataError.at(path, line, message)
    speaks = "they rise by one from 1 in every query, as ranks do, but have a decimal point"
    if odd is not None:
        speaks = (
            f"all are whole numbers, as ranks are, but here is {column.scores[odd]:.9g} where the query's "
            f"rank {column.place(odd)[1] + 1} was due"
        )
    raise DataError.at(
        path,
        line,
        f"the third of three columns may hold ranks or scores: {speaks}; say which: --run-format msmarco "
        "(ranks, the lowest is best) or --run-format tevatron (scores, the highest is best)",
    )


def _line_of(path: Path, seen: Sniffed, column: Column, query_ids: Sequence[bytes], hit: int) -> int:
    """Return the line of a number of the column; reads the file once more."""
    assert seen.form is not None
    query, left = column.place(hit)
    for number, line in numbered_lines(read_blocks(path)):
        parsed = parse_line(line, seen.form, path, number)
        if parsed is not None and parsed[0] == query_ids[query]:
            if left == 0:
                return number
            left -= 1
    raise AssertionError(f"{path} changed while it was read")
