"""The embedded BM25 index: Lucene's scores, exactness, ties, what must not change the hits, bad input."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dretrieve.bm25 import build, max_score
from dretrieve.bm25.analysis import normalize, words
from dretrieve.bm25.backends import WordIndex, build_words, open_words, plan_words
from dretrieve.bm25.scores import Bm25Options, byte_lengths, idf, length_bytes, pair_factors
from dretrieve.errors import Interrupted, PreconditionError
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest
from dretrieve.store.text_store import TextStore
from dretrieve.types import Record
from tests.common import bytes_of

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "lucene_bm25_scores.json").read_text())


def built(
    records: Sequence[Record], folder: Path, settings: Mapping[str, float] | None = None, **more
) -> Manifest:
    texts = TextStore.build(folder.with_name("texts"), records, {})
    stage = plan_words(texts, folder, settings or {}, force=more.pop("force", False))
    return build_words(stage, texts, **more)


def made(folder: Path, texts: Sequence[str], **options: float) -> WordIndex:
    records = [Record(f"p{row:04d}", "", text) for row, text in enumerate(texts)]
    built(records, folder, options)
    return open_words(folder)


def analyze(text: str) -> list[str]:
    """Return the index terms of a text in order."""
    return [term for term in map(normalize, words(text)) if term]


def plain(texts: Sequence[str], query: str, options: Bm25Options) -> dict[str, np.float32]:
    """Score every passage by the formula, with dictionaries."""
    counts = [Counter(analyze(text)) for text in texts]
    lengths = np.asarray([sum(count.values()) for count in counts], dtype=np.int64)
    filled = int((lengths > 0).sum())
    average = lengths.sum() / max(filled, 1)
    scores: dict[str, float] = {}
    for term, said in Counter(analyze(query)).items():
        held = sum(term in count for count in counts)
        if not held:
            continue
        weight = np.float32(said) * idf(np.asarray([held]), filled)[0]
        for row, count in enumerate(counts):
            if term in count:
                norm = length_bytes(lengths[row : row + 1])
                factor = pair_factors(
                    np.asarray([count[term]], np.int32), norm, average, options.k1, options.b
                )[0]
                scores[f"p{row:04d}"] = scores.get(f"p{row:04d}", 0.0) + float(weight - weight / factor)
    return {passage_id: np.float32(score) for passage_id, score in scores.items()}


def ranked(scores: dict[str, np.float32]) -> list[tuple[str, float]]:
    order = sorted(scores, reverse=True)
    order.sort(key=lambda passage_id: -scores[passage_id])
    return [(passage_id, float(scores[passage_id])) for passage_id in order]


@pytest.fixture(scope="module")
def golden_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden") / "index"
    records = [Record(passage["id"], passage["title"], passage["text"]) for passage in GOLDEN["passages"]]
    built(records, folder)
    return folder


@pytest.mark.parametrize("run", GOLDEN["runs"], ids=lambda run: f"k1={run['k1']},b={run['b']}")
def test_scores_equal_lucenes_bit_for_bit(golden_index: Path, run: dict) -> None:
    index = open_words(golden_index, {"k1": run["k1"], "b": run["b"]})
    queries = GOLDEN["queries"]
    found = index.search([query["_id"] for query in queries], [query["text"] for query in queries], 100)
    for row, query in enumerate(queries):
        expected = {
            passage_id: np.float32(score) for passage_id, score in run["scores"][query["_id"]].items()
        }
        assert {passage_id: np.float32(score) for passage_id, score in found.hits(row)} == expected


def test_ties_go_by_id_descending_also_at_the_cut(golden_index: Path) -> None:
    index = open_words(golden_index)
    text = GOLDEN["passages"][7]["text"] or "honey"
    whole = list(index.search(["q"], [text], 100).hits(0))
    ids = [passage_id for passage_id, _ in whole]
    place = ids.index("twin-b")
    assert ids[place : place + 3] == ["twin-b", "twin-a", "p07"]
    assert len({score for _, score in whole[place : place + 3]}) == 1
    for k in range(1, len(whole) + 1):
        assert list(index.search(["q"], [text], k).hits(0)) == whole[:k]


@settings(max_examples=25)
@given(
    texts=st.lists(
        st.lists(st.sampled_from("bee tide loaf ink the moon's".split()), max_size=12).map(" ".join),
        min_size=1,
        max_size=40,
    ),
    query=st.lists(st.sampled_from("bees tide loaf ink moon zeppelin".split()), max_size=8).map(" ".join),
    k=st.integers(1, 50),
    k1=st.sampled_from([0.0, 0.9, 3.0]),
    b=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_hits_are_the_formulas(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str, k: int, k1: float, b: float
) -> None:
    index = made(tmp_path_factory.mktemp("hits") / "index", texts, k1=k1, b=b)
    expected = ranked(plain(texts, query, index.options))[:k]
    assert list(index.search(["q"], [query], k).hits(0)) == expected


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[WordIndex, list[str]]:
    """An index of 40,000 short passages over a Zipf law: several windows, terms that are skipped."""
    chance = np.random.default_rng(3)
    forms = [f"w{row}x" for row in range(400)]
    weights = 1 / np.arange(1, 401)
    drawn = chance.choice(400, (40_000, 7), p=weights / weights.sum())
    texts = [" ".join(forms[word] for word in row) for row in drawn]
    queries = [" ".join(forms[word] for word in row) for row in chance.integers(0, 400, (24, 5))]
    queries[0] = " ".join(forms[:30])
    return made(tmp_path_factory.mktemp("large") / "index", texts), queries


@pytest.mark.parametrize("k", [1, 10, 1000, 50_000])
def test_what_is_skipped_changes_nothing(large: tuple[WordIndex, list[str]], k: int) -> None:
    index, queries = large
    whole = index.search(queries, queries, len(index))
    found = index.search(queries, queries, k)
    assert len(index) > 2 * max_score.WINDOW
    for row in range(len(queries)):
        assert list(found.hits(row)) == list(whole.hits(row))[:k]


def test_threads_and_blocks_change_nothing(large: tuple[WordIndex, list[str]]) -> None:
    index, queries = large
    one = index.search(queries, queries, 30)
    many = index.search(queries, queries, 30, threads=3)
    np.testing.assert_array_equal(one.passages, many.passages)
    np.testing.assert_array_equal(one.scores, many.scores)
    parts = [index.search([query], [query], 30) for query in queries]
    np.testing.assert_array_equal(one.passages, np.concatenate([part.passages for part in parts]))


def test_equal_collections_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"bee {'honey ' * row} tide" for row in range(50)]
    made(tmp_path / "a", texts)
    monkeypatch.setattr(build, "_CHUNK", 7)
    monkeypatch.setattr(build, "_POSTINGS_AT_ONCE", 3)
    made(tmp_path / "b", texts)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_a_repeated_word_counts_twice_and_case_does_not(tmp_path: Path) -> None:
    index = made(tmp_path / "index", ["bee", "tide", "bee tide"])
    run = index.search(["a", "b"], ["bee bee", "BEES"], 1)
    (_, twice), (_, once) = next(run.hits(0)), next(run.hits(1))
    assert twice == 2 * once


def test_queries_without_known_terms_have_no_hits(tmp_path: Path) -> None:
    index = made(tmp_path / "index", ["bee", ""])
    run = index.search(["none", "stop", "bee"], ["", "the of", "bee"], 5)
    assert run.offsets.tolist() == [0, 0, 0, 1]


def test_an_empty_collection_can_be_searched(tmp_path: Path) -> None:
    assert len(made(tmp_path / "none", []).search(["q"], ["bee"], 3).passages) == 0
    assert len(made(tmp_path / "blank", ["", "the"]).search(["q"], ["bee"], 3).passages) == 0


def test_words_that_are_too_long_are_cut_in_passages_and_queries_alike(tmp_path: Path) -> None:
    index = made(tmp_path / "index", ["x" * 300, "bee"])
    assert [passage_id for passage_id, _ in index.search(["q"], ["x" * 255], 5).hits(0)] == ["p0000"]
    assert [passage_id for passage_id, _ in index.search(["q"], ["x" * 300], 5).hits(0)] == ["p0000"]


def test_terms_are_found_without_a_table_too(golden_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [query["text"] for query in GOLDEN["queries"]]
    with_table = open_words(golden_index).search(texts, texts, 20)
    monkeypatch.setattr("dretrieve.bm25.index._IN_MEMORY", 3)
    without = open_words(golden_index).search(texts, texts, 20)
    np.testing.assert_array_equal(with_table.passages, without.passages)
    np.testing.assert_array_equal(with_table.scores, without.scores)


def test_lengths_go_through_one_byte_rounded_down() -> None:
    lengths = np.arange(0, 5000)
    stored = byte_lengths()[length_bytes(lengths)]
    assert (stored <= lengths).all()
    assert (stored[:40] == lengths[:40]).all()
    assert (stored >= lengths * (1 - 1 / 8)).all()
    assert (np.diff(byte_lengths()) > 0).all()
    np.testing.assert_array_equal(length_bytes(byte_lengths()), np.arange(256))


def test_built_again_it_is_up_to_date_and_other_options_are_refused(tmp_path: Path) -> None:
    records = [Record("p", "", "bee")]
    first = built(records, tmp_path / "index")
    before = (tmp_path / "index" / "passages.npy").stat().st_mtime_ns
    assert built(records, tmp_path / "index") == first
    assert (tmp_path / "index" / "passages.npy").stat().st_mtime_ns == before
    with pytest.raises(PreconditionError, match=r"k1 0\.9 -> 1\.2"):
        built(records, tmp_path / "index", {"k1": 1.2})
    built(records, tmp_path / "index", {"k1": 1.2}, force=True)
    assert open_words(tmp_path / "index").options.k1 == 1.2


def test_a_larger_collection_is_sent_to_lucene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "LARGEST", 1)
    with pytest.raises(PreconditionError, match="--backend lucene") as caught:
        made(tmp_path / "index", ["bee", "tide"])
    assert caught.value.exit_code == 3


def test_a_signal_stops_the_build_and_leaves_no_index(tmp_path: Path) -> None:
    signals = Signals()
    signals.set(15)
    with pytest.raises(Interrupted):
        built([Record("p", "", "bee")], tmp_path / "index", signals=signals)
    with pytest.raises(PreconditionError):
        open_words(tmp_path / "index")
    assert not list((tmp_path / "index").glob("*.npy"))
