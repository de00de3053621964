from __future__ import annotations

import pytest

from dretrieve.errors import DataError
from dretrieve.store.card import SideCard
from dretrieve.tokens.template import Template, literal
from dretrieve.types import Record


@pytest.mark.parametrize(
    ("template", "title", "expected"),
    [
        ("{title} {text}", "Bees", "Bees make honey"),
        ("{title} {text}", "", "make honey"),
        ("passage: {title} {text}", "", "passage: make honey"),
        ("{text} ({title})", "Bees", "make honey (Bees)"),
        ("{text} {title}", "", "make honey"),
        ("{title}[SEP]{text}", "", "[SEP]make honey"),
        ("query: {text}", "Bees", "query: make honey"),
        ('{"q": "{text}"}', "", '{"q": "make honey"}'),
    ],
)
def test_an_empty_title_takes_its_white_space_along(template, title, expected):
    assert Template.of(SideCard(template=template)).render(Record("1", title, "make honey")) == expected


def test_text_that_looks_like_a_template_stays_as_it_is():
    record = Record("1", "{text}", "{title} 100%")
    assert Template.of(SideCard(template="{title} {text}")).render(record) == "{text} {title} 100%"


def test_a_pair_is_title_and_text_and_a_single_without_title():
    template = Template.of(SideCard(template="{title} {text}", pair=True))
    assert template.render(Record("1", "Bees", "make honey")) == ("Bees", "make honey")
    assert template.render(Record("1", "", "make honey")) == "make honey"


def test_a_template_without_text_is_refused():
    with pytest.raises(DataError, match=r"has no \{text\}"):
        Template.of(SideCard(template="{title}"))


def test_a_literal_text_stays_as_it_is_whatever_braces_it_has():
    record = Record("1", "T", "x")
    for prompt in ("{text} ", "a {title}{text} {", "{{text}} {query} ", "{", "{text}"):
        card = SideCard(template=literal(prompt) + "{title} {text}")
        assert Template.of(card).render(record) == f"{prompt}T x"
        assert Template.of(card).render(Record("1", "", "x")) == f"{prompt}x"


def test_settings_of_a_side_change_its_texts():
    record = Record("1", "Bee’s", "Who’s THERE")
    card = SideCard(template="{title} {text}", settings={"straight_quotes": True})
    assert Template.of(card).render(record) == "Bee's Who's THERE"
