"""Conditions on the artefacts behind a number."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from dretrieve.errors import DataError
from dretrieve.reports.conditions import check_conditions, joined, settled, unmet

NAMES = {"seed": 2, "row": "dpr", "column": "nq", "table": "t1", "profile": "mini"}


@dataclass
class Item:
    stage: str
    options: dict = field(default_factory=dict)
    extra: dict = field(default_factory=dict)
    name: str = "item"

    @property
    def facts(self):
        return {"options": self.options, "counts": {}, "inputs": {}, "extra": self.extra}


@dataclass
class Card:
    facts: dict
    stage: str = "model"
    name: str = "card.json"


SETS = [{"name": "nq", "sample": 0}, {"name": "tq"}]
SEARCHES = [Item("search", {"hits": 1000}), Item("search", {"hits": 100})]


@pytest.mark.parametrize(
    ("conditions", "near", "expected"),
    [
        ({"search": {"hits": 100}}, SEARCHES, []),
        ({"search": {"hits": 50}}, SEARCHES, ["hits is 1000 in item, the row says 50"]),
        ({"train": {}}, SEARCHES, ["no 'train' stands behind it, the row needs one"]),
        ({"absent": ["search"]}, SEARCHES, ["item was made by 'search', which this row must not use"]),
        ({"absent": ["train"]}, SEARCHES, []),
        ({"train": {"seed": "{seed}"}}, [Item("train", {"seed": 2})], []),
        (
            {"train": {"seed": "{seed}"}},
            [Item("train", {"seed": 1})],
            ["seed is 1 in item, the row says '2'"],
        ),
        ({"train": {"rate": 1}}, [Item("train")], ["rate is not there in item, the row says 1"]),
        ({"fuse-bm25": {"extra.alpha": 1.1}}, [Item("fuse-bm25", extra={"alpha": 1.1})], []),
        ({"train": {"lora": True}}, [Item("train", {"lora": 1})], ["lora is 1 in item, the row says True"]),
        ({"train": {"sets": ["nq", "tq"]}}, [Item("train", {"sets": ("nq", "tq")})], []),
        ({"model": {"method": "dpr"}}, [Card({"method": "dpr"})], []),
        ({"model": {"method_config.num_experts": 2}}, [Card({"method_config": {"num_experts": 2}})], []),
        (
            {"model": {"method_config": {"router": "det"}}},
            [Card({"method_config": {"router": "det", "every": 3}})],
            [],
        ),
        ({"train": {"sets.name": ["nq", "tq"]}}, [Item("train", {"sets": SETS})], []),
        (
            {"train": {"sets.name": ["nq"], "sets.sample": [0, 5]}},
            [Item("train", {"sets": SETS})],
            [
                "sets.name is ['nq', 'tq'] in item, the row says ['nq']",
                "sets.sample is not there in item, the row says [0, 5]",
            ],
        ),
        ({"evaluate": {"names": ["{row}.{seed}"]}}, [Item("evaluate", {"names": ["dpr.2"]})], []),
        (
            {"evaluate": {"names": ["{row}.{seed}"]}},
            [Item("evaluate", {"names": ["dpr.1"]})],
            ["names is ['dpr.1'] in item, the row says ['dpr.2']"],
        ),
        ({"model": {"source.backbone": "*base"}}, [Card({"source": {"backbone": "me/base"}})], []),
        (
            {"model": {"source.backbone": "*base"}},
            [Card({"source": {"backbone": "me/large"}})],
            ["source.backbone is 'me/large' in card.json, the row says '*base'"],
        ),
        ({"model": {"source.backbone": None}}, [Card({"source": {}})], []),
        (
            {"model": {"source.backbone": None}},
            [Card({"source": {"backbone": "me"}})],
            ["source.backbone is 'me' in card.json, the row says that it is not there"],
        ),
        # Every model behind a number must fit, not only one of them.
        (
            {"model": {"method": "dpr"}},
            [Card({"method": "dpr"}), Card({"method": "shared"})],
            ["method is 'shared' in card.json, the row says 'dpr'"],
        ),
    ],
)
def test_what_is_met_and_what_is_not(conditions, near, expected):
    assert check_conditions(conditions) is None
    assert unmet(conditions, near, [], NAMES) == expected


def test_what_training_stood_on_is_looked_at_apart():
    mined = [Item("mine-negatives", {"depth": 100})]
    wanted = {"before": {"mine-negatives": {"depth": 100}}}
    assert unmet(wanted, [], mined, NAMES) == []
    assert unmet(wanted, mined, [], NAMES) == [
        "before training: no 'mine-negatives' stands behind it, the row needs one"
    ]
    assert unmet({"before": {"absent": ["mine-negatives"]}}, [], mined, NAMES) == [
        "before training: item was made by 'mine-negatives', which this row must not use"
    ]
    assert unmet({"absent": ["mine-negatives"]}, [], mined, NAMES) == []


def test_later_conditions_win_and_absences_add_up():
    first = {"search": {"hits": 100, "k1": 0.9}, "absent": ["train"], "before": {"absent": ["a"]}}
    second = {"search": {"hits": 20}, "absent": ["fuse-bm25"], "before": {"absent": ["b"]}}
    assert joined(first, second) == {
        "search": {"hits": 20, "k1": 0.9},
        "absent": ["fuse-bm25", "train"],
        "before": {"absent": ["a", "b"]},
    }
    assert first["absent"] == ["train"]


def test_wherever_looks_at_every_such_artefact_near_and_behind_and_needs_none():
    wanted = {"wherever": {"train": {"epochs": 2}}}
    two, one = Item("train", {"epochs": 2}), Item("train", {"epochs": 1}, name="first")
    assert unmet(wanted, [], [], NAMES) == []
    assert unmet(wanted, [two], SEARCHES, NAMES) == []
    assert unmet(wanted, [two, two], [one, one], NAMES) == ["epochs is 1 in first, the row says 2"]
    assert unmet(wanted, [one], [two], NAMES) == ["epochs is 1 in first, the row says 2"]


def test_a_profile_has_its_own_or_else_the_others():
    conditions = {
        "search": {"hits": 100, "k1": 0.9},
        "profiles": {"mini": {"search": {"hits": 20}}, "else": {"train": {}}},
        "before": {"profiles": {"mini": {"train": {"seed": 1}}, "else": {}}},
    }
    assert check_conditions(conditions) is None
    assert settled(conditions, "mini") == {
        "search": {"hits": 20, "k1": 0.9},
        "before": {"train": {"seed": 1}},
    }
    assert settled(conditions, "paper") == {"search": {"hits": 100, "k1": 0.9}, "train": {}, "before": {}}
    with pytest.raises(DataError, match="says nothing about the profile 'smoke', nor has it an 'else'"):
        settled({"profiles": {"smokey": {}}}, "smoke")


def test_profiles_are_joined_one_by_one():
    first = {"profiles": {"mini": {"search": {"hits": 1}}, "paper": {"search": {"hits": 2}}}}
    second = {"profiles": {"mini": {"train": {"seed": 1}}, "else": {"train": {"seed": 2}}}}
    together = joined(first, second)
    assert settled(together, "mini") == {"search": {"hits": 1}, "train": {"seed": 1}}
    assert settled(together, "paper") == {"search": {"hits": 2}, "train": {"seed": 2}}
    with pytest.raises(DataError, match="says nothing about the profile 'smoke'"):
        settled(together, "smoke")  # the first says nothing about it
    assert joined(first) == first


@pytest.mark.parametrize(
    ("conditions", "key", "sentence"),
    [
        ({"wherever": {"absent": ["train"]}}, "wherever.absent", "is no stage; the stages are prepare"),
        ({"wherever": {"train": 3}}, "wherever.train", "must be a mapping: option to value"),
        ({"wherever": ["train"]}, "wherever", "must be a mapping"),
        ({"profiles": {"mini": {"trian": {}}}}, "profiles.mini.trian", "is no stage"),
        ({"profiles": {"mini": 3}}, "profiles.mini", "must be a mapping: stage to its options"),
        ({"profiles": {"mini": {"profiles": {}}}}, "profiles.mini.profiles", "must not stand in itself"),
        ({"evaluate": {"names": ["{rwo}"]}}, "evaluate.names", "holds {rwo}; known are table, row"),
    ],
)
def test_what_is_no_condition_is_named(conditions, key, sentence):
    problem = check_conditions(conditions)
    assert problem is not None
    assert problem[0] == key
    assert sentence in problem[1]
