"""What `validate` compares by content: judgements, hits and examples with texts and with each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.jobs.validate_ids import UNRELATED, explain_strangers
from dretrieve.jobs.validate_parts import ExamplesPart, Finding, QrelsPart, RunPart, first_ids
from dretrieve.runs.locate import rows_of
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.types import Qrels

BAD_INPUT = DataError.exit_code


def relevant_counts(qrels: Qrels) -> NDArray[np.int64]:
    """Return how many relevant passages (grade above 0) each query has: [queries]."""
    totals = np.concatenate([np.zeros(1, np.int64), np.cumsum(qrels.grades > 0)])
    return np.asarray(totals[qrels.offsets[1:]] - totals[qrels.offsets[:-1]])


def check_collection(name: str, collection: Collection) -> Iterator[Finding]:
    """Empty texts; query ids that are passage ids."""
    if collection.files.corpus:
        empty = collection.corpus().num_empty
        if empty:
            yield Finding(
                "note", name, f"{empty:,} passages are empty; they keep their ids and are never good hits"
            )
    if collection.files.queries:
        queries = collection.queries()
        if queries.num_empty:
            yield Finding("note", name, f"{queries.num_empty:,} queries are empty")
        count = queries_that_are_passages(collection)
        if count:
            text = f"{count:,} of {len(queries):,} queries are passages themselves: evaluate with --drop-self"
            yield Finding("note", name, text)


def queries_that_are_passages(collection: Collection) -> int:
    """Return how many queries have the id *and* the text of a passage, as in ArguAna.

    Equal ids alone say nothing: many collections number queries and passages alike.
    """
    files = collection.files
    if not files.corpus or not files.queries or files.queries == files.corpus:
        return 0
    store, count = collection.corpus(), 0
    for query in collection.queries().queries:
        row = store.row_of(query.id)
        if row is not None:
            passage, words = " ".join(store.record(row).text.split()), " ".join(query.text.split())
            count += bool(passage and words) and (passage in words or words in passage)
    return count


def check_qrels(part: QrelsPart, store: TextStore | None) -> Iterator[Finding]:
    """Judged passages that do not exist; queries without a relevant passage."""
    qrels = part.qrels
    without = int((relevant_counts(qrels) == 0).sum())
    if without:
        text = (
            f"{without:,} of {len(qrels):,} queries have no relevant passage; they score 0 whatever is found"
        )
        yield Finding("note", part.name, text)
    if part.collection is not None and part.collection.files.queries:
        part.collection.queries(part.split)  # refuses judged queries that are not there
    if store is None or not len(qrels.grades):
        return
    judged = [qrels.passage_ids[row] for row in np.unique(qrels.passages).tolist()]
    lost = [passage_id for passage_id in judged if store.row_of(passage_id) is None]
    if len(lost) == len(judged):
        why = explain_strangers(
            lost, lambda passage_id: store.row_of(passage_id) is not None, store.ids(0, 500)
        )
        text = (
            f"no judged passage is in the corpus, every score will be 0: judged {first_ids(lost)}, "
            f"corpus {first_ids(store.ids(0, 2))}; {why}"
        )
        yield Finding("problem", part.name, text, BAD_INPUT)
    elif lost:
        share = f"{len(lost):,} of {len(judged):,} judged passages"
        text = f"{share} are not in the corpus (first: {lost[0]}); no run can find them"
        yield Finding("note", part.name, text)
    else:
        yield Finding("ok", part.name, f"all {len(judged):,} judged passages are in the corpus")


def check_run_queries(part: RunPart, judged: QrelsPart, others: list[QrelsPart]) -> Iterator[Finding]:
    """The run's queries against the judged ones, and whether anything relevant is among the hits."""
    run, qrels, about = part.run, judged.qrels, f"{part.name} with {judged.name}"
    asked, wanted = set(run.query_ids), set(qrels.query_ids)
    shared = asked & wanted
    if not len(run.scores):
        yield Finding("note", about, "the run holds no hits at all; every measure is 0")
        return
    if not shared:
        yield Finding("problem", about, _no_shared_queries(part, judged, others), BAD_INPUT)
        return
    missing = len(wanted - asked)
    if missing:
        text = f"{missing:,} of {len(wanted):,} judged queries have no hits; each counts 0 in the mean"
        yield Finding("note", about, text)
    if len(asked - wanted):
        yield Finding(
            "note", about, f"{len(asked - wanted):,} queries of the run are not judged and are left out"
        )
    yield from _check_hits(part, judged, about, shared)


def _no_shared_queries(part: RunPart, judged: QrelsPart, others: list[QrelsPart]) -> str:
    ids = set(part.run.query_ids)
    for other in others:
        share = len(ids & set(other.qrels.query_ids)) / max(1, len(ids))
        if share > 0.5:
            return f"no query of the run is judged there: it is a run of {other.name}; evaluate it with that"
    known = set(judged.qrels.query_ids)
    why = explain_strangers(list(part.run.query_ids), known.__contains__, list(judged.qrels.query_ids)[:500])
    return (
        f"no query of the run is judged: the run has {first_ids(part.run.query_ids)}, the judgements "
        f"{first_ids(judged.qrels.query_ids)}; {why}"
    )


def _check_hits(part: RunPart, judged: QrelsPart, about: str, shared: set[str]) -> Iterator[Finding]:
    run, qrels = part.run, judged.qrels
    rows = rows_of(run, qrels.passage_ids)[qrels.passages]
    positions = {query_id: row for row, query_id in enumerate(run.query_ids)}
    found = relevant = elsewhere = 0
    for row, query_id in enumerate(qrels.query_ids):
        if query_id not in shared:
            continue
        judgements = slice(int(qrels.offsets[row]), int(qrels.offsets[row + 1]))
        wanted = rows[judgements][qrels.grades[judgements] > 0]
        at = positions[query_id]
        hits = run.passages[int(run.offsets[at]) : int(run.offsets[at + 1])]
        relevant += len(wanted)
        found += int(np.isin(wanted[wanted >= 0], hits).sum())
        elsewhere += int((wanted >= 0).sum())
    if found:
        text = f"{found:,} of {relevant:,} relevant passages of {len(shared):,} queries are among the hits"
        yield Finding("ok", about, text)
    elif elsewhere:
        text = (
            "every score is 0: the ids fit, yet no query has a relevant passage among its hits "
            f"({elsewhere:,} are hits of other queries); the query ids are mixed up, or the "
            "queries were encoded by another model than the passages"
        )
        yield Finding("problem", about, text, BAD_INPUT)
    else:
        ids = [run.passage_ids[int(row)] for row in run.passages[:500]]
        known = set(qrels.passage_ids)
        why = (
            explain_strangers(ids, known.__contains__, list(qrels.passage_ids)[:500])
            if ids
            else "the run is empty"
        )
        if why == UNRELATED:
            why += "; or, where they are passages of the corpus, the search is no better than chance"
        text = (
            f"every score is 0: no relevant passage is among the hits; hits are {first_ids(ids)}, judged are "
        )
        yield Finding("problem", about, f"{text}{first_ids(qrels.passage_ids)}; {why}", BAD_INPUT)


def check_run_corpus(part: RunPart, name: str, collection: Collection) -> Iterator[Finding]:
    """Hits that are no passages of the corpus; hits that are the query itself."""
    run, about, store = part.run, f"{part.name} with {name}", collection.corpus()
    hit = [run.passage_ids[row] for row in np.unique(run.passages).tolist()]
    strangers = [passage_id for passage_id in hit if store.row_of(passage_id) is None]
    if strangers:
        why = explain_strangers(strangers, lambda text: store.row_of(text) is not None, store.ids(0, 500))
        text = (
            f"{len(strangers):,} of {len(hit):,} passages in the run are not in the corpus: "
            f"run {first_ids(strangers)}, corpus {first_ids(store.ids(0, 2))}; {why}"
        )
        yield Finding("problem", about, text, BAD_INPUT)
    else:
        yield Finding("ok", about, f"all {len(hit):,} passages of the run are in the corpus")
    own = rows_of(run, run.query_ids)
    itself = int((np.repeat(own, np.diff(run.offsets)) == run.passages).sum())
    if itself and queries_that_are_passages(collection):
        yield Finding(
            "note",
            about,
            f"{itself:,} queries have themselves as a hit; evaluate with --drop-self drops these",
        )


def check_examples(part: ExamplesPart, name: str, store: TextStore) -> Iterator[Finding]:
    """Whether the examples' passages are in the corpus."""
    about, total = f"{part.name} with {name}", 0
    strangers: dict[str, None] = {}
    without = 0
    for example in part.rows():
        without += not example.positive_document_ids
        for passage_id in (*example.positive_document_ids, *example.negative_document_ids):
            total += 1
            if store.row_of(passage_id) is None:
                strangers[passage_id] = None
    if without:
        yield Finding("note", part.name, f"{without:,} examples have no positive passage")
    if strangers:
        why = explain_strangers(
            list(strangers), lambda text: store.row_of(text) is not None, store.ids(0, 500)
        )
        text = f"{len(strangers):,} passages are not in the corpus (first: {first_ids(strangers)}); {why}"
        yield Finding("problem", about, text, BAD_INPUT)
    else:
        yield Finding("ok", about, f"all {total:,} passages named are in the corpus")
