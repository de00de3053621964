"""Texts of very different lengths, some more than a chunk of them."""

from __future__ import annotations

import random

import pytest

from dretrieve.models.loading import LoadedModel, load_model
from dretrieve.types import Record

WORDS = (
    "honey bee hive moon tide ocean flour yeast dough rook bishop knight lava magma crater press ink".split()
)


def make_records(count: int, seed: int = 0) -> list[Record]:
    draw = random.Random(seed)
    records = []
    for row in range(count):
        length = draw.choice([0, 1, 3, 3, 9, 30, 80])
        title = draw.choice(["", "bees", "tides"])
        records.append(Record(f"d{row}", title, " ".join(draw.choices(WORDS, k=length))))
    return records


@pytest.fixture(scope="session")
def model(tiny_model) -> LoadedModel:
    return load_model(str(tiny_model))


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return make_records(2500)
