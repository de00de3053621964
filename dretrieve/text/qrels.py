"""Reading and writing relevance judgements: TREC and MS MARCO (4 columns), BEIR (3 columns), a JSON object.

A header line names its columns by the words of `dretrieve.text.fields`. Grades are whole numbers; a passage
judged 0 is kept, because judged and not relevant differs from not judged (`Judged@10`, `Bpref`);
negative grades too.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from dretrieve.errors import DataError, quoted
from dretrieve.text.columns import found, refuse_table, split_line
from dretrieve.text.fields import GRADES, PASSAGE_COLUMNS, QUERY_COLUMNS, Fields, word_of
from dretrieve.text.files import read_lines
from dretrieve.text.json_files import parse_object, read_json, read_json_lines, read_objects
from dretrieve.types import Qrels, offsets_of

GRADE = re.compile(r"([+-]?\d+)(\.0*)?")
SMALLEST, LARGEST = -(2**31), 2**31 - 1
NO_PASSAGES = {3: {"0", "Q0"}, 4: {"Q0", *"01234"}}  # that could be an iteration or a grade
PLACES = {3: (0, 1, 2), 4: (0, 2, 3)}


def judgement_header(parts: list[str]) -> tuple[int, int, int] | None:
    """Return the places of query, passage and grade when the columns are a header that names the grade."""
    words = [word_of(part) for part in parts]
    places = PLACES.get(len(parts))
    grades = [place for place, word in enumerate(words) if word in GRADES]
    if places is None or len(grades) != 1:
        return None
    named = [
        [place for place, word in enumerate(words) if word in names]
        for names in (QUERY_COLUMNS, PASSAGE_COLUMNS)
    ]
    if all(len(one) == 1 for one in named):
        return named[0][0], named[1][0], grades[0]
    return places if grades[0] == places[2] else None


def read_qrels(path: Path) -> Qrels:
    """Return the judgements at ``path``; queries and passages in order of first appearance.

    A line with a tab between two columns is cut at tabs only, other lines at blanks; a line that begins with
    ``#`` is a comment, as in trec_eval 10. A header says which column holds what; without one they are query
    passage grade, or query 0 passage grade.

    Raises:
        DataError: a wrong number of columns, a grade that is no whole number, a passage judged twice for a
            query, no judgements at all; names the line.
        PreconditionError: no such file.
    """
    queries: dict[str, dict[str, tuple[int, int]]] = {}
    second, places, columns, named = "", (0, 1, 2), 0, False
    for number, line in read_lines(path):
        parts = line.split("\t")  # as they mostly stand; the rule itself is `split_line`
        if len(parts) not in PLACES or " " in line or line[0] == "#" or line[-1] in "\t\r":
            parts = [part.decode() for part in split_line(line.encode())]
        if not parts:
            continue
        if not columns:
            if parts[0].startswith("{") or "".join(line.split(" "))[:2] in ("[", "[{"):
                return _read_json(path, line)
            columns, titles = len(parts), judgement_header(parts)
            places, named = titles or PLACES.get(columns, places), titles is not None
            if titles:
                continue
            second = parts[1] if columns == 4 else ""
        # cut at tabs, it would have had TREC's four columns when cut at blanks too
        words = line.split() if len(parts) == 3 and "\t" in line else ()
        mixed = len(words) == 4 and words[1] in ("0", "Q0")
        if len(parts) != columns or columns not in PLACES or mixed:
            wanted = f"{columns} columns as on the lines before" if columns in PLACES else "3 or 4 columns"
            raise DataError.at(
                path,
                number,
                f"expected {wanted} (query passage grade, or query 0 passage grade), "
                f"found {found(line.encode())}",
            )
        query, passage = parts[places[0]], parts[places[1]]
        if not all(parts):
            raise DataError.at(path, number, f"column {parts.index('') + 1} of {columns} is empty")
        judged = queries.setdefault(query, {})
        if passage in judged:
            raise DataError.at(
                path,
                number,
                f"passage {quoted(passage)} is judged twice for query {quoted(query)} "
                f"(first on line {judged[passage][1]}); remove one of the two lines",
            )
        judged[passage] = (_grade(parts[places[2]], path, number), number)
    # Such small numbers are ids where column 2 is TREC's 0; else column 2 is the passage, and 3 its grade.
    names = {passage for judged in queries.values() for passage in judged}
    if queries and not named and second not in ("0", "Q0") and names <= NO_PASSAGES[columns]:
        raise DataError.at(
            path,
            None,
            f"{columns} columns are query passage grade, or query 0 passage grade, but every passage would "
            f"be called {', '.join(sorted(names))}; order them so, or name them in a header",
        )
    return _judgements(
        {q: {p: grade for p, (grade, _) in judged.items()} for q, judged in queries.items()}, path
    )


def _grade(token: str, path: Path, number: int | None, of: tuple[str, str] | None = None) -> int:
    number_of = GRADE.fullmatch(token)
    if number_of and len(token) < 99 and SMALLEST < int(number_of[1]) <= LARGEST:
        return int(number_of[1])
    whole = "a whole number of 32 bits" if number_of else "a whole number"
    where = f" (query {quoted(of[0])}, passage {quoted(of[1])})" if of else ""
    raise DataError.at(
        path,
        number,
        f"the grade {quoted(token)} is not {whole}{where}; grades are integers, above 0 is relevant",
    )


def _judgements(judged: dict[str, dict[str, int]], path: Path) -> Qrels:
    if not judged:
        raise DataError.at(path, None, "the file holds no judgements; name the qrels of the right split")
    return qrels_of(judged)


def _read_json(path: Path, head: str) -> Qrels:
    """Read ``{query: {passage: grade}}``, or objects with query, passage and grade; lines or an array."""
    is_array, is_line = head.lstrip().startswith("["), head.rstrip().endswith("}")
    first: dict[str, object] = {}
    if is_array:
        _, first = next(read_objects(path), (1, {}))
    elif is_line:
        first = parse_object(head, path, 1)
    keys = list(first)
    places = judgement_header(keys)
    if places is not None:
        query_key, passage_key, grade_key = (keys[place] for place in places)
        judged: dict[str, dict[str, int]] = {}
        for line, row in read_objects(path, split=False):
            fields = Fields(path, line, row)
            query, passage = fields.id(query_key), fields.id(passage_key)
            if passage in judged.setdefault(query, {}):
                raise fields.refuse(f"passage {quoted(passage)} is judged twice for query {quoted(query)}")
            judged[query][passage] = _grade(json.dumps(fields.required(grade_key)), path, line)
        return _judgements(judged, path)
    judgements: dict[str, dict[str, int]] = {}
    for line, value in read_json_lines(path) if is_line and not is_array else [(1, read_json(path))]:
        if not isinstance(value, dict) or not all(isinstance(judged, dict) for judged in value.values()):
            seen = ", ".join(map(quoted, list(value if isinstance(value, dict) else keys)[:12]))
            raise DataError.at(
                path,
                line,
                'JSON qrels are one object {"query": {"passage": grade, …}, …}, or objects of 3 or 4 keys '
                f"with a query, a passage and a grade; found the keys {seen or 'none'}",
            )
        refuse_table(value, path, line)
        for query, judged in value.items():
            if query in judgements:
                raise DataError.at(path, line, f"the query {quoted(query)} stands twice; join the two")
            judgements[query] = {
                passage: _grade(json.dumps(grade), path, line, (query, passage))
                for passage, grade in judged.items()
            }
    return _judgements(judgements, path)


def qrels_of(judgements: dict[str, dict[str, int]]) -> Qrels:
    """Return the columns of ``{query: {passage: grade}}``, order kept."""
    rows: dict[str, int] = {}
    passages = [rows.setdefault(p, len(rows)) for judged in judgements.values() for p in judged]
    grades = [grade for judged in judgements.values() for grade in judged.values()]
    lengths = np.asarray([len(judged) for judged in judgements.values()], dtype=np.int64)
    return Qrels(
        query_ids=list(judgements),
        passage_ids=list(rows),
        offsets=offsets_of(lengths),
        passages=np.asarray(passages, dtype=np.int32),
        grades=np.asarray(grades, dtype=np.int32),
    )
