"""Choosing the engine of a BM25 index, and Lucene's own when it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.index.bm25_formula import Bm25Options
from dretrieve.index.words import build_words, check_settings, open_words, word_options
from dretrieve.store.stage import Stage
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
    build_words(texts, tmp_path / "index", {"k1": 1.5, "backend": backend})
    index = open_words(tmp_path / "index")
    assert (index.options.k1, index.options.b, len(index)) == (1.5, 0.4, 2)
    assert open_words(tmp_path / "index", {"b": 0}).options == Bm25Options(k1=1.5, b=0)
    assert next(index.search(["q"], ["bee hive"], 5).hits(0))[0] == "p1"


def test_unknown_backends_and_settings_are_refused(tmp_path: Path, texts: TextStore) -> None:
    with pytest.raises(UsageError, match="choose one of embedded, bm25s, lucene"):
        build_words(texts, tmp_path / "index", {"backend": "tantivy"})
    with pytest.raises(UsageError, match=r"BM25 takes k1 \(a number from 0 to 100\), b"):
        check_settings({"nprobe": 3})
    with pytest.raises(UsageError, match="--set k1=many: expected a number from 0 to 100"):
        word_options({"k1": "many"}, Bm25Options())


@pytest.mark.skipif(HAS_LUCENE, reason="pyserini is installed")
def test_lucene_is_asked_for_by_its_extra(tmp_path: Path, texts: TextStore) -> None:
    with pytest.raises(PreconditionError, match=r"pip install 'dretrieve\[lucene\]'"):
        build_words(texts, tmp_path / "index", {"backend": "lucene"})


@pytest.mark.skipif(not HAS_LUCENE, reason="needs pyserini")
def test_lucene_finds_the_same(tmp_path: Path, texts: TextStore, capfd: pytest.CaptureFixture[str]) -> None:
    runs = []
    for backend in ("lucene", "embedded"):
        build_words(texts, tmp_path / backend, {"backend": backend})
        run = open_words(tmp_path / backend).search(["q", "none"], ["honey bee", "zeppelin"], 5)
        runs.append(dict(run.hits(0)))
        assert run.offsets.tolist() == [0, 2, 2]
    assert runs[0] == pytest.approx(runs[1], abs=5e-5)
    assert list(runs[0]) == list(runs[1])
    assert capfd.readouterr().out == "", "Java's log must not stand among results"


def test_other_artefacts_are_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "other", kind="folder", name="encode")
    with stage.write("x") as file:
        file.write(b"x")
    stage.commit()
    with pytest.raises(VerificationError, match="made by the stage 'encode'"):
        open_words(tmp_path / "other")
