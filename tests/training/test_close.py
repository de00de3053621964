"""``--data …,run=RUN,depth=K``: which queries stay, with which passages, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.text.collection import Collection
from dretrieve.text.examples import Example
from dretrieve.training.batches import Choosing, Plan, SetShare, compose
from dretrieve.training.close import with_close
from dretrieve.training.data import open_set, parse_data
from dretrieve.training.processes import Processes
from dretrieve.training.sets import TokenCache, in_rows
from dretrieve.types import Silent
from tests.common import Told

QUERIES = ("q-bees-0", "q-tides-0", "q-bread-0", "q-chess-0", "q-volcano-0", "q-printing-0")


@pytest.fixture
def run(tmp_path):
    """Three passages for each query but the last two: one has one, one has none."""
    lines = []
    for place, query in enumerate(QUERIES[:5]):
        names = ["printing-1", f"{query[2:]}", "bread-3"] if place < 4 else ["chess-2"]
        lines += [f"{query} Q0 {name} {rank} {9 - rank} t\n" for rank, name in enumerate(names, 1)]
    (tmp_path / "run.txt").write_text("".join(lines))
    return tmp_path / "run.txt"


def test_queries_get_what_was_found_for_them(tiny_collection, run, tmp_path):
    notes = Told()
    found = open_set(parse_data(f"path={tiny_collection},split=train,run={run},depth=2"), 1, notes)
    assert [of.close for of in found.examples[:2]] == [("printing-1", "bees-0"), ("printing-1", "tides-0")]
    assert [of.query_id for of in found.examples] == list(QUERIES[:5])
    assert notes.lines == [
        "tiny: 1 queries without a passage are left out",
        "tiny: 1 of 5 queries have fewer than 2 passages",
    ]
    tokenize = dict.fromkeys(("query", "passage"), lambda texts: [[1]] * len(texts))
    rows = in_rows(found, tokenize, TokenCache(tmp_path, "key", Processes()), Silent())
    named = {"printing-1", "bees-0", "tides-0", "bread-0", "chess-0", "chess-2"}
    assert set(rows.passages.text_ids) == named
    draw = Plan([SetShare(name="tiny", examples=5)], 5, 1).draw(0)
    batch = compose(rows, draw, Choosing(negatives=1, positives="first", seed=1))
    for row, own, positive in zip(draw.rows.tolist(), batch.own, batch.positives.tolist(), strict=True):
        example = found.examples[row]
        names = [rows.passages.text_ids[batch.passage_rows[column]] for column in own]
        assert tuple(names) == example.close
        judged = example.positive_document_ids[0]
        assert positive == (own[names.index(judged)] if judged in names else -1)
    assert len(set(batch.passage_rows.tolist())) == len(batch.passage_rows)
    assert batch.allowed.all()


def test_tokens_of_another_sample_are_not_taken(tiny_collection, tmp_path):
    words = parse_data(f"path={tiny_collection},split=train,sample=3")
    tokenize = dict.fromkeys(("query", "passage"), lambda texts: [[len(of.text)] for of in texts])
    for seed in (1, 5):
        found = open_set(words, seed, Silent())
        rows = in_rows(found, tokenize, TokenCache(tmp_path, "key", Processes()), Silent())
        assert rows.queries.ids.tolist() == [len(of.query_text) for of in found.examples]
        assert rows.queries.text_ids == [of.query_id for of in found.examples]


def test_all_judged_passages_among_the_close_ones_are_known(tiny_collection, run):
    file = tiny_collection / "qrels" / "train.tsv"
    file.write_text(file.read_text() + "q-bees-0\tprinting-1\t1\nq-bees-0\tchess-0\t1\n")
    found = open_set(parse_data(f"path={tiny_collection},split=train,run={run},depth=3"), 1, Silent())
    tokenize = dict.fromkeys(("query", "passage"), lambda texts: [[1]] * len(texts))
    rows = in_rows(found, tokenize, TokenCache(tiny_collection / "cache", "key", Processes()), Silent())
    draw = Plan([SetShare(name="tiny", examples=5)], 5, 1).draw(0)
    batch = compose(rows, draw, Choosing(negatives=1, positives="first", seed=1))
    place = [found.examples[row].query_id for row in draw.rows.tolist()].index("q-bees-0")
    columns = [rows.passages.text_ids[row] for row in batch.passage_rows]
    assert columns[batch.positives[place]] == "printing-1"  # the first that was found
    assert [columns[of] for of in np.flatnonzero(~batch.allowed[place])] == ["bees-0"]
    assert np.delete(batch.allowed, place, axis=0).all()


def test_without_a_run_the_judged_passages_are_close_or_none(tiny_collection):
    one, none = (
        open_set(parse_data(f"path={tiny_collection},split=train,depth={of}"), 1, Silent()) for of in (1, 0)
    )
    assert [of.close for of in one.examples] == [(query[2:],) for query in QUERIES]
    assert [of.close for of in none.examples] == [()] * 6
    assert none.passage_rows() == {}
    assert one.fingerprint != none.fingerprint


def test_without_a_run_close_passages_are_those_of_all_lines_of_a_query(tiny_collection):
    lines = [Example("q", "?", (name,)) for name in ("bees-0", "bees-1", "bees-0")]
    corpus = Collection.open(str(tiny_collection), "corpus").corpus()
    for of in with_close(lines, None, 3, corpus, "tiny", Silent()):
        assert of.close == ("bees-0", "bees-1")


def test_the_run_is_in_the_fingerprint(tiny_collection, run):
    word = f"path={tiny_collection},split=train,run={run},depth="
    prints = [open_set(parse_data(word + depth), 1, Silent()).fingerprint for depth in ("1", "2")]
    run.write_text(run.read_text().replace("printing-1", "printing-2"))
    prints.append(open_set(parse_data(f"{word}2"), 1, Silent()).fingerprint)
    assert len(set(prints)) == 3


def test_questions_need_no_judgements(tiny_collection, run):
    (tiny_collection / "qrels" / "train.tsv").unlink()
    path = tiny_collection / "queries.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(of | {"split": "train", "answers": ["x"]}) + "\n" for of in lines))
    columns = ("answers",)
    word = f"path={tiny_collection},split=train"
    found = open_set(parse_data(f"{word},run={run},depth=2", columns), 1, Silent(), columns=columns)
    assert len(found.examples) == 5
    assert {of.fields["answers"] for of in found.examples} == {("x",)}
    with pytest.raises(UsageError, match="no judgements"):
        open_set(parse_data(word), 1, Silent())
    path.write_text(
        path.read_text().replace('"answers": ["x"]', '"answers": ["x+"], "answers_are_regex": true')
    )
    again = open_set(parse_data(f"{word},run={run},depth=2", columns), 1, Silent(), columns=columns)
    assert not any("answers" in of.fields for of in again.examples), "no one learns to write an expression"


def test_judged_passages_become_answers(tiny_collection, run):
    (tiny_collection / "qrels" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq-bees-0\tbees-0\t2\nq-bees-0\tbees-1\t1\nq-bread-0\tbread-0\t0\n"
    )
    notes, columns = Told(), ("answers",)
    word = f"path={tiny_collection},split=train,run={run},depth=2,target=passage"
    found = open_set(parse_data(word, columns), 1, notes, columns=columns)
    assert [of.query_id for of in found.examples] == ["q-bees-0"]
    texts = found.examples[0].fields["answers"]
    assert [text[:23] for text in texts] == ["relevance: 2. bees 0 th", "relevance: 1. bees 1 th"]
    assert "tiny: 1 queries without a positive are left out" in notes.lines


def test_runs_that_do_not_fit_are_refused(tiny_collection, run):
    word = f"path={tiny_collection},split=train,run={run},depth=2"
    text = run.read_text()
    for other, error in (
        ("", "holds no hits"),
        (text.replace("q-", "other-"), "is of other questions"),
        (text.replace("printing-1", "none"), r"names passage 'none', which the collection lacks"),
    ):
        run.write_text(other)
        with pytest.raises(DataError, match=error):
            open_set(parse_data(word), 1, Silent())
    with pytest.raises(UsageError, match="how many passages of the run"):
        parse_data(f"path={tiny_collection},run={run}")
    with pytest.raises(UsageError, match=r"depth=x: expected a whole number from 0"):
        parse_data(f"path={tiny_collection},run={run},depth=x")
    with pytest.raises(UsageError, match=r"target=both: expected answers or passage"):
        parse_data(f"path={tiny_collection},depth=1,target=both")
