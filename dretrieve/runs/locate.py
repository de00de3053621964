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

from dretrieve.runs.lines import LineForm
from dretrieve.runs.read import Sniffed, read_run, sniff
from dretrieve.runs.select import hits_of, queries_of
from dretrieve.types import Run

if TYPE_CHECKING:
    from dretrieve.kernels.interning import Interned
    from dretrieve.runs.scan import Gathered


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
    hits, place = hits_of(run, ids)
    query = queries_of(run, hits)
    return Located(
        ids=ids,
        query_ids=run.query_ids,
        lengths=np.diff(run.offsets),
        query=query,
        rank=hits - run.offsets[query] + 1,
        place=place,
    )


def locate_file(path: Path, ids: Sequence[str], form: str = "auto") -> Located:
    """Return what `locate` returns for the run at ``path``; errors as `dretrieve.runs.read.read_run`."""
    seen = sniff(path, form)
    if seen.form is None or not seen.is_large or seen.ranks is not False:
        return locate(read_run(path, form), ids)
    return _locate_large(path, seen, ids) or locate(read_run(path, form), ids)


def _locate_large(path: Path, seen: Sniffed, ids: Sequence[str]) -> Located | None:
    """Return the located hits, or None when a query's lines stand in several places of the file."""
    from dretrieve.runs.blocks import scanned
    from dretrieve.runs.scan import Gathered, interned_ids

    assert seen.form is not None
    lengths: dict[bytes, int] = {}  # 0 while the query's lines are in `rest`
    rest = Gathered()
    columns = [np.empty((3, 0), dtype=np.int64)]
    wanted = interned_ids(ids)
    for part in scanned(path, seen.form, wanted):
        last = len(part.query_ids) - 1
        sizes = np.diff(part.bounds).tolist()
        queries = np.full(last + 1, -1, dtype=np.int64)
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
    names = {name: row for row, name in enumerate(lengths)}
    rows = np.asarray([names[name] for name in rest.query_ids], dtype=np.int64)
    others, totals[rows] = _locate_rest(rest, path, seen.form, wanted)
    columns.append(np.stack([rows[others[0]], *others[1:]]))
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
    rest: Gathered, path: Path, form: LineForm, wanted: Interned
) -> tuple[tuple[NDArray[np.int64], ...], NDArray[np.int64]]:
    """Return query, rank and place of the located hits among the lines held, and each query's hits."""
    from dretrieve.kernels.hits import rank_hits
    from dretrieve.kernels.interning import find_all

    offsets, scores, ids = rest.grouped(path, form)
    rows = np.arange(len(scores), dtype=np.int32)
    ranks, places = np.empty_like(rows), np.empty_like(rows)
    rank_hits(offsets, (rows, scores), (ids.data, ids.ends), ranks)
    find_all(wanted, ids.data, ids.ends, ids.hashes, places)
    hits = np.flatnonzero(places >= 0)
    query = np.searchsorted(offsets, hits, side="right") - 1
    return (query, ranks[hits].astype(np.int64), places[hits].astype(np.int64)), np.diff(offsets)
