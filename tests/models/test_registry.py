"""The methods by name; a card's method and its options are those of the registry."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.models.registry import METHODS, check_method, find
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.types import VectorSpec

CARD = ModelCard(
    method="shared",
    vectors=VectorSpec(4, "one", "dot"),
    query=SideCard(),
    passage=SideCard(),
    method_config={},
)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_bears_its_name(name: str) -> None:
    assert find(name).method().name == name


def test_an_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no method 'colbret'; there are .*dpr"):
        find("colbret")


@pytest.mark.parametrize("name", METHODS)
def test_every_methods_own_options_pass(name: str) -> None:
    card = replace(CARD, method=name, method_config=asdict(find(name).config()()))
    check_method(Path("card.json"), card)
    check_method(Path("card.json"), replace(card, method_config={}))  # of a release that had fewer


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "sharde"}, r"^m/card.json is of the method 'sharde'; there are shared, dpr"),
        (
            {"method_config": {"lora_rank": 8}},
            r"^m/card.json has the unknown entry 'lora_rank' in 'method_config'",
        ),
        ({"method_config": {"lora_r": "8"}}, 'has method_config.lora_r = "8", expected a whole number'),
        ({"method_config": {"lora": True, "lora_r": 0}}, "--lora-r 0 must be 1 or more"),
    ],
)
def test_others_are_one_sentence(changes: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_method(Path("m/card.json"), replace(CARD, **changes))
