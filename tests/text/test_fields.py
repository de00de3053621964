"""Keys of a record: every wrong type is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dretrieve.errors import DataError
from dretrieve.text.fields import word_of
from dretrieve.text.records import read_corpus
from tests.common import lines


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"title": "t", "text": "x"}, r"no id \(_id, .*\) among its keys 'title', 'text'"),
        ({"_id": "a", "title": "t"}, r"no text \(text, .*\) among its keys '_id', 'title'"),
        ({"_id": None, "text": "x"}, r"'_id' is null \(None\); ids are strings"),
        ({"_id": 1.5, "text": "x"}, r"'_id' is a number \(1.5\); ids are strings"),
        ({"_id": True, "text": "x"}, r"'_id' is a boolean"),
        ({"_id": "", "text": "x"}, "the id '' is empty"),
        ({"_id": "a b", "text": "x"}, "the id 'a b' holds white space or a NUL, so it cannot stand in a run"),
        ({"_id": "a\n", "text": "x"}, "holds white space"),
        ({"_id": "a\tb", "text": "x"}, "holds white space"),
        ({"_id": "a\x00b", "text": "x"}, "holds white space or a NUL"),
        ({"_id": "a\u00a0b", "text": "x"}, "holds white space"),
        ({"_id": "a", "text": None}, "'text' is null, expected a string"),
        ({"_id": "a", "text": ["x"]}, "'text' is an array, expected a string"),
        ({"_id": "a", "title": 3, "text": "x"}, "'title' is a number, expected a string"),
        ('{"_id": 007, "text": "x"}', "not valid JSON"),
    ],
)
def test_broken_records_name_their_line(tmp_path: Path, row: object, message: str) -> None:
    path = lines(tmp_path / "corpus.jsonl", {"_id": "fine", "title": "", "text": "x"}, row)
    with pytest.raises(DataError, match=rf"corpus\.jsonl, line 2: .*{message}"):
        list(read_corpus(path))


def test_integer_ids_become_their_decimal_string(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "corpus.jsonl", {"_id": 12, "title": None, "text": "x"}, {"_id": "012", "text": "y"}
    )
    assert [record.id for record in read_corpus(path)] == ["12", "012"]


def test_words_are_spelled_in_any_way() -> None:
    spelled = {
        "passage_id": ("passageId", "Passage-ID", '"passage id"', "PASSAGEID"),
        "question_id": ("questionId", "QuestionID"),
        "qid": ("q_id", "qId", "Q-ID"),
        "docno": ("DocNo", "doc_no"),
        "topic_id": ("topicId", "topicid"),
        "id": ("ID", " Id"),
        "_id": ("_id", "_ID"),
        "my_note": ("my note", "My-Note"),
    }
    for word, keys in spelled.items():
        assert {*map(word_of, keys)} == {word}
