"""Questions with answers: how many are answered within k passages, and how good a reader's answers are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dretrieve.errors import DataError, UsageError, quoted
from dretrieve.metrics.answers import Answers
from dretrieve.metrics.exact_match import exact_match, f1, pattern_match
from dretrieve.metrics.scores import Scores
from dretrieve.metrics.top_k import first_answer_ranks, known_text, top_k
from dretrieve.text.beir import Query
from dretrieve.text.files import read_lines
from dretrieve.text.json_files import parse_json, read_json, read_json_array
from dretrieve.text.qrels import qrels_of
from dretrieve.text.queries import QuerySet
from dretrieve.types import Progress, Qrels, Run

READER_MEASURES: dict[str, Callable[[str, Sequence[str]], float]] = {"EM": exact_match, "F1": f1}
PREDICTION_KEYS = tuple(
    "prediction prediction_text pred predicted_answer generated_answer generated_text generation output "
    "model_output response completion answer text".split()
)
ID_KEYS = ("query_id", "_id", "id", "question_id", "qid")


def parse_reader_measures(text: str) -> list[str]:
    """Return the reader's measures named in ``text``; both if it is empty.

    Raises:
        UsageError: others (all of them at once).
    """
    words = text.replace(",", " ").split()
    by_lower = {name.lower(): name for name in READER_MEASURES}
    wrong = [word for word in words if word.lower() not in by_lower]
    if wrong:
        raise UsageError(f"{', '.join(wrong)} is no measure of predictions; the measures are EM, F1")
    return list(dict.fromkeys(by_lower[word.lower()] for word in words)) or list(READER_MEASURES)


def measures_of(queries: QuerySet, text: str, progress: Progress) -> list[str]:
    """Return the reader's measures named in ``text``; if it is empty those that all answers have.

    Raises:
        UsageError: F1 is named, and the answers of some questions are patterns.
    """
    measures, patterned = parse_reader_measures(text), sum(queries.answers_are_regex)
    if not patterned or "F1" not in measures:
        return measures
    why = f"F1 compares words, and the answers of {patterned:,} of {len(queries):,} questions are patterns"
    if text:
        raise UsageError(f"{why}; give --metrics EM")
    progress.note(f"{why}; EM alone is measured")
    return ["EM"]


def group_labels(queries: QuerySet, field: str) -> dict[str, str]:
    """Return query id to its value of ``field``, of the queries that have one.

    Raises:
        UsageError: no query has the field; the message lists those there are.
        DataError: a value is a list or an object.
    """
    if not any(field in fields for fields in queries.fields):
        known = sorted({name for fields in queries.fields for name in fields})
        raise UsageError(
            f"no query has the field '{field}' for --by; the fields are {', '.join(known) or 'none'}"
        )
    labels: dict[str, str] = {}
    for query_id, fields in zip(queries.ids(), queries.fields, strict=True):
        value = fields.get(field)
        if isinstance(value, list | dict):
            raise DataError(
                f"query {quoted(query_id)} has {quoted(value)} in '{field}', and --by takes one text or "
                "number; name another field"
            )
        if value is not None and value != "":
            labels[query_id] = str(value)
    return labels


def groups_of(query_ids: Sequence[str], labels: Mapping[str, str], field: str) -> list[str]:
    """Return the group of every query.

    Raises:
        DataError: some have none; a mean over groups would count them as one of its own, or not at all.
    """
    lacking = [query_id for query_id in query_ids if query_id not in labels]
    if lacking:
        raise DataError(
            f"{len(lacking):,} of {len(query_ids):,} queries lack the field '{field}' of --by (first: "
            f"{quoted(lacking[0])}); give it to them, or evaluate without --by"
        )
    return [labels[query_id] for query_id in query_ids]


def prepare_answers(queries: QuerySet, notes: list[str]) -> list[Answers]:
    """Return the answers of every query, made ready; says in ``notes`` which can never match.

    Raises:
        DataError: no query has answers.
    """
    if not any(queries.answers):
        raise DataError(
            f"no query of {queries.source} has the key 'answers'; name a question set, or judge runs by "
            "--qrels"
        )
    ready = [
        Answers(answers, regex=is_regex)
        for answers, is_regex in zip(queries.answers, queries.answers_are_regex, strict=True)
    ]
    empty = sum(answers.num_empty for answers in ready)
    if empty:
        notes.append(f"{empty:,} answers hold no token, or do not compile; they match nothing")
    hopeless = sum(not answers for answers in ready)
    if hopeless:
        notes.append(f"{hopeless:,} questions have no usable answer; they count as not answered")
    return ready


def score_answers(
    name: str,
    run: Run,
    queries: QuerySet,
    answers: Sequence[Answers],
    text_of: Callable[[str], str | None],
    cutoffs: Sequence[int],
) -> Scores:
    """Return ``top<k>`` of every question for every cutoff.

    Raises:
        DataError: no question is in the run; a hit is not in the corpus.
    """
    notes: list[str] = []
    ids = queries.ids()
    held = set(run.query_ids)
    missing = sum(query_id not in held for query_id in ids)
    if not held:
        notes.append(f"run {name} holds no hits at all")
    elif missing == len(ids):
        raise DataError(
            f"none of the {len(ids):,} questions is in run {name} (the run has "
            f"{quoted(next(iter(run.query_ids), 'none'))}, the questions {quoted(next(iter(ids), 'none'))}); "
            "name the split that was searched"
        )
    if missing:
        notes.append(f"{missing:,} of {len(ids):,} questions are not in the run; they count as not answered")
    longest = int(np.diff(run.offsets).max()) if len(run) else 0
    if longest < max(cutoffs):
        notes.append(f"the run holds at most {longest:,} hits per question, top{max(cutoffs)} looks at more")
    ranks = first_answer_ranks(run, ids, answers, text_of, max(cutoffs))
    return Scores(name=name, query_ids=ids, values={f"top{k}": top_k(ranks, k) for k in cutoffs}, notes=notes)


def judge_by_answers(
    hits: Mapping[str, Iterable[str]],
    query_ids: Sequence[str],
    answers: Sequence[Answers],
    text_of: Callable[[str], str | None],
) -> Qrels:
    """Return judgements in which a passage is relevant if it holds an answer: each is looked at once.

    Args:
        hits: query id to passages; taken of questions with a usable answer alone.
        query_ids: [Q] the questions; each is in the result.
        answers: [Q].
        text_of: a passage's text by id, None when the corpus lacks it.

    Raises:
        DataError: a hit is not in the corpus.
    """
    return qrels_of(
        {
            query_id: {
                passage_id: 1
                for passage_id in (hits.get(query_id, ()) if accepted else ())
                if accepted.found_in(known_text(text_of, passage_id))
            }
            for query_id, accepted in zip(query_ids, answers, strict=True)
        }
    )


def score_predictions(
    name: str, predictions: Mapping[str, str], queries: QuerySet, measures: Sequence[str]
) -> Scores:
    """Return the reader's measures for every question; one without prediction has value 0.

    Raises:
        DataError: no question has a prediction.
    """
    ids = queries.ids()
    missing = sum(query_id not in predictions for query_id in ids)
    if missing == len(ids):
        raise DataError(
            f"none of the {len(ids):,} questions has a prediction in {name}; name the split that was read"
        )
    notes = [f"{missing:,} of {len(ids):,} questions have no prediction; they count as 0"] if missing else []

    def value(measure: str, query: Query) -> float:
        if query.id not in predictions:
            return 0.0
        of = pattern_match if query.answers_are_regex else READER_MEASURES[measure]
        return of(predictions[query.id], query.answers)

    values = {
        measure: np.asarray([value(measure, query) for query in queries.queries]) for measure in measures
    }
    return Scores(name=name, query_ids=ids, values=values, notes=notes)


def read_predictions(path: Path) -> dict[str, str]:
    """Return query id to answer: of one JSON object, JSON rows with id and answer, ``id<TAB>answer`` lines.

    A row may hold its question as ``text`` beside the prediction.

    Raises:
        DataError: another form, a query twice, nothing at all; a line of which two keys may be the prediction
            (one may be the answer that is wanted).
    """
    found: dict[str, str] = {}
    for line, query_id, answer in _predictions(path):
        if query_id in found:
            raise DataError.at(path, line, f"query {quoted(query_id)} has two predictions; keep one")
        if not isinstance(answer, str):
            raise DataError.at(path, line, f"the prediction for {quoted(query_id)} is not a string")
        found[query_id] = answer
    if not found:
        raise DataError.at(path, None, "the file holds no predictions")
    return found


def _predictions(path: Path) -> Iterator[tuple[int | None, str, object]]:
    """Yield line, query id and answer of each prediction."""
    lines = [(number, line) for number, line in read_lines(path) if line.strip()]
    first = lines[0][1] if lines else ""
    is_array = first.lstrip().startswith("[") and "\t" not in first
    if not (is_array or first.lstrip().startswith("{")):
        for number, line in lines:
            query_id, tab, answer = line.partition("\t")
            if not tab:
                raise DataError.at(path, number, "expected a query id, a tab and an answer")
            yield number, query_id, answer
        return
    record: Any = None
    with suppress(ValueError, RecursionError):  # an object over several lines
        record = json.loads(first)
    if not is_array and (record is None or (len(lines) == 1 and not any(key in record for key in ID_KEYS))):
        for query_id, answer in read_json(path).items():
            yield None, query_id, answer
        return
    parsed = ((number, parse_json(line, path, number)) for number, line in lines)
    for number, value in read_json_array(path) if is_array else parsed:
        given = value if isinstance(value, dict) else {}
        id_key = next((key for key in ID_KEYS if given.get(key) is not None), None)
        answer_keys = [key for key in PREDICTION_KEYS if key in given]
        if id_key is None or not answer_keys:
            needed = f"one of {', '.join(ID_KEYS)} and one of {', '.join(PREDICTION_KEYS)}"
            raise DataError.at(path, number, f"a prediction needs {needed}")
        if len(answer_keys) > 1 and answer_keys[-1] == "text":  # the question
            answer_keys.pop()
        if len(answer_keys) > 1:
            raise DataError.at(
                path,
                number,
                f"{' and '.join(answer_keys)} may each be the prediction; keep one of them",
            )
        yield number, str(given[id_key]), given[answer_keys[0]]
