"""What several commands read: questions with their fingerprint, judgements, passages searched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from dretrieve.errors import UsageError
from dretrieve.metrics.answers import Answers
from dretrieve.store.fingerprint import canonical_json
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection, parse_spec
from dretrieve.text.files import is_file
from dretrieve.text.queries import QuerySet
from dretrieve.types import Progress, Record


def find_qrels(spec: str) -> Path:
    """Return the qrels file of ``DIR[:split]``, or the file that ``spec`` names itself."""
    path, _ = parse_spec(spec)
    return path if is_file(path) else Collection.open(spec).qrels_file()


def questions_fingerprint(queries: QuerySet) -> str:
    """Return the hash over ids, answers and fields of the questions."""
    digest = hashlib.sha256()
    for query in queries.queries:
        record = [query.id, query.answers, query.answers_are_regex, dict(query.fields)]
        digest.update(canonical_json(record) + b"\n")
    return digest.hexdigest()


def open_corpus(corpus: str | None, questions: str, progress: Progress, *, full: bool = False) -> TextStore:
    """Return the passages of ``corpus``, or, where none is named, those beside the questions.

    ``full`` reads the corpus again and compares.

    Raises:
        UsageError: it has none.
    """
    collection = Collection.open(corpus, "corpus") if corpus else Collection.open(questions, "queries")
    if collection.files.corpus is None:
        raise UsageError(f"{collection.path} has no passages; name those that were searched: --corpus DIR")
    return collection.corpus(progress, full=full)


def text_reader(corpus: TextStore) -> Callable[[str], str | None]:
    """Return what gives a passage's text by id (without title, as DPR matches answers), None if absent."""

    @lru_cache(maxsize=65_536)  # hits of several runs, or of many questions, are often the same
    def text_of(passage_id: str) -> str | None:
        record = corpus.find(passage_id)
        return None if record is None else record.text

    return text_of


def answer_test(queries: QuerySet) -> Callable[[str, Record], bool]:
    """Return DPR's rule: whether a passage holds an answer to the question of that id, one of the set."""

    @lru_cache(maxsize=4)  # the hits of one question come one after the other
    def answers(query_id: str) -> Answers:
        row = queries.row_of(query_id)
        assert row is not None, "only questions of the set are asked about"
        return Answers(queries[row].answers, regex=queries[row].answers_are_regex)

    return lambda query_id, record: answers(query_id).found_in(record.text)
