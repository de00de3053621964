"""A run against judgements: prepared as asked for, joined, measured, with notes on what does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, quoted
from dretrieve.metrics.judged import Values, count_in_group, grades_of, judge
from dretrieve.metrics.measure import Measure
from dretrieve.metrics.options import RelevanceOptions
from dretrieve.metrics.scores import Scores
from dretrieve.runs.locate import Located, locate, locate_file
from dretrieve.runs.read import RunFile
from dretrieve.types import Qrels, Run


def score_relevance(
    name: str,
    run: Run | RunFile,
    qrels: Qrels,
    measures: Sequence[Measure],
    options: RelevanceOptions,
) -> Scores:
    """Return the values of a run, or of the run in a file, in every measure.

    Raises:
        DataError: no query of the run is judged; a broken file.
    """
    notes: list[str] = []
    ids = list(dict.fromkeys([*qrels.passage_ids, *qrels.query_ids]))
    located = locate(run, ids) if isinstance(run, Run) else locate_file(run.path, ids, run.form)
    _check_queries(name, located, qrels, notes)
    in_run = {query_id for query_id, length in zip(located.query_ids, located.lengths, strict=True) if length}
    located = prepared(located, qrels, options, notes)
    judged = judge(located, qrels)
    if not len(judged.rank) and located.lengths.any():
        notes.append(
            f"no hit is judged at all (judged passages are like {quoted(qrels.passage_ids[0])}): "
            "was another corpus searched?"
        )
    values = {str(measure): measure.values(judged) for measure in measures}
    kept = np.arange(len(judged), dtype=np.int64)
    missing = judged.retrieved == 0
    if options.retrieved_only:  # one whose hits were all dropped stays, as in trec_eval -J
        missing = np.asarray([query_id not in in_run for query_id in judged.query_ids], dtype=np.bool_)
        kept = np.flatnonzero(~missing)
    num_missing = int(missing.sum())
    if num_missing and options.retrieved_only:
        notes.append(f"{num_missing:,} judged queries have no hits and are left out (--retrieved-only)")
    elif num_missing:
        worth = _worth_of(values, missing)
        notes.append(f"{num_missing:,} of {len(judged):,} judged queries have no hits; they count as {worth}")
    hopeless = judged.num_relevant(1) == 0
    hopeless[missing] &= not options.retrieved_only
    if hopeless.any():
        worth = _worth_of(values, hopeless)
        count = f"{hopeless.sum():,} queries"
        notes.append(f"{count} have no relevant passage in the qrels; they count as {worth}")
    return Scores(
        name=name,
        query_ids=[judged.query_ids[row] for row in kept.tolist()],
        values={name: column[kept] for name, column in values.items()},
        aggregates={str(measure): measure.definition.aggregate for measure in measures},
        notes=notes,
    )


def _worth_of(values: Mapping[str, Values], rows: NDArray[np.bool_]) -> str:
    """Return what some queries are worth: 0, with the measures (counts, floors) in which one is not."""
    others = [name for name, column in values.items() if column[rows].any()]
    return f"0, but not in {', '.join(others)}" if others else "0"


def prepared(located: Located, qrels: Qrels, options: RelevanceOptions, notes: list[str]) -> Located:
    """Return the located hits as ``options`` want them; says in ``notes`` what was dropped."""
    place_of = {text_id: place for place, text_id in enumerate(located.ids)}
    own_place = np.asarray([place_of.get(query_id, -2) for query_id in located.query_ids], dtype=np.int64)
    own = located.place == own_place[located.query] if len(located) else located.place < 0
    if options.drop_self:
        notes.append(f"{own.sum():,} hits that are the query itself were dropped (--drop-self)")
        located = without_self(located, own)
    elif own.any():
        notes.append(
            f"{own.sum():,} hits have the id of their query; BEIR's figures leave these out: --drop-self"
        )
    if options.depth is not None:  # before unjudged hits go, as in trec_eval -M -J
        located = located.only(located.rank <= options.depth)
        located = replace(located, lengths=np.minimum(located.lengths, options.depth))
    if options.judged_only:
        before = int(located.lengths.sum())
        query, grade = grades_of(located, qrels)
        located = located.only((query >= 0) & (grade >= 0))
        lengths = np.bincount(located.query, minlength=len(located)).astype(np.int64)
        located = replace(located, rank=count_in_group(located.query), lengths=lengths)
        notes.append(f"{before - int(lengths.sum()):,} hits without judgement were dropped (--judged-only)")
    return located


def without_self(located: Located, own: NDArray[np.bool_]) -> Located:
    """Return the located hits without those where ``own`` ([L]) is true, the later ranks moved up."""
    own_rank = np.full(len(located), np.iinfo(np.int64).max)
    own_rank[located.query[own]] = located.rank[own]
    moved = located.rank - (located.rank > own_rank[located.query]).astype(np.int64)
    dropped = np.bincount(located.query[own], minlength=len(located)).astype(np.int64)
    return replace(located, rank=moved, lengths=located.lengths - dropped).only(~own)


def _check_queries(name: str, located: Located, qrels: Qrels, notes: list[str]) -> None:
    known = set(qrels.query_ids)
    strangers = sum(query_id not in known for query_id in located.query_ids)
    if not len(located):
        notes.append(f"run {name} holds no hits at all")
    elif strangers == len(located):
        raise DataError(
            f"none of the {len(located):,} queries of run {name} is judged (the run has "
            f"{quoted(located.query_ids[0])}, the qrels have {quoted(qrels.query_ids[0])}); name the "
            "qrels of the split that was searched"
        )
    if strangers:
        notes.append(f"{strangers:,} queries of the run have no judgements; they are left out")
