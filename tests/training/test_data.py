from __future__ import annotations

import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.training.data import DataSpec, open_set, parse_data
from dretrieve.types import Silent


def test_short_words():
    assert parse_data("work/squad:train") == DataSpec(path="work/squad:train", name="squad:train")
    assert parse_data("hard.jsonl") == DataSpec(path="hard.jsonl", name="hard")


def test_long_words():
    word = "name=nq,path=work/nq,split=train,weight=4,sample=100,phase=general"
    assert parse_data(word) == DataSpec(
        name="nq", path="work/nq", split="train", weight=4.0, sample=100, phase="general"
    )
    assert parse_data("path=a/hard.jsonl,corpus=b").name == "hard"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("path=a,colour=red", r"'colour=red' is not KEY=VALUE; keys are path, name"),
        ("path=a,path=b", "path is given twice"),
        ("name=a", "path=DIR or path=EXAMPLES.jsonl is missing"),
        ("path=a,weight=much", "weight= takes a number"),
        ("path=a,weight=0", "must be above 0"),
        ("path=a,sample=-1", "not below 0"),
    ],
)
def test_words_that_make_no_sense(word, message):
    with pytest.raises(UsageError, match=message):
        parse_data(word)


def test_a_split_without_hard_negatives(tiny_collection):
    found = open_set(parse_data(f"{tiny_collection}:train"), 1, Silent())
    assert len(found.examples) == 6
    assert found.examples[0].positive_document_ids == ("bees-0",)
    assert all(not example.negative_document_ids for example in found.examples)
    assert len(found.passage_rows()) == 6


def test_a_sample_is_drawn_by_the_seed_and_keeps_the_order(tiny_collection):
    word = f"path={tiny_collection},split=train,sample=3"
    one, same, other = (
        [e.query_id for e in open_set(parse_data(word), seed, Silent()).examples] for seed in (1, 1, 5)
    )
    every = [e.query_id for e in open_set(parse_data(f"{tiny_collection}:train"), 1, Silent()).examples]
    assert one == same
    assert one != other
    assert one == [name for name in every if name in one]


def test_judged_passages_that_are_missing_are_said_and_left_out(tiny_collection):
    notes = []

    class Notes(Silent):
        def note(self, text):
            notes.append(text)

    qrels = tiny_collection / "qrels" / "train.tsv"
    qrels.write_text(qrels.read_text() + "q-bees-0\tnowhere\t1\nq-tides-0\tgone\t1\n")
    found = open_set(parse_data(f"{tiny_collection}:train"), 1, Notes())
    assert found.examples[0].positive_document_ids == ("bees-0",)
    assert any("2 judged passages are not in the collection" in note for note in notes)


def test_examples_that_name_a_passage_of_another_collection(tiny_collection, tmp_path):
    path = tmp_path / "hard.jsonl"
    path.write_text('{"query_id": "q", "query_text": "x", "positive_document_ids": ["nowhere"]}\n')
    found = open_set(parse_data(f"path={path},corpus={tiny_collection}"), 1, Silent())
    with pytest.raises(DataError, match="names passage 'nowhere', which its collection lacks"):
        found.passage_rows()


def test_options_of_the_other_kind(tiny_collection, tmp_path):
    path = tmp_path / "hard.jsonl"
    path.write_text('{"query_id": "q", "query_text": "x", "positive_document_ids": ["bees-0"]}\n')
    with pytest.raises(UsageError, match="split= belongs to a collection"):
        open_set(parse_data(f"path={path},split=train"), 1, Silent())
    with pytest.raises(UsageError, match="corpus= belongs to examples"):
        open_set(parse_data(f"path={tiny_collection},split=train,corpus=x"), 1, Silent())


def test_a_collection_that_moved_is_named(tiny_collection, tmp_path):
    path = tmp_path / "hard.jsonl"
    path.write_text('{"query_id": "q", "query_text": "x", "positive_document_ids": ["bees-0"]}\n')
    with pytest.raises(UsageError, match="does not say which collection"):
        open_set(parse_data(str(path)), 1, Silent())


def test_examples_that_are_not_there_are_missing_not_a_wrong_option(tmp_path):
    spec = parse_data(f"name=nq,path={tmp_path}/mined.jsonl,corpus={tmp_path}")
    with pytest.raises(PreconditionError, match=r"mined.jsonl does not exist; make it with `dretrieve mine"):
        open_set(spec, 1, Silent())
