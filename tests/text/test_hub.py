"""Saved data sets, and the two layouts of the hub."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.store.interrupt import Signals
from dretrieve.text.collection import Collection
from dretrieve.text.hub import HubDataset
from tests.common import Counted, Told, lines, prepared


def test_saved_data_sets(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"docid": "1", "title": "T", "text": "x"}, {"docid": "2", "title": "", "text": "y"}]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    assert prepared(f"hf:{tmp_path / 'saved'}", tmp_path / "a")["counts"]["passages"] == 2
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "rows.parquet"))
    assert prepared(f"hf:{tmp_path / 'rows.parquet'}", tmp_path / "b")["counts"]["passages"] == 2
    assert Collection(tmp_path / "a").sha256 == Collection(tmp_path / "b").sha256
    with pytest.raises(DataError, match="has no split 'dev'; it has: train"):
        prepared(f"hf:{tmp_path / 'saved'}:dev", tmp_path / "c")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    datasets.Dataset.from_list(rows[:1]).to_parquet("rows.parquet")
    prepared("hf:rows.parquet", tmp_path / "one")
    assert len(list((cache / "downloads/hf").iterdir())) == 3  # of one name in two folders
    with pytest.raises(DataError, match=r"no saved data set and no \.parquet or \.arrow .* without hf:"):
        prepared(f"hf:{lines(tmp_path / 'x.csv', 'id,title,text', '007,NA,x')}", tmp_path / "d")
    prepared(tmp_path / "x.csv", tmp_path / "d")
    assert lines_of(tmp_path / "d") == [("007", "NA")]


def lines_of(folder: Path) -> list[tuple[str, str]]:
    """Return id and title of each passage as written."""
    rows = map(json.loads, (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines())
    return [(row["_id"], row["title"]) for row in rows]


def notes(source: str, output: Path) -> str:
    """Return what ``prepare`` says."""
    from dretrieve.jobs.prepare import PrepareConfig, run

    heard = Told()
    run(PrepareConfig(source=source, output=output), heard)
    return "\n".join(heard.lines)


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


def beir(**judged: list[dict]) -> dict[tuple[str, str | None], dict[str, list[dict]]]:
    """Return the set mteb/x in the layout of BEIR."""
    sides = {"corpus": CORPUS, "queries": QUERIES}
    return {("mteb/x", side): {side: rows} for side, rows in sides.items()} | {("mteb/x", None): judged}


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


def test_rows_are_told_to_the_last(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", FakeHub({("st/x", None): {"train": CORPUS}}))
    heard = Counted()
    HubDataset("st/x").fetch(heard, Signals())
    assert heard.units == {"loading train.jsonl": 2}


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


@pytest.mark.parametrize(
    ("changed", "grade"),
    [({"score": 2}, 2), ({"score": "1"}, 1), ({"score": -1.0}, -1)],
)
def test_whole_grades_are_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, changed: dict, grade: int
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", FakeHub(beir(test=[JUDGEMENTS[0] | changed])))
    prepared("hf:mteb/x", tmp_path / "out")
    assert Collection.open(f"{tmp_path / 'out'}:test").qrels().grades.tolist() == [grade]


@pytest.mark.parametrize(
    "changed", [{"score": 0.5}, {"score": None}, {"score": True}, {"query-id": None}, {"corpus-id": None}]
)
def test_judgements_without_whole_grades_are_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, changed: dict
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", FakeHub(beir(test=[JUDGEMENTS[0] | changed])))
    said = r"hf:mteb/x, split test: expected query-id, corpus-id, score, the last a whole number, found .*"
    with pytest.raises(DataError, match=said + repr(next(iter(changed.values())))):
        prepared("hf:mteb/x", tmp_path / "out")


def test_of_several_configurations_one_is_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(text: str) -> dict[str, list[dict]]:
        return {"train": [{"docid": "1", "title": text, "text": "x"}]}

    sets = {("a/b", "ar"): rows("ar"), ("a/b", "bn"): rows("bn") | {"dev": rows("bn dev")["train"]}}
    monkeypatch.setitem(sys.modules, "datasets", FakeHub(sets))
    with pytest.raises(UsageError, match="hf:a/b has several configurations; .* hf:a/b/ar; it has: ar, bn"):
        prepared("hf:a/b", tmp_path / "out")
    with pytest.raises(UsageError, match="hf:a/b has no configuration 'en'; .* it has: ar, bn"):
        prepared("hf:a/b/en", tmp_path / "out")
    assert "only" not in notes("hf:a/b/ar", tmp_path / "ar")
    said = notes("hf:a/b/bn", tmp_path / "bn")
    assert "hf:a/b/bn: of its splits train, dev only train is read; hf:a/b/bn:SPLIT takes one" in said
    prepared("hf:a/b/bn:dev", tmp_path / "dev")
    found = [lines_of(tmp_path / name) for name in ("ar", "bn", "dev")]
    assert found == [[("1", "ar")], [("1", "bn")], [("1", "bn dev")]]
    sets[("a/b", None)] = rows("usual")
    said = notes("hf:a/b", tmp_path / "usual")
    assert "of its configurations ar, bn, default only default is read; hf:a/b/NAME takes one" in said
    assert lines_of(tmp_path / "usual") == [("1", "usual")]


def test_what_a_collection_leaves_out_is_said(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = beir(test=JUDGEMENTS)
    sets[("mteb/x", "queries")] = {"queries": QUERIES, "more": [{"_id": "q2", "text": "who"}]}
    monkeypatch.setitem(sys.modules, "datasets", FakeHub(sets))
    said = notes("hf:mteb/x", tmp_path / "out")
    assert "hf:mteb/x/queries: of its splits queries, more only queries is read" in said
    assert "hf:mteb/x/corpus" not in said
    with pytest.raises(UsageError, match="leave :test out, and name the split .* as DIR:test"):
        prepared("hf:mteb/x:test", tmp_path / "other")
    prepared("hf:mteb/x/corpus", tmp_path / "corpus")
    assert lines_of(tmp_path / "corpus") == [("d1", "T"), ("d2", "")]


def test_csv_on_the_hub_is_said(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library itself names what a set was made of."""
    datasets = pytest.importorskip("datasets")
    path = lines(tmp_path / "set" / "train.csv", "docid,title,text", "007,NA,x")
    loaded = datasets.load_dataset("csv", data_files=str(path), streaming=True)
    assert [row["docid"] for row in loaded["train"]] == [7]
    hub = SimpleNamespace(get_dataset_config_names=lambda name: ["default"])
    hub.load_dataset = lambda name, config, *, streaming: loaded
    monkeypatch.setitem(sys.modules, "datasets", hub)
    assert "takes 007 for 7 and NA for nothing" in notes("hf:a/b", tmp_path / "out")
