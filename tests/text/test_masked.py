"""Questions by masking: entities that rules find, masks that give nothing away, spans that fit together."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.text.masked import cloze, entities, spans
from dretrieve.types import Record


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("The tower of Banu Korel fell.", [("Banu Korel", "names")]),
        ("Banu Korel owes its walls to Xalo.", [("Banu Korel", "names"), ("Xalo", "names")]),
        ("Merchants carry salt.", []),
        ("“Merchants carry salt to Genoa’s harbour.”", [("Genoa", "names")]),
        ("The Bank of England rose.", [("Bank of England", "names")]),
        ("RESULTS: Half of them drank IL-6 and mRNA.", [("IL-6", "names"), ("mRNA", "names")]),
        ("It fell on 12 March 1999 and in May 2004.", [("12 March 1999", "dates"), ("May 2004", "dates")]),
        ("It fell in 1871.", [("1871", "dates")]),
        (
            "We saw 1,250 ships, 3.5% of 4 million.",
            [("1,250", "numbers"), ("3.5%", "numbers"), ("4 million", "numbers")],
        ),
        ("He and she and T cells saw it.", []),
    ],
)
def test_entities(sentence, found):
    assert [*entities(sentence)] == found


def test_the_entity_is_masked_wherever_it_stands_as_a_whole():
    text = "In 2 of 2,500 towns, 2 of 12 and 0.2 of all, there were bells."
    seen = {
        answer: question
        for turn in range(40)
        for question, answer, _ in cloze(Record(str(turn), "", text), 1)
    }
    assert seen["2"] == "In <extra_id_0> of 2,500 towns, <extra_id_0> of 12 and 0.2 of all, there were bells."
    assert set(seen) == {"2", "2,500", "12", "0.2"}


def test_sentences_are_drawn_without_return_and_the_same_for_the_same_passage():
    text = "The river Odra is long. Few ships reach Banu Korel now. So it is. They say that 12 mills stood."
    made = cloze(Record("a", "", text), 9)
    assert sorted(answer for _, answer, _ in made) == ["12", "Banu Korel", "Odra"]
    assert made == cloze(Record("a", "", text), 9)
    assert cloze(Record("a", "", text), 2) == made[:2]
    assert cloze(Record("a", "", text), 0) == []


@given(st.integers(5, 300), st.integers(1, 3))
def test_spans_and_answer_together_are_the_text(length, most):
    words = [f"w{number}" for number in range(length)]
    made = spans(Record("a", "", " ".join(words)), most)
    assert len(made) == most
    for text, answer, _ in made:
        lost = re.split(r"<extra_id_\d+>", answer)
        assert lost[0] == lost[-1] == ""
        whole = re.sub(
            r"<extra_id_(\d+)>", lambda mask, lost=lost: lost[int(mask[1]) + 1].strip(), text
        ).split()
        begin = int(whole[0][1:])
        assert whole == words[begin : begin + min(length, 128)]
        dropped = len(" ".join(lost).split())
        assert dropped == max(round(0.15 * len(whole)), 1)
        assert len(lost) - 2 == max(round(dropped / 3), 1)


def test_a_text_of_few_words_is_not_corrupted():
    assert spans(Record("a", "", "too few words here"), 2) == []
