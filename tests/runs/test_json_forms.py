import io
import json

import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.metrics.answers import Answers
from dretrieve.runs.json_forms import read_json_run, write_json_run
from dretrieve.runs.read import read_run
from dretrieve.text.beir import Query
from dretrieve.types import Record
from tests.common import hits_of

HITS = [("a", 2.5), ("b", 1.5)]
CTXS = [
    {"id": "b", "title": "", "text": "t", "score": "1.5"},
    {"id": "a", "title": "", "text": "t", "score": "2.5"},
]


def read(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    return read_run(path)


@pytest.mark.parametrize(
    ("value", "query"),
    [
        ([{"question": "?", "answers": ["x"], "ctxs": CTXS}], "0"),
        ([{"id": "007", "question": "?", "ctxs": CTXS}], "007"),
        (
            {
                "12": {
                    "question": "?",
                    "contexts": [{"docid": "a", "score": "2.5"}, {"docid": "b", "score": 1.5}],
                }
            },
            "12",
        ),
        ({"q": {"a": 2.5, "b": 1.5}}, "q"),
    ],
)
def test_whole_files(tmp_path, value, query):
    assert hits_of(read(tmp_path, json.dumps(value))) == {query: HITS}
    assert hits_of(read(tmp_path, json.dumps(value, indent=1))) == {query: HITS}


def test_an_object_by_query_id_a_line(tmp_path):
    line = json.dumps({"q": dict(HITS)})
    assert hits_of(read(tmp_path, f'{line}\n{{"r": {{"b": 1}}}}\n')) == {"q": HITS, "r": [("b", 1)]}
    with pytest.raises(DataError, match="line 2: query 'q' stands twice"):
        read(tmp_path, f"{line}\n{line}\n")


def test_lines(tmp_path):
    results = [{"corpus_id": "a", "score": 2.5}, {"corpus_id": "b", "score": 1.5}]
    lines = [
        json.dumps(entry)
        for entry in ({"question": "?", "ctxs": CTXS}, {"query_id": "q", "results": results})
    ]
    assert hits_of(read(tmp_path, lines[0])) == {"0": HITS}
    assert hits_of(read(tmp_path, lines[1])) == {"q": HITS}
    with pytest.raises(
        DataError, match="line 2: some queries have an id and others none; give all one, or none"
    ):
        read(tmp_path, "\n".join(lines))


HIT = '{"qid": "q", "docno": "a", "score": 2.5}'


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize(
    ("rows", "by_rank"),
    [
        ([{"query_id": "q", "doc_id": "b", "score": 1.5},
          {"query_id": "q", "doc_id": "a", "score": 2.5}], False),
        ([{"qid": "q", "docno": "a", "score": "2.5", "rank": 7, "query": "x y"},
          {"qid": "q", "docno": "b", "score": "1.5", "rank": 0, "query": "x y"}], False),
        ([{"query": "q", "pid": "b", "rank": 1}, {"query": "q", "pid": "a", "rank": 0}], True),
    ],
)  # fmt: skip
def test_a_hit_a_row(tmp_path, rows, by_rank, array):
    rows = [*rows, {**rows[0], next(iter(rows[0])): 7}, *rows[2:]]
    run = read(tmp_path, json.dumps(rows) if array else "".join(json.dumps(row) + "\n" for row in rows))
    assert run.by_rank == by_rank
    assert list(hits_of(run)) == ["q", "7"]
    assert hits_of(run)["q"] == ([("a", 1.0), ("b", 0.5)] if by_rank else HITS)
    with pytest.raises(DataError, match="--run-format dpr was given, and the file has the form a hit a row"):
        read_run(tmp_path / "r.json", "dpr")


BY_ID = '{"q": {"a": 2.5, "b": 1.5}}'
CONTEXTS = json.dumps({"q": {"contexts": [{"docid": "a", "score": "2.5"}, {"docid": "b", "score": 1.5}]}})


@pytest.mark.parametrize(
    ("text", "form"),
    [(BY_ID, "ranx"), (CONTEXTS, "pyserini-json"), (json.dumps([{"id": "q", "ctxs": CTXS}]), "dpr")],
)
def test_the_form_that_is_named_must_stand_there(tmp_path, text, form):
    (tmp_path / "r.json").write_text(text)
    assert hits_of(read_run(tmp_path / "r.json", form)) == {"q": HITS}
    for other in {"ranx", "pyserini-json", "dpr"} - {form}:
        with pytest.raises(
            DataError, match=f"--run-format {other} was given, and the file has the form {form}"
        ):
            read_run(tmp_path / "r.json", other)
    with pytest.raises(DataError, match="expected 6 columns"):
        read_run(tmp_path / "r.json", "trec")


def test_scores_are_doubles(tmp_path):
    found = hits_of(
        read(tmp_path, '{"q": {"zed": 0.500000021, "abc": "0.500000022", "i": 16777217, "j": 16777216}}')
    )
    assert [passage for passage, _ in found["q"]] == ["i", "j", "abc", "zed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"question": "?"}]', "no list of hits: expected one of the keys ctxs, contexts, results"),
        (
            '[{"ctxs": [{"id": "a"}]}]',
            "needs an id (id, docid, corpus_id, passage_id, doc_id, pid, docno, psg_id, document_id)",
        ),
        ('[{"ctxs": [{"score": "1"}]}]', "hit 1 needs an id"),
        ('[{"ctxs": [{"id": "a", "score": "nan"}]}]', "the score is 'nan'; scores must be finite"),
        (
            '[{"ctxs": [{"id": "a", "score": 1}, {"id": "a", "score": 2}]}]',
            "passage 'a' stands twice for query '0'",
        ),
        ('[{"id": "q", "ctxs": []}, {"id": "q", "ctxs": []}]', "query 'q' stands twice"),
        ("[5]", "expected a JSON object with a question and its hits"),
        ('{"p": {"a": 1}, "q": 5}', "query 'q' needs an object {passage: score}, found a number"),
        (
            '{"default": {"test": {"q": {"a": 1}}}}',
            "'default' needs an object {passage: score}, found objects",
        ),
        ('{"mteb_version": "1", "scores": {}}', "a file of MTEB that is no run: its results hold measures"),
        ('{\n"mteb_model_metadata": {"revision": "x"}, "default": {}}', "a file of MTEB that is no run"),
        ('{"q": 5}', "or in every row one hit with query_id, doc_id and score; found 'q'"),
        (
            '{"qid": "q", "docno": "a", "docid": 7, "score": 1}',
            "names its passage once, found 'docno', 'docid'",
        ),
        (f"{HIT}\n{HIT}", "line 2: passage 'a' stands twice for query 'q'"),
        (
            f'{HIT}\n{{"qid": "q", "docno": "b"}}',
            "line 2: expected a hit with the keys of the first one (qid, doc",
        ),
        (f"{HIT}\n5", "line 2: expected a JSON object"),
        ('{"qid": "q", "docno": "a", "rank": 1.5}', "a rank is a whole number (1, 2, 3 …), found 1.5"),
        ('{"qid": "q", "docno": "a", "rank": -1}', "a rank is a whole number"),
        ('{"qid": "q", "docno": "a", "score": null}', "a score is a number, found null"),
        ('{"q": {"a": 1, "a": 2}}', "the key 'a' stands twice in one object"),
        ('{"q": {"a": 1e999}}', "the score is 'inf'; scores must be finite"),
        ('{"q": {"a": true}}', "a score is a number, found a boolean"),
        ('{"q": {"a": null}}', "a score is a number, found null"),
        ('{"q": {"a": "high"}}', "the score 'high' is not a number (query 'q', passage 'a')"),
        ('[{"id": ["q"], "ctxs": []}]', "an id is a string or a whole number, found an array"),
        ('{"q": {"a": 1}', "not valid JSON"),
    ],
)
def test_broken_json_runs(tmp_path, text, message):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


PANDAS = [  # to_json of a table by columns, and by rows' numbers
    {"qid": {"0": 1, "1": 1}, "docid": {"0": 5, "1": 7}, "score": {"0": 2.5, "1": 1.5}},
    {"0": {"qid": 1, "docid": 5, "score": 2.5}, "1": {"qid": 1, "docid": 7, "score": 1.5}},
]


@pytest.mark.parametrize("table", PANDAS)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_table_of_pandas_is_no_object_by_query_id(tmp_path, table, indent):
    """Before, its columns or its rows were queries, ``qid`` and ``docid`` passages, without a word."""
    with pytest.raises(DataError, match=r"a table by its columns or .*'qid, docid, score'.*orient='records'"):
        read(tmp_path, json.dumps(table, indent=indent))


@pytest.fixture
def run(tmp_path):
    return read(tmp_path, json.dumps({"q1": {"a": 2.5, "b": 1.5}, "q2": {"b": 3}}))


QUESTIONS = {"q1": Query("q1", "which river?", ("Nile",)), "q2": Query("q2", "é?", ("x",))}
RECORDS = {"a": Record("a", "River", "the Nile"), "b": Record("b", "", "the\nRhine")}


@pytest.mark.parametrize("dialect", ["dpr", "contriever", "pyserini-json"])
def test_the_dialects_are_written_and_read_back(tmp_path, run, dialect):
    path = tmp_path / "out.json"
    with path.open("w") as file:
        write_json_run(
            file, run, QUESTIONS, RECORDS.get, dialect=dialect,
            holds_answer=lambda query_id, record: Answers(QUESTIONS[query_id].answers).found_in(record.text),
        )  # fmt: skip
    assert hits_of(read_json_run(path)) == hits_of(run)
    text = path.read_text()
    first = json.loads(text.splitlines()[0]) if dialect == "contriever" else json.loads(text)
    entry = {"dpr": lambda: first[0], "contriever": lambda: first, "pyserini-json": lambda: first["q1"]}[
        dialect
    ]()
    assert entry["question"] == "which river?"
    hit = entry["contexts" if dialect == "pyserini-json" else "ctxs"][0]
    assert hit["score"] == "2.5"
    assert hit["hasanswer" if dialect == "contriever" else "has_answer"] is True


def test_what_cannot_be_written(run):
    file = io.StringIO()
    with pytest.raises(
        UsageError, match="unknown dialect 'kilt'; the dialects are dpr, contriever, pyserini-json, ranx"
    ):
        write_json_run(file, run, QUESTIONS, RECORDS.get, dialect="kilt")
    with pytest.raises(DataError, match="the run's query 'q1' is not among the questions"):
        write_json_run(file, run, {}, RECORDS.get)
    with pytest.raises(DataError, match="the run's passage 'a' is not in the corpus"):
        write_json_run(file, run, QUESTIONS, lambda _: None)


def test_an_array_on_one_line_may_be_longer_than_a_line_may_be(tmp_path, monkeypatch):
    for name in ("text.files", "text.json_files", "runs.lines"):
        monkeypatch.setattr(f"dretrieve.{name}.LONGEST_LINE", 1 << 10)
    monkeypatch.setattr("dretrieve.text.json_files.BUFFER", 64)
    text = json.dumps([{"id": str(row), "question": "?", "ctxs": CTXS} for row in range(40)])
    assert len(text) > 4 << 10
    assert hits_of(read(tmp_path, text)) == {str(row): HITS for row in range(40)}
