"""The embedded BM25 against Anserini's own figures: statistics of the index, nDCG@10, R@100.

Source: ``eval-truth/anserini-bm25-regressions.json`` beside the collections (Anserini's flat BEIR indexes,
k1 0.9, b 0.4). Anserini breaks ties by id ascending, we by trec_eval's rule; hence the tolerance.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dretrieve.bm25.backends import WordIndex, build_words, open_words, plan_words
from dretrieve.metrics.options import RelevanceOptions
from dretrieve.metrics.registry import parse_measures
from dretrieve.metrics.relevance import score_relevance
from dretrieve.text.collection import Collection
from dretrieve.text.qrels import read_qrels
from dretrieve.types import Run

pytestmark = pytest.mark.realdata

MEASURES = parse_measures("nDCG@10 R@100")


def topics(data_dir: Path, name: str) -> tuple[list[str], list[str]]:
    """Return ids and texts of the test queries; ArguAna's stand beside the figures in Anserini's form."""
    own = data_dir / "eval-truth" / "topics-qrels" / f"topics.beir-v1.0.0-{name}.test.tsv"
    if own.exists():
        rows = [line.split("\t", 1) for line in own.read_text(encoding="utf-8").splitlines()]
        return [row[0] for row in rows], [row[1] for row in rows]
    queries = Collection.open(f"{data_dir / name}:test").queries()
    records = queries.records(0, len(queries))
    return [record.id for record in records], [record.text for record in records]


@pytest.fixture(scope="module", params=["scifact", "nfcorpus", "arguana"])
def searched(
    request: pytest.FixtureRequest, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict, WordIndex, Run]:
    name = request.param
    truth = json.loads((data_dir / "eval-truth" / "anserini-bm25-regressions.json").read_text())
    folder = tmp_path_factory.mktemp(name) / "index"
    corpus = Collection.open(data_dir / name).corpus()
    build_words(plan_words(corpus, folder, {}), corpus)
    index = open_words(folder)
    query_ids, texts = topics(data_dir, name)
    run = index.search(query_ids, texts, 1001, threads=2)
    return name, truth["regressions"][f"beir-v1.0.0-{name}.flat"], index, run


def test_the_index_holds_what_anserinis_holds(searched: tuple[str, dict, WordIndex, Run]) -> None:
    _, truth, index, _ = searched
    counts, expected = index.manifest.counts, truth["index_stats"]
    assert counts["passages"] == expected["documents"]
    assert counts["filled"] == expected["documents (non-empty)"]
    assert counts["total_terms"] == expected["total terms"]


def test_the_measures_are_anserinis(data_dir: Path, searched: tuple[str, dict, WordIndex, Run]) -> None:
    name, truth, _, run = searched
    qrels = read_qrels(data_dir / "eval-truth" / "topics-qrels" / f"qrels.beir-v1.0.0-{name}.test.txt")
    means = score_relevance(name, run, qrels, MEASURES, RelevanceOptions(drop_self=True)).means()
    expected = truth["models"]["bm25"]["results"]
    for measure in MEASURES:
        assert means[str(measure)] == pytest.approx(expected[str(measure)][0], abs=0.002), str(measure)
