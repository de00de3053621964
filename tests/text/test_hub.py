"""Saved data sets, and the two layouts of the hub."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dretrieve.errors import DataError, PreconditionError
from dretrieve.text.collection import Collection
from tests.common import lines, prepared


def test_saved_data_sets(tmp_path: Path, cache: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"docid": "1", "title": "T", "text": "x"}, {"docid": "2", "title": "", "text": "y"}]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    assert prepared(f"hf:{tmp_path / 'saved'}", tmp_path / "a")["counts"]["passages"] == 2
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "rows.parquet"))
    assert prepared(f"hf:{tmp_path / 'rows.parquet'}", tmp_path / "b")["counts"]["passages"] == 2
    assert Collection(tmp_path / "a").sha256 == Collection(tmp_path / "b").sha256
    with pytest.raises(DataError, match="has no split 'dev'; it has: train"):
        prepared(f"hf:{tmp_path / 'saved'}:dev", tmp_path / "c")
    with pytest.raises(DataError, match=r"is no saved data set and no \.parquet, \.arrow, \.csv file"):
        prepared(f"hf:{lines(tmp_path / 'x.txt', 'a')}", tmp_path / "d")


class FakeHub:
    """The few functions of ``datasets`` that are called, over rows in memory."""

    def __init__(self, sets: dict[tuple[str, str | None], dict[str, list[dict]]]) -> None:
        self.sets = sets

    def get_dataset_config_names(self, name: str) -> list[str]:
        """The configurations, as the hub lists them."""
        return [config or "default" for known, config in self.sets if known == name]

    def load_dataset(self, name: str, config: str | None = None, *, streaming: bool) -> dict[str, list[dict]]:
        """The splits of a configuration."""
        return self.sets[(name, None if config == "default" else config)]


CORPUS = [{"_id": "d1", "title": "T", "text": "x"}, {"_id": "d2", "title": "", "text": "y"}]
QUERIES = [{"_id": "q1", "text": "what"}]
JUDGEMENTS = [{"query-id": "q1", "corpus-id": "d1", "score": 1.0}]


@pytest.mark.parametrize("place", ["default", "qrels set of its own"])
def test_the_layout_of_beir(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """MTEB keeps judgements in the set's own configuration, BEIR in a second set; validation means dev."""
    judged = {"test": JUDGEMENTS, "validation": JUDGEMENTS}
    sets = {("mteb/x", "corpus"): {"corpus": CORPUS}, ("mteb/x", "queries"): {"queries": QUERIES}}
    sets[("mteb/x", None) if place == "default" else ("mteb/x-qrels", None)] = judged
    monkeypatch.setitem(sys.modules, "datasets", FakeHub(sets))
    made = prepared("hf:mteb/x", tmp_path / "out")
    assert made["splits"] == {"dev": 1, "test": 1}
    assert made["counts"]["passages"] == 2
    assert Collection.open(f"{tmp_path / 'out'}:test").queries().ids() == ["q1"]


def test_rows_of_a_known_form(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        "train": [{"anchor": "q", "positive": "a", "negative": "b"}],
        "dev": [{"anchor": "r", "positive": "c"}],
    }
    monkeypatch.setitem(sys.modules, "datasets", FakeHub({("st/x", None): rows}))
    assert prepared("hf:st/x", tmp_path / "a")["splits"] == {"train": 1}
    assert prepared("hf:st/x:dev", tmp_path / "b")["splits"] == {"dev": 1}


def test_without_network_or_library(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Offline:
        def get_dataset_config_names(self, name: str) -> list[str]:
            raise ConnectionError("no route to host")

    monkeypatch.setitem(sys.modules, "datasets", Offline())
    with pytest.raises(
        PreconditionError, match=r"hf:st/x cannot be loaded \(ConnectionError: no route to host"
    ):
        prepared("hf:st/x", tmp_path / "a")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PreconditionError, match="needs the package 'datasets'; install it"):
        prepared("hf:st/x", tmp_path / "a")
