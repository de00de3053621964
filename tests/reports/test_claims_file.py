"""One claim out of expected.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from dretrieve.errors import DataError
from dretrieve.reports.claims_file import CLAIM_KEYS, read_claim
from dretrieve.reports.strict_yaml import Node

GIVEN = {
    "says": "Fusion helps most on SQuAD",
    "source": "Table 1",
    "relation": "most",
    "left": "t.a.squad",
    "right": "t.b.squad",
    "measure": "top20",
    "margin": 1,
    "bound": 2,
    "others": [["t.a.nq", "t.b.nq"]],
    "profiles": ["mini", "paper"],
}


def read(**changes):
    return read_claim("squad", Node(Path("expected.yaml"), "claims.squad", GIVEN | changes))


def test_every_key_is_read():
    assert set(GIVEN) == set(CLAIM_KEYS)
    found = read()
    assert {key: getattr(found, key) for key in CLAIM_KEYS} == GIVEN | {
        "others": (("t.a.nq", "t.b.nq"),),
        "profiles": ("mini", "paper"),
    }
    assert found.name == "squad"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"profile": ["mini"]}, r"claims.squad.profile is not a key .*; did you mean profiles\?"),
        ({"profiles": []}, "claims.squad.profiles must be a list of profiles, not empty"),
        ({"profiles": [1]}, "claims.squad.profiles must be a list of profiles, not empty"),
        ({"profiles": "mini"}, "claims.squad.profiles must be a list, not the text 'mini'"),
        ({"others": []}, "claims.squad.others belongs to the relation 'most', which needs at least one pair"),
        ({"others": [["t.a.nq"]]}, "claims.squad.others must be a list of pairs"),
    ],
)
def test_mistakes_are_named(changes, sentence):
    with pytest.raises(DataError, match=sentence):
        read(**changes)
