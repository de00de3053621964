"""Which entity a question asks about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError
from dretrieve.text.beir import Query
from dretrieve.text.entities import asked_entities, beginning, between, folded

NAMES = ["Ada Lovelace", "Bo", "Élise d'Arc", "Anna (saint)"]


@pytest.mark.parametrize(
    "frame",
    [
        "Where was {} born?",
        "Who is {}'s child?",
        "Who founded {}?",
        "Which country is {} located in?",
        "{}: who",
    ],
)
def test_what_all_questions_share_is_not_the_entity(frame):
    assert list(between([frame.format(name) for name in NAMES])) == NAMES


def test_names_that_begin_and_end_alike_stay_whole():
    names = ["Anna Stone", "Ann Milestone", "Andrew Limestone"]
    assert list(between([f"Where was {name} born?" for name in names])) == names


def test_a_question_alone_names_nothing():
    assert list(between(["Where was Bo born?"])) == [""]
    assert list(between([])) == []


@given(st.lists(st.text(alphabet="ab ", max_size=6), min_size=1, max_size=5))
def test_beginning_is_the_longest_that_all_share(texts):
    found = beginning(texts)
    assert all(text.startswith(found) for text in texts)
    longer = [text[: len(found) + 1] for text in texts]
    assert len(set(longer)) > 1 or min(map(len, texts)) == len(found)


def test_questions_are_grouped_by_folded_entity_within_relations():
    rows = [("1", "Where was Bo born?", "P19"), ("2", "Where was Al born?", "P19")]
    rows += [("3", "Who founded BO ?", "P112"), ("4", "Who founded Cy?", "P112")]
    queries = [Query(name, text, ("x",), fields={"relation": relation}) for name, text, relation in rows]
    found = asked_entities(queries, "eq")
    assert {entity: [query.id for query in some] for entity, some in found.items()} == {
        "bo": ["1", "3"],
        "al": ["2"],
        "cy": ["4"],
    }
    assert folded("  New   York ") == "new york"


@pytest.mark.parametrize(
    ("query", "lacking"),
    [
        (Query("7", "who?", ("x",)), "field 'relation'"),
        (Query("7", "who?", fields={"relation": "P1"}), "answers"),
    ],
)
def test_questions_that_cannot_be_used_are_named(query, lacking):
    with pytest.raises(
        DataError, match=f"--entities eq: the question '7' has no {lacking}; leave the set out"
    ):
        asked_entities([query], "eq")
