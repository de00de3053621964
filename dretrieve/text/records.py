"""Passages and queries of any file: the one reader of each.

What a file is, its caller says; the first characters tell only how its rows stand: as JSON, TREC's markup or
columns. What a field is called stands in `dretrieve.text.fields`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dretrieve.errors import DataError, PreconditionError, UsageError, quoted
from dretrieve.text.beir import Files, Query, collection_files
from dretrieve.text.fields import (
    ANSWERS,
    PASSAGE_IDS,
    PASSAGE_TEXTS,
    POSITIVES,
    QUERY_IDS,
    QUERY_TEXTS,
    TITLES,
    TOPIC_FIELDS,
    Fields,
    Side,
    named,
    word_of,
)
from dretrieve.text.files import exists, first_line
from dretrieve.text.forms import detect
from dretrieve.text.json_files import read_objects
from dretrieve.text.markup import is_markup, read_documents, read_topics
from dretrieve.text.tables import answers_of, read_rows
from dretrieve.types import Record

# Passages inside a question's record are not its fields.
INSIDE = {
    *("ctxs", "contexts", "positive_ctxs", "negative_ctxs", "hard_negative_ctxs", "output", "results"),
    *("positive_passages", "negative_passages"),
}
ANSWER_KEYS = (*ANSWERS, "output")
LOOKS = {"corpus": "passages", "training": "training rows", "run": "a run", "qrels": "judgements"}
Item = TypeVar("Item", Record, Query)
Reader = Callable[[Path], Iterator[tuple[int, Item]]]  # of one file: lines and what stands there


def read_corpus(path: Path, left: dict[str, None] | None = None) -> Iterator[Record]:
    """Yield the passages of a file or folder in any known form, in order, with unique ids.

    Anserini's ``contents`` are title and text, parted at the first newline or blank line (Mr. TyDi), where no
    title stands beside.
    ``left`` takes the keys of the records that a passage does not keep.

    Raises:
        PreconditionError: nothing stands there.
        DataError: the file is no corpus, or holds no passage; broken lines; an id that occurs twice (found at
            the end).
    """
    return _unique(path, "corpus", partial(_passages, left=left))


def read_queries(
    path: Path, topic_field: str | None = None, pairs: dict[str, None] | None = None
) -> Iterator[Query]:
    """Yield the queries of a file or folder in any known form, in order, with unique ids.

    Without ids they are counted from 0, as DPR and Pyserini do; topics of TREC must have them.
    ``topic_field`` is what of a topic is searched: a field that it has, or several joined by ``+``. ``pairs``
    takes the keys of answers that may be the passages of training rows.

    Raises:
        PreconditionError: nothing stands there.
        DataError: the file holds no queries; a record without text or without that field; an id for some
            only, or twice (found at the end).
    """
    return _unique(
        path, "queries", partial(_questions, topic_field=topic_field, pairs={} if pairs is None else pairs)
    )


def perhaps_ids(path: Path, topic_field: str | None) -> list[str]:
    """Return the keys that may be the ids of queries that are counted from 0, for lack of a known one."""
    _, value = next(_rows(_files_of(path, "queries")[0], "queries"), (1, {}))
    own, _, _, others = _query_keys(tuple(value), topic_field)
    ends = ("id", "number", "index", "topic")
    return [key for key in others if own is None and word_of(key).endswith(ends)]


def is_row(path: Path, side: Side) -> bool:
    """Return whether the first record of a file can be read as one of that side."""
    with suppress(DataError):
        return next(read_corpus(path) if side == "corpus" else read_queries(path), None) is not None
    return False


def _unique(path: Path, side: Side, read: Reader[Item]) -> Iterator[Item]:
    """Yield the items; refuse a file that holds none, and an id that stands twice.

    Memory is eight bytes an item: ids are remembered as hashes; when two hashes are equal at the end, the
    file is read again to compare the ids themselves.
    """
    hashes = array("q")
    for _, _, item in _placed(path, side, read):
        hashes.append(hash(item.id))
        yield item
    if not hashes:
        what = f"{LOOKS.get(side, side)}, only a header or an empty list"
        raise DataError(f"{path} holds no {what}; name the file that holds them")
    ordered = np.sort(np.frombuffer(hashes, dtype=np.int64))
    suspects = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    seen: dict[str, tuple[Path, int]] = {}
    for file, line, item in _placed(path, side, read) if suspects else ():
        if hash(item.id) in suspects:
            if item.id in seen:
                before, at = seen[item.id]
                place = f"line {at}" if before == file else f"{before}, line {at}"
                what = f"the {'id' if side == 'corpus' else 'query id'} {quoted(item.id)}"
                raise DataError.at(file, line, f"{what} stands on {place} already; ids must be unique")
            seen[item.id] = (file, line)


def _placed(path: Path, side: Side, read: Reader[Item]) -> Iterator[tuple[Path, int, Item]]:
    """Yield ``(file, line, item)``; where already a file's first row fails, say what the file looks like."""
    for file in _files_of(path, side):
        is_first = True
        try:
            for line, item in read(file):
                is_first = False
                yield file, line, item
        except DataError as error:
            role: str = side
            with suppress(DataError):
                role = detect(file).role if is_first else side
            if role in (side, "texts"):
                raise
            raise DataError(f"{error}; the file looks like {LOOKS.get(role, role)}") from None


def _files_of(path: Path, side: Side) -> list[Path]:
    """Return the files of that side: of a BEIR folder its own, of another folder all JSON files."""
    if not exists(path):
        raise PreconditionError(f"{path} does not exist; correct the path")
    folder = Files.in_folder(path)
    if not (folder.corpus or folder.queries):
        return collection_files(path)
    own, what = (folder.corpus, "passages") if side == "corpus" else (folder.queries, "queries")
    if own is None:
        raise PreconditionError(f"{path} has no {side}.jsonl; name the collection that holds the {what}")
    return [own]


def _rows(path: Path, side: Side) -> Iterator[tuple[int, Mapping[str, Any]]]:
    head = first_line(path)
    if head.lstrip()[0] in "{[":
        return read_objects(path, ids=PASSAGE_IDS if side == "corpus" else QUERY_IDS)
    if is_markup(head):
        return read_documents(path) if side == "corpus" else read_topics(path)
    return read_rows(path, side)


def _passages(path: Path, left: dict[str, None] | None) -> Iterator[tuple[int, Record]]:
    for line, value in _rows(path, "corpus"):
        key, title_key, text_key, is_contents, others = _passage_keys(tuple(value))
        fields = Fields(path, line, value)
        if key is None or text_key is None:
            raise fields.lacks(*(("id", PASSAGE_IDS) if key is None else ("text", PASSAGE_TEXTS)))
        title, text = fields.optional_text(title_key) if title_key else "", fields.text(text_key)
        if is_contents and (not title_key or text.startswith(title + "\n")):
            first, newline, rest = text.partition("\n")
            title, text = (first, rest.removeprefix("\n")) if newline else ("", text)
        if others and left is not None:
            left.update(dict.fromkeys(others))
        yield line, Record(fields.id(key), title, text)


@lru_cache(maxsize=256)  # the records of a file mostly have the same keys
def _passage_keys(keys: tuple[str, ...]) -> tuple[str | None, str | None, str | None, bool, tuple[str, ...]]:
    """Return which keys hold id, title and text, whether the text is Anserini's contents, and the others."""
    found = named(keys, PASSAGE_IDS), named(keys, TITLES), named(keys, PASSAGE_TEXTS)
    is_contents = word_of(found[2] or "") == "contents"
    return *found, is_contents, tuple(key for key in keys if key not in found)


def _questions(path: Path, topic_field: str | None, pairs: dict[str, None]) -> Iterator[tuple[int, Query]]:
    numbered = False
    for row, (line, value) in enumerate(_rows(path, "queries")):
        fields = Fields(path, line, value)
        key, text_keys, answers_key, others = _query_keys(tuple(value), topic_field)
        if None in text_keys:
            raise fields.lacks(*_searched(topic_field)[text_keys.index(None)])
        numbered = key is None if row == 0 else numbered
        if numbered != (key is None):
            raise fields.refuse("some queries have an id and some have none; give all of them one, or none")
        regex = value.get("answers_are_regex", False)
        if not isinstance(regex, bool):
            raise fields.refuse("'answers_are_regex' must be true or false")
        query = Query(
            str(row) if key is None else fields.id(key),
            " ".join([fields.words(value[name], name) for name in text_keys if name]),
            answers_of(fields, answers_key) if answers_key else (),
            regex,
            {name: value[name] for name in others},
        )
        if key is not None and query.id.startswith("#"):
            raise fields.refuse(
                f"the query id {quoted(query.id)} begins with #, which makes a comment of its lines in runs "
                "and qrels; rename it"
            )
        if answers_key and word_of(answers_key) in POSITIVES and query.answers == (value[answers_key],):
            pairs[answers_key] = None
        yield line, query


@lru_cache(maxsize=256)
def _query_keys(
    keys: tuple[str, ...], topic_field: str | None
) -> tuple[str | None, tuple[str | None, ...], str | None, tuple[str, ...]]:
    """Return which keys hold the id, what is searched and the answers, and those that stay fields."""
    texts = tuple(named(keys, words) for _, words in _searched(topic_field))
    own, answers = named(keys, QUERY_IDS), named(keys, ANSWER_KEYS)
    own = None if own in texts else own
    used = {own, *texts, answers, "answers_are_regex", *INSIDE}
    return own, texts, answers, tuple(key for key in keys if key not in used)


def _searched(topic_field: str | None) -> list[tuple[str, tuple[str, ...]]]:
    """Return what is searched: the name of each part, for messages, and the words for it."""
    if topic_field is None:
        return [("text", QUERY_TEXTS)]
    names = topic_field.split("+")
    return [(f"field {quoted(name)} for --topic-field", TOPIC_FIELDS.get(name, (name,))) for name in names]


def check_topic_field(topic_field: str | None) -> None:
    """Refuse a ``--topic-field`` that names nothing.

    Raises:
        UsageError: it is empty or has an empty part.
    """
    if topic_field is not None and not all(topic_field.split("+")):
        raise UsageError(
            f"--topic-field {quoted(topic_field)}: write title, description, narrative, or title+description"
        )
