"""``--set``: one parser for what every owner declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from dretrieve.errors import UsageError
from dretrieve.options import NoChoices, check, option, parse_settings, read_settings


@dataclass(frozen=True)
class Choices:
    mode: str = option("top1", legal=("top1", "all"))
    share: float = option(0.5, least=0, most=1)
    routing: bool = option(True)
    lists: int | None = option(None, least=2, most=1024)


def test_values_keep_their_type_and_the_rest_its_default() -> None:
    given = {"mode": "all", "share": 1, "lists": 7}
    assert read_settings(Choices, given, "the method 'm'") == Choices(mode="all", share=1.0, lists=7)
    assert isinstance(read_settings(Choices, given, "m").share, float)
    assert read_settings(Choices, {}, "m") == Choices()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "nonsense"}, "--set mode=nonsense: expected top1 or all"),
        ({"share": "half"}, "--set share=half: expected a number from 0 to 1"),
        ({"share": True}, "--set share=True"),
        ({"share": float("nan")}, "--set share=nan"),
        ({"share": 2}, "--set share=2: expected a number from 0 to 1"),
        ({"routing": 1}, "--set routing=1: expected true or false"),
        ({"lists": 1}, "--set lists=1: expected a whole number from 2 to 1,024"),
        ({"lists": 2.5}, "--set lists=2.5"),
        ({"lists": 10**30}, "--set lists=10{30}: expected a whole number from 2"),
        ({"lists": None}, "--set lists=None"),
        (
            {"depth": 3},
            r"--set depth: the method 'm' takes mode \(top1 or all\), share \(a number from 0 to 1\), "
            r"routing \(true or false\), lists \(a whole number from 2 to 1,024\)",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_is_legal(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_settings(Choices, settings, "the method 'm'")


def test_an_owner_without_choices_says_so() -> None:
    with pytest.raises(UsageError, match="--set ef_search: a flat index takes no settings"):
        read_settings(NoChoices, {"ef_search": 3}, "a flat index")


def test_settings_are_typed():
    words = ["mode=top1", "k=3", "weight=0.5", "on=true", "names=[a, b]", "text=a=b", "empty="]
    assert parse_settings(words) == {
        "mode": "top1", "k": 3, "weight": 0.5, "on": True, "names": ["a", "b"], "text": "a=b", "empty": None,
    }  # fmt: skip
    assert parse_settings([]) == {}
    assert parse_settings(["odd=[1"]) == {"odd": "[1"}


@pytest.mark.parametrize("word", ["mode", "=3"])
def test_a_setting_without_a_name_or_value(word):
    with pytest.raises(UsageError, match=r"--set takes name=value, not "):
        parse_settings([word])


def test_a_setting_given_twice():
    with pytest.raises(UsageError, match="--set k is given twice; leave one out"):
        parse_settings(["k=1", "k=2"])


@dataclass(frozen=True, kw_only=True)
class Told:
    share: float = option(0.5, "How much.", above=0, most=1)
    beta: float = option(0.9, "How long.", least=0, below=1)
    side: Literal["query", "passage"] = option("query", "Which.")
    forms: tuple[str, ...] = option((), "Of which.", legal=("a", "b"))
    rows: int | None = option(None, "How many.", least=1, flag="--num-rows")
    part: float = option(0.5, "How much.")

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"share": 0.0}, r"--share 0.0: expected a number above 0 to 1$"),
        ({"share": float("nan")}, "--share nan: expected a number"),
        ({"part": float("inf")}, "--part inf: expected a number"),
        ({"beta": 1.0}, r"--beta 1.0: expected a number from 0 and below 1$"),
        ({"side": "both"}, r"--side both: expected query or passage$"),
        ({"forms": ("a", "c")}, r"--forms c: expected a or b$"),
        ({"rows": 0}, r"--num-rows 0: expected a whole number from 1$"),
        ({"rows": True}, "--num-rows True: expected a whole number"),
        (
            {"rows": 1 << 63},
            "--num-rows 9223372036854775808: expected a whole number from 1 of at most 63 bits$",
        ),
        ({"rows": "3"}, "--num-rows 3: expected a whole number"),
    ],
)
def test_a_value_that_is_not_legal_is_refused_with_what_is(given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Told(**given)


def test_what_is_legal_passes() -> None:
    told = Told(share=1, beta=0.0, side="passage", forms=("b", "a"), rows=7)
    assert (told.share, told.rows) == (1, 7)
    assert Told().rows is None
