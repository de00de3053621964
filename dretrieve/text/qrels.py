"""Reading and writing relevance judgements: TREC and MS MARCO (4 columns), BEIR (3 columns), a JSON object.

Lines are cut and comments left out as in runs (`dretrieve.text.run_lines`): at tabs where there are tabs, so
that ids with blanks stay whole. A header line is recognised by the name of its last column. Grades are whole
numbers; a passage judged 0 is kept, because judged and not relevant differs from not judged (`Judged@10`,
`Bpref`); negative grades too.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from dretrieve.errors import DataError
from dretrieve.store.atomic import replacing
from dretrieve.text.files import read_json, read_lines
from dretrieve.text.run_lines import found, split_line
from dretrieve.types import Qrels

GRADE = re.compile(r"[+-]?\d+")
GRADE_NAMES = frozenset(
    "score rel rels relevance label grade judgment judgement rating qrel relevancy".split()
)
SMALLEST, LARGEST = -(2**31), 2**31 - 1


def read_qrels(path: Path) -> Qrels:
    """Return the judgements at ``path``; queries and passages in order of first appearance.

    Raises:
        DataError: a wrong number of columns, a grade that is no whole number, a passage judged twice for a
            query, no judgements at all; names the line.
        PreconditionError: no such file.
    """
    queries: dict[str, dict[str, tuple[int, int]]] = {}
    columns, begun = 0, False
    for number, line in read_lines(path):
        parts = [part.decode() for part in split_line(line.encode())]
        if not parts:
            continue
        if not begun:
            begun = True
            if parts[0].startswith("{"):
                return _read_json(path)
            if parts[-1].lower() in GRADE_NAMES:
                continue
        columns = columns or len(parts)
        if len(parts) != columns or columns not in (3, 4):
            wanted = f"{columns} columns as on the lines before" if columns in (3, 4) else "3 or 4 columns"
            raise DataError.at(
                path,
                number,
                f"expected {wanted} (query passage grade, or query 0 passage grade), "
                f"found {found(line.encode())}",
            )
        if not all(parts):
            raise DataError.at(path, number, f"column {parts.index('') + 1} of {columns} is empty")
        judged = queries.setdefault(parts[0], {})
        if parts[-2] in judged:
            raise DataError.at(
                path,
                number,
                f"passage {parts[-2]!r} is judged twice for query {parts[0]!r} "
                f"(first on line {judged[parts[-2]][1]}); remove one of the two lines",
            )
        judged[parts[-2]] = (_grade(parts[-1], path, number), number)
    if not queries:
        raise DataError.at(path, None, "the file holds no judgements; name the qrels of the right split")
    return qrels_of({q: {p: grade for p, (grade, _) in judged.items()} for q, judged in queries.items()})


def _grade(token: str, path: Path, number: int | None) -> int:
    if GRADE.fullmatch(token) and SMALLEST < int(token) <= LARGEST:
        return int(token)
    raise DataError.at(
        path, number, f"the grade {token!r} is not a whole number; grades are integers, above 0 is relevant"
    )


def _read_json(path: Path) -> Qrels:
    """Read ``{query: {passage: grade}}``."""
    value = read_json(path)
    if not isinstance(value, dict) or not all(isinstance(judged, dict) for judged in value.values()):
        raise DataError.at(path, None, 'JSON qrels are one object {"query": {"passage": grade, …}, …}')
    judgements = {
        query: {passage: _grade(json.dumps(grade), path, None) for passage, grade in judged.items()}
        for query, judged in value.items()
    }
    if not judgements:
        raise DataError.at(path, None, "the file holds no judgements; name the qrels of the right split")
    return qrels_of(judgements)


def qrels_of(judgements: dict[str, dict[str, int]]) -> Qrels:
    """Return the columns of ``{query: {passage: grade}}``, order kept."""
    rows: dict[str, int] = {}
    passages = [rows.setdefault(p, len(rows)) for judged in judgements.values() for p in judged]
    grades = [grade for judged in judgements.values() for grade in judged.values()]
    lengths = [len(judged) for judged in judgements.values()]
    return Qrels(
        query_ids=list(judgements),
        passage_ids=list(rows),
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        passages=np.asarray(passages, dtype=np.int32),
        grades=np.asarray(grades, dtype=np.int32),
    )


def write_qrels(path: Path, qrels: Qrels, *, header: bool = True) -> None:
    """Write the BEIR form: three columns parted by tabs, with its header line unless told otherwise."""
    with replacing(path, text=True) as file:
        if header:
            file.write("query-id\tcorpus-id\tscore\n")
        for query, query_id in enumerate(qrels.query_ids):
            for row in range(int(qrels.offsets[query]), int(qrels.offsets[query + 1])):
                passage_id = qrels.passage_ids[int(qrels.passages[row])]
                file.write(f"{query_id}\t{passage_id}\t{qrels.grades[row]}\n")
