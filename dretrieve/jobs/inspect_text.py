"""What `inspect` says about collections and text files: counts, ids, splits, in whatever form they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from dretrieve.runs.read import read_run
from dretrieve.text.beir import Query
from dretrieve.text.collection import Collection
from dretrieve.text.examples import read_examples
from dretrieve.text.foreign.triplets import read_colbert_triples
from dretrieve.text.forms import FORMS, TRAINING_READERS, Form, detect, read_corpus, read_queries
from dretrieve.text.qrels import read_qrels
from dretrieve.types import Progress, Qrels, Record, Run

Facts = dict[str, Any]
ROLE_NAMES = {
    "collection": "collection (BEIR folder)",
    "texts": "corpus",
    "training": "training rows with texts",
    "examples": "training examples by id",
    "triples": "training triples of ids",
}


def describe_text(path: Path, progress: Progress, run_format: str = "auto") -> tuple[str, Facts]:
    """Return what a text file or collection folder is, and its facts.

    Args:
        path: the file or folder.
        progress: is told what is read.
        run_format: the form of a run; ``auto`` to tell what stands there.

    Raises:
        DataError: no known form, or a broken line.
    """
    form = detect(path) if run_format == "auto" else FORMS["run"]
    describers: dict[str, Callable[[Path, Form, Progress], Facts]] = {
        "collection": _collection,
        "corpus": _corpus,
        "queries": _queries,
        "texts": _corpus,
        "training": _training,
        "examples": _examples,
        "triples": _triples,
        "qrels": lambda path, form, progress: qrels_facts(read_qrels(path)),
        "run": lambda path, form, progress: run_facts(read_run(path, run_format)),
    }
    kind = ROLE_NAMES.get(form.role, form.role)
    facts = describers[form.role](path, form, progress)
    if form.role == "texts":
        facts["note"] = "an id and a text may be a passage or a query; both read them"
    return kind, {"form": f"{form.name}  {form.shape}", **facts}


def _collection(path: Path, form: Form, progress: Progress) -> Facts:
    collection = Collection(path)
    facts: Facts = {"splits": ", ".join(collection.splits) or "none"}
    if collection.files.corpus:
        store = collection.corpus(progress)
        facts |= {"passages": len(store), "empty passages": store.num_empty, "sha256": store.sha256}
        facts["text store"] = str(store.folder)
    if collection.files.queries:
        queries = collection.queries()
        facts |= _query_facts(queries.queries) | {"queries sha256": queries.sha256}
    for split in collection.files.qrels:
        qrels = collection.qrels(split)
        found = qrels_facts(qrels)
        unknown = len(collection.unknown_passages(qrels)) if collection.files.corpus else 0
        missing = f", {unknown:,} judged passages are not in the corpus" if unknown else ""
        counts = f"{found['queries']:,} queries, {found['judgements']:,} judgements"
        facts[f"qrels {split}"] = f"{counts}, grades {found['grades']}{missing}"
    return facts


def _corpus(path: Path, form: Form, progress: Progress) -> Facts:
    counts, ids = Counter[str](), list[str]()
    for record in _counted(read_corpus(path), progress, path):
        counts["passages"] += 1
        counts["with title"] += bool(record.title)
        counts["empty"] += not (record.title.strip() or record.text.strip())
        counts["characters"] += len(record.title) + len(record.text)
        if len(ids) < 3:
            ids.append(record.id)
    return {**counts, "first ids": ", ".join(ids)}


def _queries(path: Path, form: Form, progress: Progress) -> Facts:
    return _query_facts(list(read_queries(path)))


def _query_facts(queries: list[Query]) -> Facts:
    facts: Facts = {"queries": len(queries)}
    with_answers = sum(bool(query.answers) for query in queries)
    if with_answers:
        facts["with answers"] = with_answers
    regex = sum(query.answers_are_regex for query in queries)
    if regex:
        facts["answers are regex"] = regex
    empty = sum(not query.text.strip() for query in queries)
    if empty:
        facts["empty queries"] = empty
    splits = Counter(str(query.fields["split"]) for query in queries if query.fields.get("split"))
    if splits:
        facts["by field split"] = ", ".join(f"{split} {count:,}" for split, count in sorted(splits.items()))
    facts["first query"] = f"{queries[0].id}  {queries[0].text[:80]}" if queries else "none"
    return facts


def _training(path: Path, form: Form, progress: Progress) -> Facts:
    counts: Counter[str] = Counter()
    for _, row in TRAINING_READERS[form.name](path):
        counts["queries"] += 1
        counts["without positive"] += not row.positives
        counts["positives"] += len(row.positives)
        counts["negatives"] += len(row.negatives)
        counts["with answers"] += bool(row.query.answers)
    return {
        **counts,
        "next": f"dretrieve prepare {quote(str(path))} --output DIR makes a collection and examples of it",
    }


def _examples(path: Path, form: Form, progress: Progress) -> Facts:
    counts: Counter[str] = Counter()
    for example in read_examples(path):
        counts["queries"] += 1
        counts["without positive"] += not example.positive_document_ids
        counts["positives"] += len(example.positive_document_ids)
        counts["negatives"] += len(example.negative_document_ids)
        counts["with scores"] += example.positive_scores is not None or example.negative_scores is not None
    return dict(counts)


def _triples(path: Path, form: Form, progress: Progress) -> Facts:
    counts: Counter[str] = Counter()
    for _, (_, ids, scores) in read_colbert_triples(path):
        counts["rows"] += 1
        counts["passages"] += len(ids)
        counts["with scores"] += scores is not None
    return dict(counts)


def qrels_facts(qrels: Qrels) -> Facts:
    """Return the counts of judgements."""
    grades = Counter(qrels.grades.tolist())
    relevant = np.add.reduceat(qrels.grades > 0, qrels.offsets[:-1]) if len(qrels) else np.zeros(0)
    return {
        "queries": len(qrels),
        "judgements": len(qrels.grades),
        "grades": ", ".join(f"{grade}: {count:,}" for grade, count in sorted(grades.items())),
        "queries without a relevant passage": int((relevant == 0).sum()),
        "first": f"{qrels.query_ids[0]} {qrels.passage_ids[int(qrels.passages[0])]}"
        if len(qrels)
        else "none",
    }


def run_facts(run: Run) -> Facts:
    """Return the counts of hits."""
    lengths = np.diff(run.offsets)
    facts: Facts = {"queries": len(run), "hits": int(run.offsets[-1]), "tag": run.tag}
    if len(run) and len(run.scores):
        facts["hits per query"] = f"{lengths.min():,} to {lengths.max():,}"
        if run.by_rank:
            facts["scores"] = "none, ranks only"
        else:
            facts["scores"] = f"{run.scores.min():.6g} to {run.scores.max():.6g}"
        facts["first"] = f"{run.query_ids[0]} {run.passage_ids[int(run.passages[0])]}"
    return facts


def _counted(records: Iterable[Record], progress: Progress, path: Path) -> Iterable[Record]:
    progress.start(f"reading {path.name}", None, "passages")
    for number, record in enumerate(records, 1):
        if number % 10_000 == 0:
            progress.advance(10_000)
        yield record
    progress.finish()
