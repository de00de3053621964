"""Where some passages stand in a run: all that measuring needs of millions of hits.

`locate_file` reads a large file for that alone: a query whose hits stand together within a block, as nearly
all do, is dropped as soon as its located hits are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dretrieve.runs.build import HashedIds
from dretrieve.runs.lines import Sniffed, sniff
from dretrieve.runs.read import read_run
from dretrieve.store.ids import IdTable
from dretrieve.types import Run

if TYPE_CHECKING:
    from dretrieve.kernels.interning import Interned
    from dretrieve.runs.scan import Gathered, Scanner

CHUNK = 1 << 18  # hits looked at together, to stay in the processor's cache
MANY = 1 << 20  # hits; below it, importing numba would take longer than the search


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """The hits of a run whose passages are among some ids.

    Attributes:
        ids: those looked for, distinct.
        query_ids: [Q] of the run.
        lengths: [Q] int64, hits of each query, located or not.
        query: [L] int64, the query of each located hit; ordered by query, then rank.
        rank: [L] int64, from 1.
        place: [L] int32, where its id stands in ``ids``.
    """

    ids: Sequence[str]
    query_ids: Sequence[str]
    lengths: NDArray[np.int64]
    query: NDArray[np.int64]
    rank: NDArray[np.int64]
    place: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.query_ids)

    def only(self, kept: NDArray[np.bool_]) -> Located:
        """Return the located hits where ``kept`` ([L]) is true; ranks and lengths stay."""
        return replace(self, query=self.query[kept], rank=self.rank[kept], place=self.place[kept])


def locate(run: Run, ids: Sequence[str]) -> Located:
    """Return the hits of ``run`` whose passages are among ``ids`` (distinct)."""
    places = places_of(run, ids)
    hits, found = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for start in range(0, len(run.passages), CHUNK):
        some = places[run.passages[start : start + CHUNK]]
        here = np.flatnonzero(some >= 0)
        hits.append(here + start)
        found.append(some[here])
    hit = np.concatenate(hits)
    query: NDArray[np.int64] = np.searchsorted(run.offsets, hit, side="right") - 1
    return Located(
        ids=ids,
        query_ids=run.query_ids,
        lengths=np.diff(run.offsets),
        query=query,
        rank=hit - run.offsets[query] + 1,
        place=np.concatenate(found),
    )


def rows_of(run: Run, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of each id in ``run.passage_ids``, -1 where no hit has it: [len(ids)].

    For runs whose passages have one row each.
    """
    unique = {text_id: place for place, text_id in enumerate(dict.fromkeys(ids))}
    places = places_of(run, list(unique))
    rows = np.full(len(unique), -1, dtype=np.int64)
    held = np.flatnonzero(places >= 0)
    rows[places[held]] = held
    return rows[[unique[text_id] for text_id in ids]] if len(ids) else rows


def places_of(run: Run, ids: Sequence[str]) -> NDArray[np.int32]:
    """Return for each row of ``run.passage_ids`` where its id stands in ``ids``, -1 if it does not: [P].

    Args:
        run: rows that no hit names may be -1 whatever their id.
        ids: distinct.
    """
    table = run.passage_ids
    if isinstance(table, HashedIds) or (isinstance(table, IdTable) and len(run.passages) > MANY):
        from dretrieve.kernels.interning import find_all, hash_all
        from dretrieve.runs.scan import interned_ids

        hashes = table.hashes if isinstance(table, HashedIds) else hash_all(table.data, table.ends)
        places = np.empty(len(table), dtype=np.int32)
        find_all(interned_ids(ids), table.data, table.ends, hashes, places)
        return places
    wanted = {text_id: place for place, text_id in enumerate(ids)}
    places = np.full(max(len(table), 1), -1, dtype=np.int32)
    for row in np.unique(run.passages).tolist():
        places[row] = wanted.get(table[row], -1)
    return places


def locate_file(path: Path, ids: Sequence[str], form: str = "auto") -> Located:
    """Return what `locate` returns for the run at ``path``; errors as `dretrieve.runs.read.read_run`."""
    seen = sniff(path, form)
    sure = seen.ranks is False and not seen.judged  # else only the whole file tells what it holds
    found = _locate_large(path, seen, ids) if seen.is_large and sure else None
    return locate(read_run(path, form), ids) if found is None else found


def _locate_large(path: Path, seen: Sniffed, ids: Sequence[str]) -> Located | None:
    """Return the located hits, or None when a query's lines stand in several places of the file."""
    from dretrieve.runs.scan import Gathered, Scanner, interned_ids

    assert seen.form is not None
    wanted = interned_ids(ids)
    scanner, rest = Scanner(path, seen.form, wanted), Gathered()
    lengths: dict[bytes, int] = {}  # of each query; 0 while its lines are in `rest`
    columns = [np.empty((3, 0), dtype=np.int64)]  # query, rank, place of the located hits, by block
    for part in scanner.parts():
        last = len(part.query_ids) - 1
        sizes = np.diff(part.bounds).tolist()
        queries = np.full(last + 1, -1, dtype=np.int64)  # of each stretch; -1 where it goes to `rest`
        for stretch, name in enumerate(part.query_ids):
            is_whole = 0 < stretch < last  # the first and the last may go on in the next blocks
            if name in lengths and (is_whole or lengths[name]):
                return None
            lengths[name] = sizes[stretch] if is_whole else 0
            if is_whole:
                queries[stretch] = len(lengths) - 1
            else:
                rest.add(part, stretch, stretch + 1)
        stretches = np.searchsorted(part.bounds, part.found, side="right") - 1
        kept = queries[stretches] >= 0
        hits, stretches = part.found[kept], stretches[kept]
        columns.append(np.stack([queries[stretches], part.scan.ranks[hits], part.scan.places[hits]]))
    totals = np.asarray(list(lengths.values()), dtype=np.int64)
    row_of = {name: row for row, name in enumerate(lengths)}
    rows = np.asarray([row_of[name] for name in rest.query_ids], dtype=np.int64)
    located, totals[rows] = _locate_rest(rest, scanner, wanted)
    located[0] = rows[located[0]]
    columns.append(located)
    query, rank, place = np.concatenate(columns, axis=1)
    order = np.lexsort((rank, query))
    return Located(
        ids=ids,
        query_ids=[name.decode() for name in lengths],
        lengths=totals,
        query=query[order],
        rank=rank[order],
        place=place[order].astype(np.int32),
    )


def _locate_rest(
    rest: Gathered, scanner: Scanner, wanted: Interned
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return query, rank, place of the located hits of the lines held ([3, L]), and each query's hits."""
    from dretrieve.runs.scan import rank_and_find

    offsets, scores, passages = rest.grouped(scanner)
    rows = np.arange(len(scores), dtype=np.int32)
    ranks, places = np.empty_like(rows), np.empty_like(rows)
    rank_and_find(wanted, offsets, (rows, scores), passages, (ranks, places))
    hits = np.flatnonzero(places >= 0)
    query = np.searchsorted(offsets, hits, side="right") - 1
    return np.stack([query, ranks[hits], places[hits]]), np.diff(offsets)
