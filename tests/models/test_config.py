from __future__ import annotations

from dataclasses import dataclass

import pytest

from dretrieve.errors import UsageError
from dretrieve.models.registry import METHODS, find
from dretrieve.options import check, option


@dataclass(frozen=True)
class Config:
    gate: str = option("top1", "Which.", legal=("top1", "all"))
    size: int = option(3, "How many.")
    part: float = option(0.5, "How much.")

    def __post_init__(self):
        check(self)


def test_options_are_fields_with_their_help():
    assert Config().size == 3
    assert Config.__dataclass_fields__["gate"].metadata["option"].text == "Which."


def test_an_illegal_value_lists_the_legal_ones():
    with pytest.raises(UsageError, match="--gate most: expected top1 or all"):
        Config(gate="most")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value):
    with pytest.raises(UsageError, match=f"--part {value}: expected a number"):
        Config(part=value)


def test_every_method_of_the_registry_is_there():
    for name, entry in METHODS.items():
        method = entry.method()
        assert method.name == name
        assert method.config_class is entry.config()


def test_an_unknown_method_lists_the_known_ones():
    assert find("shared") is METHODS["shared"]
    with pytest.raises(UsageError, match=r"no method 'colbret'; there are .*dpr"):
        find("colbret")
