"""Conditions on the artefacts behind a number."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from dretrieve.reports.conditions import check_conditions, joined, unmet

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
