"""Several collections over one corpus: what becomes one, what stays apart, where judgements go."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.metrics.answers import Answers
from dretrieve.store.stage import Stage
from dretrieve.text.collection import Collection
from dretrieve.text.collection_writer import CollectionWriter
from dretrieve.text.join import Joiner, content_key, parse_sets
from dretrieve.text.join_options import JoinOptions
from dretrieve.types import Record


def collection(folder: Path, passages: dict, queries: dict | None = None, **qrels: list) -> Path:
    """Write a collection: id to (title, text); id to line; split to judgements."""
    folder.mkdir(parents=True)
    rows = [{"_id": name, "title": title, "text": text} for name, (title, text) in passages.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if queries:
        rows = [{"_id": name, **line} for name, line in queries.items()]
        (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, judged in qrels.items():
        path = folder / "qrels" / f"{split}.tsv"
        path.parent.mkdir(exist_ok=True)
        lines = ["\t".join(map(str, row)) for row in judged]
        path.write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


def joined(folder: Path, *words: object, **options) -> tuple[Collection, CollectionWriter]:
    stage = Stage(folder, "folder", "prepare")
    with CollectionWriter(stage) as writer:
        holds = lambda query: Answers(query.answers, regex=query.answers_are_regex).found_in  # noqa: E731
        joiner = Joiner(writer, JoinOptions(**options), holds, lambda: None)
        joiner.write(parse_sets([str(word) for word in words]))
    return Collection(folder), writer


def texts(made: Collection) -> dict[str, tuple[str, str]]:
    store = made.corpus()
    return {record.id: (record.title, record.text) for record in store.records(0, len(store))}


def judged(made: Collection, split: str) -> dict[tuple[str, str], int]:
    qrels = made.qrels(split)
    return {
        (name, qrels.passage_ids[int(qrels.passages[place])]): int(qrels.grades[place])
        for row, name in enumerate(qrels.query_ids)
        for place in range(int(qrels.offsets[row]), int(qrels.offsets[row + 1]))
    }


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two sets: one passage in both, one id for two texts, one question id for two questions."""
    one = collection(
        tmp_path / "one",
        {"1": ("Bees", "Bees fly."), "2": ("Tides", "The moon.")},
        {"q": {"text": "who flies", "answers": ["bees"], "split": "train"}},
        train=[("q", "1", 1)],
    )
    other = collection(
        tmp_path / "other",
        {"2": ("Salt", "From the sea."), "b": ("Bees", "Bees fly."), "c": ("Bees", "Bees  fly !")},
        {"q": {"text": "what is salt"}, "r": {"text": "who flies too"}},
        test=[("q", "2", 2), ("r", "b", 1), ("r", "c", 2), ("r", "gone", 1)],
    )
    return one, other


def test_equal_passages_are_one_and_judgements_follow(two, tmp_path):
    made, writer = joined(tmp_path / "joined", *two)
    assert texts(made) == {
        "1": ("Bees", "Bees fly."),
        "2": ("Tides", "The moon."),
        "other:2": ("Salt", "From the sea."),
        "c": ("Bees", "Bees  fly !"),
    }
    assert made.splits == ["one-train", "other-test"]
    assert judged(made, "one-train") == {("q", "1"): 1}
    assert judged(made, "other-test") == {
        ("other:q", "other:2"): 2,
        ("r", "1"): 1,
        ("r", "c"): 2,
        ("r", "gone"): 1,
    }
    assert writer.counts["passages_joined"] == 1
    assert writer.notes == [
        "1 passages took their set's name before their id, which an earlier set uses",
        "1 queries took their set's name before their id, which an earlier set uses",
    ]
    query = made.queries("one-train").queries[0]
    assert (query.answers, query.fields["split"]) == (("bees",), "one-train")


def test_letters_join_what_was_cut_into_words_in_two_ways(two, tmp_path):
    made, writer = joined(tmp_path / "joined", *two, equal="letters")
    assert set(texts(made)) == {"1", "2", "other:2"}
    assert writer.counts["passages_joined"] == 2
    # "b" and "c" became "1", judged 1 and 2: the better one counts.
    assert judged(made, "other-test") == {("other:q", "other:2"): 2, ("r", "1"): 2, ("r", "gone"): 1}


def test_what_a_set_judges_but_does_not_hold_is_nothing_of_another_set(two, tmp_path):
    third = collection(
        tmp_path / "third",
        {"9": ("Salt", "Of the earth.")},
        {"s": {"text": "which salt"}},
        test=[("s", "9", 1), ("s", "1", 1), ("s", "c", 1), ("q", "9", 1), ("lost", "9", 1)],
    )
    made, _ = joined(tmp_path / "joined", *two, third)
    held = {("s", "9"): 1, ("third:q", "9"): 1, ("lost", "9"): 1}
    assert judged(made, "third-test") == held | {("s", "third:1"): 1, ("s", "third:c"): 1}


@pytest.mark.parametrize("order", [1, -1])
def test_judgements_without_queries_are_refused_rather_than_lost(two, tmp_path, order):
    bare = collection(tmp_path / "bare", {"7": ("Ice", "Cold.")}, test=[("q", "7", 1)], dev=[("q", "7", 1)])
    message = r"bare has judgements \(dev, test\) but no queries.jsonl that they are about; put its queries"
    with pytest.raises(DataError, match=message) as found:
        joined(tmp_path / "joined", *[two[0], bare][::order])
    assert found.value.exit_code == 4
    shutil.rmtree(bare / "qrels")
    made, _ = joined(tmp_path / "other", two[0], bare)
    assert "7" in texts(made)


def test_a_set_without_passages_judges_those_of_the_others(two, tmp_path):
    asked = tmp_path / "asked"
    (asked / "qrels").mkdir(parents=True)
    (asked / "queries.jsonl").write_text('{"_id": "n", "text": "which moon"}\n')
    (asked / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nn\t2\t1\n")
    made, _ = joined(tmp_path / "joined", *two, asked)
    assert judged(made, "asked-dev") == {("n", "2"): 1}


def test_a_passage_without_letters_is_itself():
    keys = {content_key(Record("x", "", text), "letters") for text in ("?", "!", "")}
    assert len(keys) == 3
    assert content_key(Record("x", "A b", "C."), "letters") == content_key(Record("y", "ab", "c"), "letters")
    assert content_key(Record("x", "a", "bc"), "letters") != content_key(Record("y", "ab", "c"), "letters")


def test_the_same_question_in_two_sets_is_one_only_when_all_of_it_is(tmp_path):
    line = {"text": "who", "answers": ["x"]}
    one = collection(tmp_path / "one", {"1": ("a", "b")}, {"q": line}, test=[("q", "1", 1)])
    same = collection(tmp_path / "same", {"1": ("a", "b")}, {"q": line}, test=[("q", "1", 1)])
    other = collection(
        tmp_path / "other", {"1": ("a", "b")}, {"q": line | {"answers": ["y"]}}, test=[("q", "1", 1)]
    )
    made, _ = joined(tmp_path / "joined", one, same, other)
    assert [(query.id, query.answers) for query in made.queries().queries] == [
        ("q", ("x",)),
        ("other:q", ("y",)),
    ]
    assert judged(made, "same-test") == {("q", "1"): 1}
    assert judged(made, "other-test") == {("other:q", "1"): 1}


def test_an_id_whose_other_name_is_taken_is_an_error(tmp_path):
    one = collection(tmp_path / "one", {"1": ("a", "b"), "two:1": ("c", "d")})
    two = collection(tmp_path / "two", {"1": ("e", "f")})
    with pytest.raises(
        DataError, match=r"the ids '1' and 'two:1' both stand for something else; rename the set"
    ):
        joined(tmp_path / "joined", one, two)


def test_questions_about_titles(tmp_path):
    corpus = collection(
        tmp_path / "wiki",
        {
            "1": ("Bo Stone", "She was born in Rome."),
            "2": ("bo stone", "A painter from Rome, not Oslo."),
            "3": ("Al Reed", "Nobody knows."),
        },
        {"w": {"text": "anything"}},
        dev=[("w", "1", 1)],
    )
    rows = [("a", "Where was Bo Stone born?", "Rome", "P19"), ("b", "Where was Al Reed born?", "Rome", "P19")]
    rows += [("c", "Who owns Cy?", "x", "P127"), ("d", "Who owns Al Reed?", "nobody", "P127")]
    asked = tmp_path / "asked.jsonl"
    lines = [
        {"_id": name, "text": text, "answers": [answer], "relation": relation, "split": "train"}
        for name, text, answer, relation in rows
    ]
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made, writer = joined(tmp_path / "joined", corpus, f"eq={asked}", entities=("eq",))
    assert judged(made, "eq") == {("a", "1"): 1, ("a", "2"): 1, ("d", "3"): 1}
    assert [query.fields["split"] for query in made.queries("eq").queries] == ["eq", "eq"]
    assert made.splits == ["eq", "wiki-dev"]
    assert writer.notes == [
        "eq: 2 of 4 questions are about the title of a passage that holds an answer; "
        "by relation: P127 1, P19 1"
    ]


def test_entities_of_no_set_and_of_a_set_without_questions(two, tmp_path):
    with pytest.raises(UsageError, match="--entities eq: there is no such set; there are one, other"):
        joined(tmp_path / "joined", *two, entities=("eq",))
    bare = collection(tmp_path / "bare", {"1": ("a", "b")})
    with pytest.raises(DataError, match="--entities bare: the set has no queries"):
        joined(tmp_path / "joined", two[0], bare, entities=("bare",))


def test_examples_are_left_out_and_said_so(two, tmp_path):
    (two[0] / "examples.jsonl").write_text("")
    _, writer = joined(tmp_path / "joined", *two)
    assert "one: its examples.jsonl is not joined; mine negatives in the joined corpus" in writer.notes


def test_names_of_sets(tmp_path):
    (tmp_path / "a=b").mkdir()
    found = parse_sets([f"nq={tmp_path}/x", f"{tmp_path}/squad.v1", str(tmp_path / "y.jsonl.gz")])
    assert found == {"nq": tmp_path / "x", "squad": tmp_path / "squad.v1", "y": tmp_path / "y.jsonl.gz"}
    with pytest.raises(UsageError, match="'a=b' cannot name a set; write NAME="):
        parse_sets([str(tmp_path / "a=b")])
    with pytest.raises(UsageError, match="two of the joined collections are called x; name one of them"):
        parse_sets([f"{tmp_path}/x", "x=other"])
    with pytest.raises(PreconditionError, match=r"'beir:scifact' does not exist; .*: prepare each of them"):
        parse_sets(["beir:scifact", f"{tmp_path}/x"])
