from __future__ import annotations

import json

import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.text.cache import reading_once
from dretrieve.text.records import read_queries
from dretrieve.training.data import DataSpec, open_set, parse_data
from dretrieve.types import Silent
from tests.common import Told


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
        ("path=a,weight=much", "weight=much: expected a number above 0"),
        ("path=a,weight=0", "weight=0: expected a number above 0"),
        ("path=a,sample=-1", "sample=-1: expected a whole number from 0"),
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


def test_a_split_that_many_ask_for_is_read_once_until_it_changes(tiny_collection, monkeypatch):
    reads = []
    monkeypatch.setattr(
        "dretrieve.text.collection.read_queries", lambda *words: reads.append(words) or read_queries(*words)
    )
    qrels = tiny_collection / "qrels" / "train.tsv"
    with reading_once():
        for name in ("a", "b"):
            found = open_set(parse_data(f"name={name},path={tiny_collection},split=train"), 1, Silent())
            assert (found.spec.name, len(found.examples)) == (name, 6)
        assert len(reads) == 1
        qrels.write_text(qrels.read_text().replace("q-bees-0\tbees-0\t1\n", ""))
        found = open_set(parse_data(f"path={tiny_collection},split=train"), 1, Silent())
        assert (len(reads), len(found.examples)) == (1, 5), "of the files only one has changed"


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
    notes = Told()
    qrels = tiny_collection / "qrels" / "train.tsv"
    qrels.write_text(qrels.read_text() + "q-bees-0\tnowhere\t1\nq-tides-0\tgone\t1\n")
    found = open_set(parse_data(f"{tiny_collection}:train"), 1, notes)
    assert found.examples[0].positive_document_ids == ("bees-0",)
    assert any("2 judged passages are not in the collection" in line for line in notes.lines)


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


def test_examples_that_are_not_there_are_missing_not_a_wrong_option(tmp_path):
    spec = parse_data(f"name=nq,path={tmp_path}/mined.jsonl,corpus={tmp_path}")
    with pytest.raises(PreconditionError, match=r"mined.jsonl does not exist; make it with `dretrieve mine"):
        open_set(spec, 1, Silent())


def test_examples_with_several_lines_of_a_query_are_known_as_such(tiny_collection, tmp_path):
    """What was trained when each line had its own positives alone is trained again."""
    path, line = (
        tmp_path / "own.jsonl",
        '{"query_id": "q", "query_text": "x", "positive_document_ids": ["%s"]}\n',
    )
    spec, found = parse_data(f"path={path},corpus={tiny_collection}"), []
    for passages in (["bees-0"], ["bees-0", "bees-1"]):
        path.write_text("".join(line % passage for passage in passages))
        found.append(open_set(spec, 1, Silent()).fingerprint.endswith(":lines"))
    assert found == [False, True]


def write_examples_of(collection, *changes):
    """Write examples of the topics' first queries into the collection, two hard negatives each."""
    lines = []
    for topic, change in zip(("bees", "tides", "bread"), changes, strict=False):
        negatives = [f"{topic}-3", f"{topic}-4"]
        example = {"query_id": f"q-{topic}-0", "query_text": topic, "positive_document_ids": [f"{topic}-0"]}
        lines.append(json.dumps(example | {"negative_document_ids": negatives} | change) + "\n")
    (collection / "examples.jsonl").write_text("".join(lines))


TAUGHT = {"positive_scores": [9.5], "negative_scores": [2.0, -1.5]}


def test_a_prepared_collection_brings_its_hard_negatives(tiny_collection):
    """A negative that the split judges relevant is none."""
    with (tiny_collection / "qrels/train.tsv").open("a") as qrels:
        qrels.write("q-tides-0\ttides-1\t1\n")
    plain = open_set(parse_data(f"{tiny_collection}:train"), 1, Silent())
    write_examples_of(tiny_collection, {}, {"negative_document_ids": ["tides-1", "chess-1"]})
    notes = Told()
    found = open_set(parse_data(f"{tiny_collection}:train"), 1, notes)
    assert "tiny:train: examples.jsonl brings hard negatives for 2 of 6 queries" in notes.lines
    assert {of.query_id: of.negative_document_ids for of in found.examples if of.negative_document_ids} == {
        "q-bees-0": ("bees-3", "bees-4"), "q-tides-0": ("chess-1",)
    }  # fmt: skip
    assert [of.positive_document_ids for of in found.examples] == [
        of.positive_document_ids for of in plain.examples
    ]
    assert found.fingerprint != plain.fingerprint
    notes = Told()
    other = open_set(parse_data(f"{tiny_collection}:dev"), 1, notes)
    assert not any(of.negative_document_ids for of in other.examples)
    assert notes.lines == []


def test_a_teachers_scores_are_used_or_named(tiny_collection):
    spec = parse_data(f"{tiny_collection}:train")
    write_examples_of(tiny_collection, TAUGHT)
    notes = Told()
    unused = open_set(spec, 1, notes)
    assert not unused.taught
    assert any("nothing is learned from them without --distil-weight" in line for line in notes.lines)
    with pytest.raises(DataError, match=r"examples.jsonl: query 'q-tides-0' has no scores; --distil-weight"):
        open_set(spec, 1, Silent(), taught=True)
    path = tiny_collection / "examples.jsonl"
    found = open_set(parse_data(f"path={path},corpus={tiny_collection}"), 1, Silent(), taught=True)
    assert found.taught
    assert found.examples[0].negative_scores == (2.0, -1.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "line 2: query 'q-tides-0' has no scores; --distil-weight needs a teacher's"),
        ({"negative_scores": [30, 20]}, "line 2: .* 'negative_scores' only, those of the run"),
        ({"positive_scores": [30]}, "line 2: .* 'positive_scores' without 'negative_scores'"),
        ({"positive_scores": [30], "negative_scores": [1]}, "line 2: 'negative_scores' must hold 2 numbers"),
        ({"positive_scores": [True], "negative_scores": [1, 2]}, "line 2: 'positive_scores' must hold 1"),
    ],
)
def test_partial_scores_are_refused_by_line(tiny_collection, change, message):
    write_examples_of(tiny_collection, TAUGHT, change)
    word = f"path={tiny_collection / 'examples.jsonl'},corpus={tiny_collection}"
    with pytest.raises(DataError, match=message):
        open_set(parse_data(word), 1, Silent(), taught=True)


def test_another_tools_training_file_is_prepared_first(tmp_path):
    path = tmp_path / "flag.jsonl"
    path.write_text('{"query": "q", "pos": ["a"], "neg": ["b"], "pos_scores": [1], "neg_scores": [0]}\n')
    with pytest.raises(DataError, match=r"flag.jsonl is a training file of another tool.* dretrieve prepare"):
        open_set(parse_data(str(path)), 1, Silent())


def test_fields_that_the_method_reads_come_from_the_lines_or_the_word(tiny_collection, tmp_path):
    queries = tiny_collection / "queries.jsonl"
    lines = [
        json.loads(line) | {"topic": "law", "answers": ["wax"]} for line in queries.read_text().splitlines()
    ]
    queries.write_text("".join(json.dumps(line) + "\n" for line in lines))
    word = f"path={tiny_collection},split=train"
    plain = open_set(parse_data(word), 1, Silent())
    read = ("answers", "domain", "topic")
    found = open_set(parse_data(f"{word},domain=old", read), 1, Silent(), columns=read)
    assert [found.examples[0].fields[name] for name in read] == [("wax",), "old", "law"]
    assert found.columns == read
    other = open_set(parse_data(f"{word},domain=new", read), 1, Silent(), columns=read)
    assert len({plain.fingerprint, found.fingerprint, other.fingerprint}) == 3
    example = {"query_id": "q", "query_text": "x", "positive_document_ids": ["bees-0"], "domain": "own"}
    path = tmp_path / "hard.jsonl"
    path.write_text(json.dumps(example) + "\n")
    word = f"path={path},corpus={tiny_collection}"
    own = open_set(parse_data(word, ("domain",)), 1, Silent(), columns=("domain",))
    assert own.examples[0].fields == {"domain": "own"}
    path.write_text(json.dumps(example | {"query_id": "q-bees-0"}) + "\n")
    own = open_set(parse_data(word), 1, Silent(), columns=read)
    assert [own.examples[0].fields[name] for name in read] == [("wax",), "own", "law"]
    path.write_text(json.dumps(example) + "\n")
    with pytest.raises(UsageError, match=r"domain=law: .*hard.jsonl gives query 'q' a 'domain' of its own"):
        open_set(parse_data(f"{word},domain=law", ("domain",)), 1, Silent(), columns=("domain",))
    with pytest.raises(UsageError, match="'domain=law' is not KEY=VALUE"):
        parse_data(f"{word},domain=law")
