"""Runs in JSON: what DPR, Contriever, Pyserini, sentence-transformers and ranx write.

| dialect    | container              | hits         | hit                                           |
|------------|------------------------|--------------|-----------------------------------------------|
| dpr        | one array              | ``ctxs``     | id, title, text, score (a string), has_answer |
| contriever | one object a line      | ``ctxs``     | id, title, text, score (a string), hasanswer  |
| pyserini   | one object by query id | ``contexts`` | docid, score (a string), has_answer           |
| results    | one object a line      | ``results``  | corpus_id, score (sentence-transformers)      |
| scores     | one object by query id | its values   | passage id: score (ranx, MTEB, pytrec_eval)   |

DPR and Contriever name no query ids: a key ``id``, ``_id``, ``query_id`` or ``question_id`` is taken where
there is one, else the position in the file, counted from 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from dretrieve.errors import DataError, UsageError
from dretrieve.store.atomic import replacing
from dretrieve.text.files import parse_json, read_json_lines, read_lines
from dretrieve.text.json_array import read_json_array
from dretrieve.text.run_build import HitColumns, build_run
from dretrieve.text.run_lines import parse_score
from dretrieve.types import Record, Run

QUERY_KEYS = ("query_id", "_id", "id", "question_id", "qid")
HIT_KEYS = ("id", "docid", "corpus_id", "passage_id", "doc_id")
LIST_KEYS = ("ctxs", "contexts", "results")
DIALECTS = ("dpr", "contriever", "pyserini")


def read_json_run(path: Path) -> Run:
    """Return the run of a JSON file in any dialect of this module.

    Raises:
        DataError: not one of the dialects, a hit without id or finite score, a passage twice for a query.
    """
    queries: dict[str, int] = {}
    passages: dict[str, int] = {}
    columns: tuple[list[int], list[int], list[np.float32]] = ([], [], [])
    lines: list[int] = []
    for line, query_id, hits in _entries(path):
        if query_id in queries:
            raise DataError.at(path, line, f"query {query_id!r} stands twice; a run holds every query once")
        row = queries.setdefault(query_id, len(queries))
        for passage_id, score in hits:
            columns[0].append(row)
            columns[1].append(passages.setdefault(passage_id, len(passages)))
            columns[2].append(parse_score(str(score).encode(), path, line))
            lines.append(line)
    if not queries:
        raise DataError.at(path, None, "the run holds no hits; search again, or remove it from the command")
    hits_of = HitColumns(
        query_ids=list(queries),
        passage_ids=list(passages),
        queries=np.asarray(columns[0], dtype=np.int32),
        passages=np.asarray(columns[1], dtype=np.int32),
        scores=np.asarray(columns[2], dtype=np.float32),
        tag="dretrieve",
    )
    return build_run(
        hits_of,
        repeated=lambda first, second: DataError.at(
            path,
            lines[second],
            f"passage {hits_of.passage_ids[columns[1][second]]!r} stands twice for query "
            f"{hits_of.query_ids[columns[0][second]]!r}; remove one of the two",
        ),
    )


Hits = list[tuple[str, object]]


def _entries(path: Path) -> Iterator[tuple[int, str, Hits]]:
    """Yield line, query id and hits of every query."""
    head = next((line.lstrip() for _, line in read_lines(path) if line.strip()), "")
    if head.startswith("["):
        for position, (line, value) in enumerate(read_json_array(path)):
            yield line, _query_id(value, position, path, line), _hits(value, path, line)
        return
    if _is_line(head):
        for position, (line, value) in enumerate(read_json_lines(path)):
            yield line, _query_id(value, position, path, line), _hits(value, path, line)
        return
    whole = parse_json("\n".join(line for _, line in read_lines(path)), path, 1)
    if not isinstance(whole, dict):
        raise DataError.at(path, 1, "expected a JSON object with one entry for each query")
    for query_id, value in whole.items():
        if isinstance(value, dict) and not any(key in value for key in LIST_KEYS):
            yield 1, query_id, list(value.items())
        else:
            yield 1, query_id, _hits(value, path, 1)


def _is_line(head: str) -> bool:
    """Return whether the first line is a whole record of its own."""
    try:
        value = json.loads(head)
    except ValueError:
        return False
    return isinstance(value, dict) and any(isinstance(value.get(key), list) for key in LIST_KEYS)


def _query_id(value: Any, position: int, path: Path, line: int) -> str:
    if not isinstance(value, dict):
        raise DataError.at(path, line, "expected a JSON object with a question and its hits")
    found = next((value[key] for key in QUERY_KEYS if key in value), position)
    return str(found)


def _hits(value: Any, path: Path, line: int) -> Hits:
    key = next(
        (key for key in LIST_KEYS if isinstance(value, dict) and isinstance(value.get(key), list)), None
    )
    if key is None:
        raise DataError.at(path, line, f"no list of hits: expected one of the keys {', '.join(LIST_KEYS)}")
    hits: Hits = []
    for rank, hit in enumerate(value[key], 1):
        name = next((name for name in HIT_KEYS if isinstance(hit, dict) and name in hit), None)
        if name is None or "score" not in hit:
            raise DataError.at(path, line, f"hit {rank} needs an id ({', '.join(HIT_KEYS)}) and a score")
        hits.append((str(hit[name]), hit["score"]))
    return hits


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the DPR dialects carry beside the hits."""

    text: str
    answers: Sequence[str] = ()


def write_json_run(
    target: Path | IO[str],
    run: Run,
    questions: Mapping[str, Question],
    passage: Callable[[str], Record | None],
    *,
    dialect: str = "dpr",
    holds_answer: Callable[[str, Record], bool] | None = None,
) -> None:
    """Write the run with texts in one of DPR's three dialects.

    Args:
        target: a path (written atomically) or a text file.
        run: sorted.
        questions: by query id; the query's text and answers.
        passage: gives a passage's record by id, None when the collection lacks it.
        dialect: ``dpr``, ``contriever`` or ``pyserini``.
        holds_answer: says whether a hit answers a query; without it the key is left out.

    Raises:
        UsageError: no such dialect.
        DataError: a query or passage that the texts lack.
    """
    if dialect not in DIALECTS:
        raise UsageError(f"unknown dialect '{dialect}'; the dialects are {', '.join(DIALECTS)}")
    if isinstance(target, Path):
        with replacing(target, text=True) as file:
            write_json_run(file, run, questions, passage, dialect=dialect, holds_answer=holds_answer)
        return
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


def _written_entries(
    run: Run,
    questions: Mapping[str, Question],
    passage: Callable[[str], Record | None],
    dialect: str,
    holds_answer: Callable[[str, Record], bool] | None,
) -> Iterable[tuple[str, dict[str, Any]]]:
    flag = "hasanswer" if dialect == "contriever" else "has_answer"
    for row, query_id in enumerate(run.query_ids):
        if query_id not in questions:
            raise DataError(
                f"the run's query {query_id!r} is not among the questions; give the run's own split"
            )
        hits = []
        for passage_id, score in run.hits(row):
            record = passage(passage_id)
            if record is None:
                raise DataError(
                    f"the run's passage {passage_id!r} is not in the corpus; give the corpus it came from"
                )
            hit: dict[str, Any]
            if dialect == "pyserini":
                hit = {"docid": passage_id, "score": f"{score:.9g}"}
            else:
                hit = {"id": passage_id, "title": record.title, "text": record.text, "score": f"{score:.9g}"}
            if holds_answer is not None:
                hit[flag] = holds_answer(query_id, record)
            hits.append(hit)
        question = questions[query_id]
        entry: dict[str, Any] = {"question": question.text, "answers": list(question.answers)}
        if dialect == "pyserini":
            yield query_id, entry | {"contexts": hits}
        else:
            yield query_id, {"id": query_id} | entry | {"ctxs": hits}
