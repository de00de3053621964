"""One reader of passages and one of queries, for the files of every tool.

What a file is, its caller says; the first characters tell only its form: JSON (lines, an array, one object by
query id), TREC's markup, or columns. What a field is called stands in `dretrieve.text.fields`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, UsageError, quoted
from dretrieve.text.beir import Query
from dretrieve.text.fields import (
    ANSWERS,
    PASSAGE_IDS,
    PASSAGE_TEXTS,
    QUERY_IDS,
    QUERY_TEXTS,
    TITLES,
    TOPIC_FIELDS,
    Fields,
    word_of,
)
from dretrieve.text.files import json_type, parse_object, read_json, read_json_lines, read_lines
from dretrieve.text.foreign.columns import Side, parse_answers, read_rows
from dretrieve.text.foreign.markup import is_markup, read_documents, read_topics
from dretrieve.text.foreign.rows import row_id
from dretrieve.text.json_array import read_json_array
from dretrieve.types import Record

# Passages inside a question's record are not its fields.
INSIDE = {
    *("ctxs", "contexts", "positive_ctxs", "negative_ctxs", "hard_negative_ctxs", "output", "results"),
    *("positive_passages", "negative_passages"),
}
ANSWER_KEYS = (*ANSWERS, "output")
Row = tuple[int, Mapping[str, Any]]


def read_passages(path: Path) -> Iterator[tuple[int, Record, list[str]]]:
    """Yield ``(line, passage, the keys of its record that it does not keep)`` of one file.

    Anserini's ``contents`` are title and text, parted at the first newline, where no title stands beside.

    Raises:
        DataError: no file of passages, a record without id or text; names the keys that are there.
    """
    for line, value in _rows(path, "corpus"):
        fields = Fields(path, line, value)
        key, title_key = fields.need("id", PASSAGE_IDS), fields.named(TITLES)
        text_key = fields.need("text", PASSAGE_TEXTS)
        title, text = fields.optional_text(title_key) if title_key else "", fields.text(text_key)
        if word_of(text_key) == "contents" and (not title_key or text.startswith(title + "\n")):
            first, newline, rest = text.partition("\n")
            title, text = (first, rest) if newline else ("", text)
        others = [name for name in value if name not in (key, title_key, text_key)]
        yield line, Record(fields.id(key), title, text), others


def read_questions(path: Path, topic_field: str | None = None) -> Iterator[tuple[int, Query]]:
    """Yield ``(line, query)`` of one file; without ids they are counted from 0, as DPR and Pyserini do.

    Args:
        path: the file.
        topic_field: what of a topic is searched: a field that it has, or several joined by ``+``.

    Raises:
        DataError: no file of queries, a record without text or without that field, an id for some only.
    """
    numbered = False
    for row, (line, value) in enumerate(_rows(path, "queries")):
        fields = Fields(path, line, value)
        text_keys = _topic_keys(fields, topic_field)
        key = fields.named(QUERY_IDS)
        key = None if key in text_keys else key
        numbered = key is None if row == 0 else numbered
        if numbered != (key is None):
            raise fields.refuse("some queries have an id and some have none; give all of them one, or none")
        answers_key = fields.named(ANSWER_KEYS)
        regex = value.get("answers_are_regex", False)
        if not isinstance(regex, bool):
            raise fields.refuse("'answers_are_regex' must be true or false")
        used = (key, answers_key, "answers_are_regex", *text_keys)
        yield (
            line,
            Query(
                row_id(row) if key is None else _query_id(fields, key),
                " ".join(_text(fields, name) for name in text_keys),
                _answers(fields, answers_key) if answers_key else (),
                regex,
                {name: value[name] for name in value if name not in used and name not in INSIDE},
            ),
        )


def _query_id(fields: Fields, key: str) -> str:
    found = fields.id(key)
    if found.startswith("#"):
        raise fields.refuse(
            f"the query id {quoted(found)} begins with #, which makes a comment of its lines in runs and "
            "qrels; rename it"
        )
    return found


def _topic_keys(fields: Fields, topic_field: str | None) -> list[str]:
    if topic_field is None:
        return [fields.need("text", QUERY_TEXTS)]
    found = []
    for name in topic_field.split("+"):
        key = fields.named(TOPIC_FIELDS.get(name, (name,)))
        if key is None:
            seen = ", ".join(map(quoted, list(fields.record)[:12]))
            raise fields.refuse(f"no field {quoted(name)} for --topic-field; it has {seen}")
        found.append(key)
    return found


def _text(fields: Fields, key: str) -> str:
    value = fields.record[key]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else fields.text(key)


def _answers(fields: Fields, key: str) -> tuple[str, ...]:
    """Return answers of a list, of a list written into a cell, of KILT's ``output``, or of one string."""
    value = fields.record[key]
    if isinstance(value, str):
        found = parse_answers(value)
        if found is None and value.lstrip(' "').startswith("["):
            raise fields.refuse(f"the answers are no Python list of strings: {quoted(value[:60])}")
        return (value,) if found is None else found
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        named = [item["answer"] for item in value if isinstance(item.get("answer"), str)]
        return tuple(dict.fromkeys(named))
    return fields.texts(key)


def _rows(path: Path, side: Side) -> Iterator[Row]:
    first = next((line for _, line in read_lines(path) if line.strip()), None)
    if first is None:
        raise DataError(f"{path} is empty; write it again, or name the file that holds the records")
    head = first.lstrip()
    if head[0] in "{[":
        yield from read_objects(path, head)
    elif is_markup(head):
        yield from read_documents(path) if side == "corpus" else read_topics(path)
    else:
        yield from read_rows(path, side)


def read_objects(path: Path, head: str, *, split: bool = True) -> Iterator[Row]:
    """Yield ``(line, object)`` of JSON lines, an array, one object, or one object of objects by id.

    Args:
        path: the file.
        head: its first line that is not blank.
        split: give each of the objects by id for itself, with its ``id``.
    """
    if head[0] == "[":
        for number, value in read_json_array(path):
            if not isinstance(value, dict):
                raise DataError.at(path, number, f"expected an array of objects, found {json_type(value)}")
            yield number, value
        return
    is_line = head.rstrip().endswith("}")
    if is_line and not ("{" in head[1:] and by_id(parse_object(head, path, 1))):
        yield from read_json_lines(path)
        return
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError.at(path, 1, f"expected a JSON object {{…}}, found {json_type(value)}")
    if not split or not by_id(value):
        yield 1, value
        return
    for name, inner in value.items():
        yield 1, {"id": name, **{key: inner[key] for key in inner if word_of(key) not in QUERY_IDS}}


def by_id(value: Mapping[str, Any]) -> bool:
    """Return whether an object holds objects by id, as Anserini's topics do."""
    return bool(value) and all(isinstance(inner, dict) and inner for inner in value.values())


def check_topic_field(topic_field: str | None) -> None:
    """Refuse a ``--topic-field`` that names nothing.

    Raises:
        UsageError: it is empty or has an empty part.
    """
    if topic_field is not None and not all(topic_field.split("+")):
        raise UsageError(
            f"--topic-field {quoted(topic_field)}: write title, description, narrative, or title+description"
        )
