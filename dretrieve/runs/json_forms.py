"""Runs in JSON: what DPR, Contriever, Pyserini, sentence-transformers and ranx write.

| dialect       | container              | hits         | hit                                           |
|---------------|------------------------|--------------|-----------------------------------------------|
| dpr           | one array              | ``ctxs``     | id, title, text, score (a string), has_answer |
| contriever    | one object a line      | ``ctxs``     | id, title, text, score (a string), hasanswer  |
| pyserini-json | one object by query id | ``contexts`` | docid, score (a string), has_answer           |
| results       | one object a line      | ``results``  | corpus_id, score (sentence-transformers)      |
| ranx          | one object by query id | its values   | passage id: score (MTEB, pytrec_eval too)     |
|               | or several, one a line |              |                                               |
| (a hit a row) | lines, or an array     | the row      | query_id, doc_id, score or rank (ir_datasets) |

A row that is a hit names its cells by the words of `dretrieve.text.fields`, the score before a rank.
DPR and Contriever name no query ids: a key ``id``, ``_id``, ``query_id`` or ``question_id`` is taken where
there is one, else the position in the file, counted from 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dretrieve.errors import DataError, UsageError, quoted
from dretrieve.runs.build import HitColumns, build_run
from dretrieve.runs.lines import parse_score
from dretrieve.runs.write import score_texts
from dretrieve.text.beir import Query
from dretrieve.text.columns import hit_places, refuse_table
from dretrieve.text.fields import json_type
from dretrieve.text.files import first_line
from dretrieve.text.json_files import check_encodable, read_json, read_json_array, read_json_lines
from dretrieve.types import Record, Run

QUERY_KEYS = ("query_id", "_id", "id", "question_id", "qid")
HIT_KEYS = ("id", "docid", "corpus_id", "passage_id", "doc_id", "pid", "docno", "psg_id", "document_id")
LIST_KEYS = ("ctxs", "contexts", "results")
Hits = list[tuple[str, object]]
DIALECTS = ("dpr", "contriever", "pyserini-json", "ranx")


def read_json_run(path: Path, form: str = "auto") -> Run:
    """Return the run of a JSON file in any dialect of this module.

    ``form`` is ``auto``, or the one that must stand there: ``dpr`` (Contriever's lines too),
    ``pyserini-json``, ``ranx`` (by query id and passage id).

    Raises:
        DataError: not one of the dialects or not the one named, a hit without id or finite score, a query or
            a passage of a query twice.
    """
    queries: dict[str, int] = {}
    passages: dict[str, int] = {}
    rows: list[tuple[int, int, float]] = []
    lines: list[int] = []
    head = first_line(path)  # of an array the bracket alone
    keys = _keys_of_a_hit(path, head)
    for line, query_id, hits in _entries(path, form, head) if keys is None else _rows(path, form, head, keys):
        if query_id in queries and keys is None:
            raise DataError.at(
                path, line, f"query {quoted(query_id)} stands twice; a run holds every query once"
            )
        row = queries.setdefault(query_id, len(queries))
        for passage_id, score in hits:
            passage = passages.setdefault(passage_id, len(passages))
            try:
                rows.append((row, passage, _score(score, path, line)))
            except DataError as error:
                of = f"query {quoted(query_id)}, passage {quoted(passage_id)}"
                raise DataError(f"{error} ({of})") from None
            lines.append(line)
    columns = HitColumns.of(list(queries), list(passages), rows)

    def repeated(hit: int) -> DataError:
        query_id, passage_id = columns.names(hit)
        twice = f"passage {quoted(passage_id)} stands twice for query {quoted(query_id)}"
        return DataError.at(path, lines[hit], f"{twice}; remove one of the two")

    return build_run(columns, ranks=keys is not None and keys.is_ranks, repeated=repeated)


@dataclass(frozen=True, slots=True)
class _Keys:
    """What a row that is one hit calls its query, its passage and its score or rank."""

    query: str
    passage: str
    score: str
    is_ranks: bool


def _keys_of_a_hit(path: Path, head: str) -> _Keys | None:
    """Return the keys if the file's first record is a hit."""
    line, value = next(read_json_array(path), (1, None)) if head == "[" else (1, _record(head))
    if not isinstance(value, dict) or any(isinstance(value.get(key), list) for key in LIST_KEYS):
        return None
    names = list(value)
    places, is_ranks = hit_places(names)
    if not all(places):
        return None
    for cell, found in zip(("query", "passage", "score or rank"), places, strict=True):
        if len(found) > 1:
            several = ", ".join(quoted(names[place]) for place in found)
            raise DataError.at(path, line, f"a hit names its {cell} once, found {several}; keep one of them")
    query, passage, score = (names[place] for (place,) in places)
    return _Keys(query, passage, score, is_ranks)


def _rows(path: Path, form: str, head: str, keys: _Keys) -> Iterator[tuple[int, str, Hits]]:
    """Yield line, query id and hit of every row."""
    _check_form(path, form, "a hit a row")
    for line, value in read_json_array(path) if head == "[" else read_json_lines(path):
        if not isinstance(value, dict) or not {keys.query, keys.passage, keys.score} <= value.keys():
            wanted = ", ".join((keys.query, keys.passage, keys.score))
            raise DataError.at(path, line, f"expected a hit with the keys of the first one ({wanted})")
        score = value[keys.score]
        if keys.is_ranks and not ((rank := _score(score, path, line)) >= 0 and rank.is_integer()):
            raise DataError.at(path, line, f"a rank is a whole number (1, 2, 3 …), found {score}")
        yield line, _id(value[keys.query], path, line), [(_id(value[keys.passage], path, line), score)]


def _score(value: object, path: Path, line: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DataError.at(path, line, f"a score is a number, found {json_type(value)}")
    return parse_score(str(value).strip().encode(), path, line)


def _entries(path: Path, form: str, head: str) -> Iterator[tuple[int, str, Hits]]:
    """Yield line, query id and hits of every query."""
    is_line = _record(head) is not None
    if is_line or head == "[":
        _check_form(path, form, "dpr")
        first: bool | None = None
        for position, (line, value) in enumerate(read_json_lines(path) if is_line else read_json_array(path)):
            query_id = _query_id(value, path, line)
            if first not in (None, query_id is None):
                raise DataError.at(
                    path, line, "some queries have an id and others none; give all one, or none"
                )
            first = query_id is None
            yield line, str(position) if query_id is None else query_id, _hits(value, path, line)
        return
    for line, whole in read_json_lines(path) if _parsed(head) is not None else _whole(path):
        _refuse_mteb(whole, path, line)
        refuse_table(whole, path, line)
        for query_id, value in whole.items():
            by_passage = isinstance(value, dict) and not any(key in value for key in LIST_KEYS)
            deeper = by_passage and any(isinstance(inner, dict | list) for inner in value.values())
            if deeper or not isinstance(value, dict):
                found = "objects or arrays in place of scores" if deeper else json_type(value)
                raise DataError.at(
                    path, line, f"query {quoted(query_id)} needs an object {{passage: score}}, found {found}"
                )
            _check_form(path, form, "ranx" if by_passage else "pyserini-json")
            yield line, query_id, list(value.items()) if by_passage else _hits(value, path, line)


def _whole(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the object that the file is."""
    value = read_json(path)
    check_encodable(value, path, 1)
    if not isinstance(value, dict):
        raise DataError.at(path, 1, f"expected an object with each query's hits, found {json_type(value)}")
    yield 1, value


def _refuse_mteb(value: Mapping[str, Any], path: Path, line: int) -> None:
    if any(key.startswith("mteb_") for key in value):
        raise DataError.at(
            path,
            line,
            "a file of MTEB that is no run: its results hold measures alone, its predictions hold runs "
            "{query: {passage: score}} below subset and split; give one of these runs as a file",
        )


def _check_form(path: Path, wanted: str, found: str) -> None:
    if wanted not in ("auto", found):
        raise DataError.at(path, 1, f"--run-format {wanted} was given, and the file has the form {found}")


def _parsed(head: str) -> dict[str, Any] | None:
    """Return the first line if it is an object of its own."""
    try:
        value = json.loads(head)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _record(head: str) -> dict[str, Any] | None:
    """Return the first line if it is a whole record of its own, and not an object by query id."""
    value = _parsed(head)
    if not value:
        return None
    by_id = isinstance(next(iter(value.values())), dict) and not any(key in value for key in LIST_KEYS)
    return None if by_id else value


def _query_id(value: Any, path: Path, line: int) -> str | None:
    if not isinstance(value, dict):
        raise DataError.at(path, line, "expected a JSON object with a question and its hits")
    return next((_id(value[key], path, line) for key in QUERY_KEYS if value.get(key) is not None), None)


def _id(value: object, path: Path, line: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError.at(path, line, f"an id is a string or a whole number, found {json_type(value)}")
    return str(value)


def _hits(value: Any, path: Path, line: int) -> Hits:
    key = next(
        (key for key in LIST_KEYS if isinstance(value, dict) and isinstance(value.get(key), list)), None
    )
    if key is None:
        _refuse_mteb(value, path, line)
        raise DataError.at(
            path,
            line,
            f"no list of hits: expected one of the keys {', '.join(LIST_KEYS)}, or in every row one hit with "
            f"query_id, doc_id and score; found {quoted(', '.join(value))}",
        )
    hits: Hits = []
    for rank, hit in enumerate(value[key], 1):
        name = next((name for name in HIT_KEYS if isinstance(hit, dict) and name in hit), None)
        if name is None or "score" not in hit:
            raise DataError.at(path, line, f"hit {rank} needs an id ({', '.join(HIT_KEYS)}) and a score")
        hits.append((_id(hit[name], path, line), hit["score"]))
    return hits


def write_json_run(
    target: IO[str],
    run: Run,
    questions: Mapping[str, Query],
    passage: Callable[[str], Record | None],
    *,
    dialect: str = "dpr",
    holds_answer: Callable[[str, Record], bool] | None = None,
) -> None:
    """Write the run in one of the JSON forms: those of DPR and its readers with texts, ranx's without.

    ``passage`` gives a record by id, None when the collection lacks it. ``holds_answer`` says whether a hit
    answers a query; without it the key is left out.

    Raises:
        UsageError: no such dialect.
        DataError: a query or passage that the texts lack.
    """
    if dialect not in DIALECTS:
        raise UsageError(f"unknown dialect '{dialect}'; the dialects are {', '.join(DIALECTS)}")
    entries: Iterable[tuple[str, dict[str, Any]]]
    if dialect == "ranx":
        entries = (
            (query_id, {passage_id: float(score) for passage_id, score in _written_hits(run, row)})
            for row, query_id in enumerate(run.query_ids)
        )
    else:
        entries = _written_entries(run, questions, passage, dialect, holds_answer)
    if dialect == "contriever":
        for _, entry in entries:
            target.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return
    opening, closing = ("[", "]") if dialect == "dpr" else ("{", "}")
    target.write(opening)
    for count, (query_id, entry) in enumerate(entries):
        key = "" if dialect == "dpr" else json.dumps(query_id, ensure_ascii=False) + ": "
        target.write((",\n" if count else "\n") + key + json.dumps(entry, ensure_ascii=False))
    target.write("\n" + closing + "\n")


def _written_hits(run: Run, row: int) -> Iterator[tuple[str, str]]:
    """Yield passage and score as it is written of each of a query's hits."""
    some = slice(int(run.offsets[row]), int(run.offsets[row + 1]))
    for passage, score in zip(run.passages[some].tolist(), score_texts(run.scores[some]), strict=True):
        yield run.passage_ids[passage], score


def _written_entries(
    run: Run,
    questions: Mapping[str, Query],
    passage: Callable[[str], Record | None],
    dialect: str,
    holds_answer: Callable[[str, Record], bool] | None,
) -> Iterable[tuple[str, dict[str, Any]]]:
    flag = "hasanswer" if dialect == "contriever" else "has_answer"
    for row, query_id in enumerate(run.query_ids):
        if query_id not in questions:
            raise DataError(
                f"the run's query {quoted(query_id)} is not among the questions; give the run's own split"
            )
        hits = []
        for passage_id, score in _written_hits(run, row):
            record = passage(passage_id)
            if record is None and (dialect != "pyserini-json" or holds_answer is not None):
                raise DataError(
                    f"the run's passage {quoted(passage_id)} is not in the corpus; give its own corpus"
                )
            hit: dict[str, Any] = {"docid": passage_id, "score": score}
            if record is not None and dialect != "pyserini-json":
                hit = {"id": passage_id, "title": record.title, "text": record.text, "score": score}
            if record is not None and holds_answer is not None:
                hit[flag] = holds_answer(query_id, record)
            hits.append(hit)
        question = questions[query_id]
        entry: dict[str, Any] = {"question": question.text, "answers": list(question.answers)}
        if dialect == "pyserini-json":
            yield query_id, entry | {"contexts": hits}
        else:
            yield query_id, {"id": query_id} | entry | {"ctxs": hits}
