"""The keys of one record, checked: ids, texts and lists, with file and line in every refusal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from sys import float_info
from typing import Any, Literal

from dretrieve.errors import DataError, quoted

Side = Literal["corpus", "queries"]
# What a field is called, role by role: in JSON, in headers of TSV and CSV, in TREC's markup. Of several that
# a record has, the first counts; letters' case, ``-``, blanks or nothing for ``_`` do not.
PASSAGE_IDS = tuple("_id pid passage_id psg_id docid doc_id docno document_id corpus_id id".split())
QUERY_IDS = tuple("_id qid query_id queryid question_id topic_id number num id".split())
TITLES = tuple("title headline head ttl hl ti wikipedia_title".split())
PASSAGE_TEXTS = tuple(
    "text contents content passage passage_text segment body document_text document doc abstract".split()
)
QUERY_TEXTS = tuple(
    "text query question query_text question_text utterance input title contents content".split()
)
ANSWERS = tuple("answers answer gold_answers short_answers possible_answers".split())
ANCHORS = ("anchor", "query", "question", "sentence1")
POSITIVES = ("positive", "pos", "answer", "sentence2")
GRADES = tuple("score rel rels relevance label grade judgment judgement rating qrel relevancy".split())
# The cells of a header of judgements or of a run, where ``id`` alone does not say whose it is.
QUERY_COLUMNS = frozenset({*QUERY_IDS, "query", "topic"}) - {"_id", "id"}
PASSAGE_COLUMNS = frozenset({*PASSAGE_IDS, "doc", "document", "passage"}) - {"_id", "id"}
RANKS, SCORES = ("rank", "ranking"), ("score", "scores", "sim", "similarity")
RUN_COLUMNS = {*QUERY_COLUMNS, *PASSAGE_COLUMNS, *RANKS, *SCORES}.union(
    ("id", "iter", "q0", "tag", "run", "run_id", "runid", "run_name", "system", "name")
)
ONLY_QUERIES = {*QUERY_IDS, *QUERY_TEXTS, *ANSWERS, "split", "relation"} - {
    *(*PASSAGE_IDS, *PASSAGE_TEXTS, *TITLES)
}
ONLY_PASSAGES = {*PASSAGE_IDS, *PASSAGE_TEXTS, *TITLES} - {"_id", "id", "text"}
TOPIC_FIELDS = {
    "title": ("title", "query", "text"),
    "description": ("description", "desc", "question"),
    "narrative": ("narrative", "narr"),
    "desc": ("desc", "description", "question"),
    "narr": ("narr", "narrative"),
    "question": ("question", "description", "desc"),
}
WORDS = {*RUN_COLUMNS, *ONLY_QUERIES, *ONLY_PASSAGES, *TITLES, *GRADES, "_id", "id", "text"}
JOINED = {word.replace("_", ""): word for word in sorted(WORDS)}  # docId, q_id


def word_of(key: str) -> str:
    """Return a key or a header's cell as it stands in the tables of this module."""
    word = key.strip().strip('"').lower().replace("-", "_").replace(" ", "_")
    return word if word in WORDS else JOINED.get(word.replace("_", ""), word)


def named(keys: Collection[str], words: tuple[str, ...]) -> str | None:
    """Return the key of the first of ``words`` that is there, however the key is spelled."""
    exact = next((word for word in words if word in keys), None)
    if exact is not None:
        return exact
    spelled = {word_of(key): key for key in reversed(list(keys))}
    return next((spelled[word] for word in words if word in spelled), None)


def json_type(value: object) -> str:
    """Return what JSON calls the value's type, with an article, for messages."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    found = next((name for kind, name in names.items() if isinstance(value, kind)), "a number")
    return "null" if value is None else found


def is_score(value: object) -> bool:
    """Return whether a JSON value is a finite number (true and false are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= float_info.max


@dataclass(slots=True)  # not frozen: one is made for every record
class Fields:
    """One record and its place."""

    path: Path
    line: int
    record: Mapping[str, Any]

    def refuse(self, message: str) -> DataError:
        """Return the error with this record's place in front."""
        return DataError.at(self.path, self.line, message)

    def first_of(self, keys: Iterable[str]) -> str | None:
        """Return the first of ``keys`` that the record has."""
        return next((key for key in keys if key in self.record), None)

    def lacks(self, what: str, words: tuple[str, ...]) -> DataError:
        """Return the error for a record without any of those keys; names the keys that are there."""
        seen = ", ".join(map(quoted, list(self.record)[:12])) or "no keys at all"
        return self.refuse(f"no {what} ({', '.join(words)}) among its keys {seen}")

    def required(self, key: str) -> Any:
        """Return the value at ``key``."""
        if key not in self.record:
            known = ", ".join(list(self.record)[:12]) or "no keys at all"
            raise self.refuse(f"lacks the key '{key}' (has {known})")
        return self.record[key]

    def as_id(self, value: object, key: str) -> str:
        """Return an id, which can stand in TREC's columns. JSON integers become their decimal string.

        Raises:
            DataError: another non-string; an id that is empty, or holds white space or a NUL.
        """
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise self.refuse(f"'{key}' is {json_type(value)} ({value!r}); ids are strings, write \"…\"")
        if not value:
            raise self.refuse("the id '' is empty; give every record an id")
        if value.split() != [value] or "\0" in value:
            raise self.refuse(
                f"the id {value!r} holds white space or a NUL, so it cannot stand in a run or qrels file; "
                "give it an id without"
            )
        return value

    def id(self, key: str) -> str:
        """Return the id at ``key``; ``"001"`` stays ``001``."""
        return self.as_id(self.required(key), key)

    def ids(self, key: str) -> tuple[str, ...]:
        """Return the list of ids at ``key``."""
        self.required(key)
        return tuple(self.as_id(value, key) for value in self._list(key, optional=False) or ())

    def text(self, key: str) -> str:
        """Return the string at ``key``, as it is: empty, with newlines, tabs, NUL."""
        return self._string(self.required(key), key)

    def words(self, value: object, key: str) -> str:
        """Return an answer or a query: a string as it is, a JSON integer as its digits."""
        if isinstance(value, float):
            raise self.refuse(f"'{key}' is the number {value}, whose text is not known; write it in quotes")
        return str(value) if type(value) is int else self._string(value, key)

    def optional_text(self, key: str) -> str:
        """Return the string at ``key``; '' where it is missing or null."""
        value = self.record.get(key)
        return "" if value is None else self._string(value, key)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the list of strings at ``key``; () where it is missing or null."""
        return tuple([self._string(item, key) for item in self._list(key) or ()])

    def numbers(self, key: str, count: int) -> tuple[float, ...] | None:
        """Return ``count`` numbers at ``key``; None where it is missing or null."""
        items = self._list(key)
        if items is not None and (len(items) != count or not all(map(is_score, items))):
            raise self.refuse(f"'{key}' must hold {count} numbers, one for each passage beside it")
        return None if items is None else tuple(map(float, items))

    def objects(self, key: str) -> tuple[Fields, ...]:
        """Return the list of objects at ``key`` as `Fields`; () where it is missing or null."""
        items = self._list(key) or []
        if not all(isinstance(item, dict) for item in items):
            raise self.refuse(f"'{key}' must be a list of objects")
        return tuple(Fields(self.path, self.line, item) for item in items)

    def _list(self, key: str, *, optional: bool = True) -> list[Any] | None:
        value = self.record.get(key)
        if isinstance(value, list) or (value is None and optional):
            return value
        raise self.refuse(f"'{key}' is {json_type(value)}, expected an array […]")

    def _string(self, value: object, key: str) -> str:
        if isinstance(value, str):
            return value
        raise self.refuse(f"'{key}' is {json_type(value)}, expected a string")
