from __future__ import annotations

import gzip
import json

import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.jobs import inspect
from dretrieve.jobs.configs import base
from dretrieve.jobs.configs.convert_run import FORMS
from dretrieve.jobs.configs.inspect import InspectConfig
from dretrieve.jobs.convert_run import ConvertRunConfig, run
from dretrieve.runs.json_forms import DIALECTS
from dretrieve.runs.lines import RUN_FORMATS
from dretrieve.runs.read import read_run
from dretrieve.runs.write import WRITTEN_FORMS
from tests.common import Told, hits_of

TREC = "q1 Q0 d1 1 0.500000022 t\nq1 Q0 d2 2 0.500000021 t\nq2 Q0 d3 1 -7 t\n"


@pytest.fixture
def trec(tmp_path):
    (tmp_path / "r.trec").write_text(TREC)
    return tmp_path / "r.trec"


@pytest.fixture
def questions(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    passages = [{"_id": f"d{row}", "title": "T", "text": f"text {row}"} for row in (1, 2, 3)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    queries = [{"_id": f"q{row}", "text": f"what {row}?", "answers": [str(row)]} for row in (1, 2)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    return str(folder)


def convert(source, target, form, **changes):
    return run(ConvertRunConfig(run=source, output=target, output_format=form, **changes))


def hits(path, form="auto"):
    return hits_of(read_run(path, form))


def test_every_form_that_can_be_written_is_offered():
    assert (*WRITTEN_FORMS, *DIALECTS) == FORMS
    assert set(base.FORMS) == set(RUN_FORMATS)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "msmarco"])
def test_there_and_back(trec, questions, tmp_path, form):
    result = convert(trec, tmp_path / "there.gz", form, queries=questions)
    assert (result.state, result.counts) == ("converted", {"queries": 2, "hits": 3})
    named = {"contriever": "dpr"}.get(form, form)
    assert hits(tmp_path / "there.gz", named) == hits(tmp_path / "there.gz") == hits(trec)
    seen = inspect.run(InspectConfig(path=str(tmp_path / "there.gz")))
    assert (seen.problems, seen.kind, seen.facts["hits"]) == ((), "run", 3)
    convert(tmp_path / "there.gz", tmp_path / "back.trec", "trec")
    assert hits(tmp_path / "back.trec") == hits(trec)
    assert convert(trec, tmp_path / "there.gz", form, queries=questions).state == "up to date"


def test_the_lines(trec, tmp_path):
    expected = {
        "msmarco": "q1\td1\t1\nq1\td2\t2\nq2\td3\t1\n",
        "tevatron": "q1\td1\t0.500000022\nq1\td2\t0.500000021\nq2\td3\t-7\n",
        "ranx": '{\n"q1": {"d1": 0.500000022, "d2": 0.500000021},\n"q2": {"d3": -7.0}\n}\n',
    }
    for form, text in expected.items():
        convert(trec, tmp_path / f"r.{form}", form)
        assert (tmp_path / f"r.{form}").read_text() == text


def test_dpr_has_texts_and_tells_answers(trec, questions, tmp_path):
    convert(trec, tmp_path / "r.json.gz", "dpr", queries=questions)
    first, second = json.loads(gzip.decompress((tmp_path / "r.json.gz").read_bytes()))
    assert first["question"] == "what 1?"
    assert first["ctxs"][0] == {
        "id": "d1", "title": "T", "text": "text 1", "score": "0.500000022", "has_answer": True
    }  # fmt: skip
    assert [hit["has_answer"] for hit in (*first["ctxs"], *second["ctxs"])] == [True, False, False]


def test_ranks_are_written_as_scores_only_with_a_note(tmp_path):
    (tmp_path / "r.tsv").write_text("q1\td1\t1\nq1\td2\t2\n")
    progress = Told()
    run(ConvertRunConfig(run=tmp_path / "r.tsv", output=tmp_path / "r.trec", output_format="trec"), progress)
    assert (
        tmp_path / "r.trec"
    ).read_text() == "q1 Q0 d1 1 1 dretrieve-ranks\nq1 Q0 d2 2 0.5 dretrieve-ranks\n"
    assert read_run(tmp_path / "r.trec").by_rank
    assert "holds ranks and no scores: 1 / rank is written" in progress.lines[0]


def test_what_cannot_be_converted(trec, tmp_path):
    with pytest.raises(UsageError, match="--output-format kilt: expected trec or msmarco or tevatron or dpr"):
        convert(trec, tmp_path / "o", "kilt")
    with pytest.raises(
        UsageError, match="--output-format dpr holds the questions' texts and answers; add --queries"
    ):
        convert(trec, tmp_path / "o", "dpr")
    with pytest.raises(UsageError, match="is the run itself"):
        convert(trec, trec, "msmarco")
    (tmp_path / "r.json").write_text('{"#1": {"d": 1}}')
    with pytest.raises(DataError, match="the query id '#1' begins with #, as a comment does"):
        convert(tmp_path / "r.json", tmp_path / "o", "trec")
