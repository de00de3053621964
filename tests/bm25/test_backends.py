"""Choosing the engine of a BM25 index, and Lucene's own when it is installed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from dretrieve.bm25 import lucene
from dretrieve.bm25.backends import build_words, open_words, plan_words
from dretrieve.bm25.scores import Bm25Options
from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.store import state
from dretrieve.store.manifest import Manifest
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.store.text_store import TextStore
from dretrieve.types import Record

HAS_LUCENE = (
    importlib.util.find_spec("pyserini") is not None and importlib.util.find_spec("jnius") is not None
)


@pytest.fixture
def texts(tmp_path: Path) -> TextStore:
    records = [Record("p1", "Bees", "a honey bee's hive"), Record("p2", "", "tides of the moon, bees")]
    return TextStore.build(tmp_path / "texts", records, {})


@pytest.mark.parametrize("backend", ["embedded", "bm25s"])
def test_the_embedded_index_opens_with_its_own_or_other_settings(
    tmp_path: Path, texts: TextStore, backend: str
) -> None:
    build_words(plan_words(texts, tmp_path / "index", {"k1": 1.5, "backend": backend}), texts)
    index = open_words(tmp_path / "index")
    assert (index.options.k1, index.options.b, len(index)) == (1.5, 0.4, 2)
    assert open_words(tmp_path / "index", {"b": 0}).options == Bm25Options(k1=1.5, b=0)
    assert next(index.search(["q"], ["bee hive"], 5).hits(0))[0] == "p1"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "tantivy"}, "--set backend=tantivy: expected embedded or bm25s or lucene"),
        ({"nprobe": 3}, r"type bm25 takes k1 \(a number from 0 to 100\), b \(.*\), backend"),
        ({"k1": "many"}, "--set k1=many: expected a number from 0 to 100"),
        ({"k1": -1}, "--set k1=-1: expected"),
        ({"b": 1.5}, r"--set b=1\.5: expected a number from 0 to 1"),
        ({"k1": float("nan")}, "--set k1=nan: expected"),
    ],
)
def test_unknown_and_impossible_settings_are_refused(tmp_path: Path, texts, settings, message) -> None:
    with pytest.raises(UsageError, match=message):
        plan_words(texts, tmp_path / "index", settings)


def test_a_search_takes_k1_and_b_alone(tmp_path: Path, texts: TextStore) -> None:
    build_words(plan_words(texts, tmp_path / "index", {}), texts)
    with pytest.raises(UsageError, match="--set backend: searching a BM25 index takes k1 .*, b "):
        open_words(tmp_path / "index", {"backend": "lucene"})
    with pytest.raises(UsageError, match="--set k1=-1: expected"):
        open_words(tmp_path / "index", {"k1": -1})


@pytest.mark.skipif(HAS_LUCENE, reason="pyserini is installed")
def test_lucene_is_asked_for_by_its_extra(tmp_path: Path, texts: TextStore) -> None:
    with pytest.raises(PreconditionError, match=r"pip install 'dretrieve\[lucene\]'"):
        build_words(plan_words(texts, tmp_path / "index", {"backend": "lucene"}), texts)


@pytest.mark.skipif(not HAS_LUCENE, reason="needs pyserini")
def test_lucene_finds_the_same(tmp_path: Path, texts: TextStore, capfd: pytest.CaptureFixture[str]) -> None:
    runs = []
    for backend in ("lucene", "embedded"):
        build_words(plan_words(texts, tmp_path / backend, {"backend": backend}), texts)
        run = open_words(tmp_path / backend).search(["q", "none"], ["honey bee", "zeppelin"], 5)
        runs.append(dict(run.hits(0)))
        assert run.offsets.tolist() == [0, 2, 2]
    assert runs[0] == pytest.approx(runs[1], abs=5e-5)
    assert list(runs[0]) == list(runs[1])
    assert capfd.readouterr().out == "", "Java's log must not stand among results"


@pytest.mark.parametrize("when", ["before the first is there", "while the first is committed"])
def test_two_processes_may_build_lucenes_index_at_once(
    tmp_path: Path, texts: TextStore, monkeypatch, when: str
) -> None:
    """The first one's stays: no two builds have the same bytes."""
    index, builds, commit = tmp_path / "index", list[int](), Stage.commit
    early = when.startswith("before")

    def build() -> None:
        build_words(plan_words(texts, index, {"backend": "lucene"}), texts)

    def late(self: Stage, *about: object) -> Manifest:
        if len(builds) == 1 and not early:
            with pytest.raises(PreconditionError, match="another process is at work"):
                build()
        return commit(self, *about)

    class Anserini:
        def main(self, words: list[str]) -> None:
            builds.append(number := len(builds))
            if number == 0 and early:
                build()  # the other process
            read, written = (Path(words[words.index(name) + 1]) for name in ("-input", "-index"))
            written.mkdir()
            (written / f"_{number}.cfs").write_bytes((read / "passages.jsonl").read_bytes())

    monkeypatch.setattr(lucene, "java", lambda: lambda name: Anserini())
    monkeypatch.setattr(Stage, "commit", late)
    monkeypatch.setattr(state, "PATIENCE", 0.0)
    build()
    assert builds == [0, 1]
    first = f"lucene/_{int(early)}.cfs"
    assert [*open_artefact(index, full=True).files] == [first]
    assert (index / first).read_text().count("\n") == len(texts)
    assert sorted(os.listdir(index)) == ["lucene", "manifest.json", "provenance.json"]


def test_other_artefacts_are_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "other", kind="folder", name="encode")
    with stage.write("x") as file:
        file.write(b"x")
    stage.commit()
    with pytest.raises(VerificationError, match="made by the stage 'encode'"):
        open_words(tmp_path / "other")
