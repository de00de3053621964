"""Queries with the passages that a run found for them, in the place of judged ones: ``run=RUN,depth=K``.

Without a run the close passages are the judged ones, K at most; ``depth=0`` gives none: the query alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dretrieve.errors import DataError
from dretrieve.runs.read import read_run
from dretrieve.store.text_store import TextStore
from dretrieve.text.examples import Example
from dretrieve.types import Progress, Qrels


def with_close(
    examples: Sequence[Example],
    run: Path | None,
    depth: int,
    corpus: TextStore,
    name: str,
    progress: Progress,
) -> list[Example]:
    """Return the examples that have a close passage, each with ``depth`` of them, best first, or all it has.

    Without a run they are the judged ones; ``depth`` 0 gives none to every example.

    Raises:
        DataError: an empty run, one of other questions, one of another collection.
    """
    if depth == 0:
        return [replace(of, close=()) for of in examples]
    found = _judged(examples) if run is None else _hits(run, depth)
    close = [replace(of, close=tuple(found.get(of.query_id, ())[:depth])) for of in examples]
    usable = [of for of in close if of.close]
    if not usable:
        has = f"{run} is of other questions: it" if run is not None else f"the set {name}"
        raise DataError(
            f"{has} has a passage for none of the {len(close):,} queries of {name}; search with these queries"
        )
    _check_known(usable, corpus, run)
    if len(usable) < len(close):
        progress.note(f"{name}: {len(close) - len(usable):,} queries without a passage are left out")
    few = sum(len(of.close or ()) < depth for of in usable)
    if few:
        progress.note(f"{name}: {few:,} of {len(usable):,} queries have fewer than {depth} passages")
    return usable


def _judged(examples: Sequence[Example]) -> Mapping[str, tuple[str, ...]]:
    """Return the positives of each query, which may have a line for each."""
    found: dict[str, dict[str, None]] = {}
    for of in examples:
        found.setdefault(of.query_id, {}).update(dict.fromkeys(of.positive_document_ids))
    return {query: tuple(names) for query, names in found.items()}


def _hits(path: Path, depth: int) -> Mapping[str, tuple[str, ...]]:
    """Return the best passages of each query of a run."""
    run = read_run(path)
    if not len(run.passages):
        raise DataError(f"{path} holds no hits; search first, then train on what was found")
    return {
        query: tuple(passage for (passage, _), _ in zip(run.hits(row), range(depth), strict=False))
        for row, query in enumerate(run.query_ids)
    }


def _check_known(examples: Sequence[Example], corpus: TextStore, run: Path | None) -> None:
    known: set[str] = set()
    for name in (name for of in examples for name in of.close or ()):
        if name not in known and corpus.row_of(name) is None:
            raise DataError(
                f"{run or 'a positive of the examples'} names passage {name!r}, which the collection lacks; "
                "give what was made over this collection"
            )
        known.add(name)


def judged_texts(examples: Sequence[Example], qrels: Qrels, corpus: TextStore) -> list[Example]:
    """Return the examples with "relevance: GRADE. PASSAGE" of each relevant passage as their answers.

    Source: ReAtt, section 3.3. A query without a relevant passage has none.
    """
    grades: dict[str, list[tuple[str, int]]] = {}
    for query, passage, grade in qrels.rows():
        if grade > 0:
            grades.setdefault(query, []).append((passage, grade))

    def texts(of: Example) -> tuple[str, ...]:
        rows = [(grade, corpus.row_of(passage)) for passage, grade in grades.get(of.query_id, ())]
        records = [(grade, corpus.record(row)) for grade, row in rows if row is not None]
        return tuple(
            f"relevance: {grade}. {' '.join(filter(None, (record.title, record.text)))}"
            for grade, record in records
        )

    return [replace(of, fields={**of.fields, "answers": texts(of)}) for of in examples]
