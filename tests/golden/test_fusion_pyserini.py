"""Both fusion rules of Pyserini, restated by hand from its documentation, on published TREC DL runs.

* ``pyserini.search.hybrid``: ``alpha x sparse + dense``; a passage that one list lacks gets that list's
  lowest score.
* ``pyserini.fusion --method interpolation``: ``alpha x A + (1 - alpha) x B``; a missing passage adds 0.
* ``pyserini.fusion --method rrf``: the sum of ``1 / (60 + rank)``.

The measures of our fused run and of the rule's, both in double precision, must agree to four decimals.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dretrieve.metrics.judged import judge
from dretrieve.metrics.registry import parse_measures
from dretrieve.runs.build import HitColumns, build_run
from dretrieve.runs.fuse import align, fuse
from dretrieve.runs.options import FuseOptions
from dretrieve.runs.read import read_run
from dretrieve.text.qrels import read_qrels
from dretrieve.types import Qrels, Run

pytestmark = pytest.mark.realdata

Scores = dict[str, dict[str, float]]
MEASURES = parse_measures("nDCG@10 AP RR R@100 P@10")
DENSE = ["d_bert_kd_tasb", "rep_llama", "open_ai_ada2"]


def scores_of(path: Path) -> Scores:
    """Return the file's scores as Python numbers, as Pyserini reads them."""
    found: Scores = {}
    for line in path.read_text().splitlines():
        query, _, passage, _, score, _ = line.split()
        found.setdefault(query, {})[passage] = float(score)
    return found


def hybrid(dense: dict[str, float], sparse: dict[str, float], alpha: float) -> dict[str, float]:
    low_dense, low_sparse = min(dense.values()), min(sparse.values())
    return {
        passage: alpha * sparse.get(passage, low_sparse) + dense.get(passage, low_dense)
        for passage in {*dense, *sparse}
    }


def interpolation(dense: dict[str, float], sparse: dict[str, float], alpha: float) -> dict[str, float]:
    share = 1 / (1 + alpha)  # ours weighs dense 1 and sparse alpha; theirs share and 1 - share
    return {
        passage: share * dense.get(passage, 0.0) + (1 - share) * sparse.get(passage, 0.0)
        for passage in {*dense, *sparse}
    }


def reciprocal(dense: dict[str, float], sparse: dict[str, float], alpha: float) -> dict[str, float]:
    total: dict[str, float] = {}
    for scores in (dense, sparse):
        order = sorted(sorted(scores, reverse=True), key=lambda passage: -scores[passage])
        for rank, passage in enumerate(order, start=1):
            total[passage] = total.get(passage, 0.0) + 1 / (60 + rank)
    return total


def run_of(scores: Scores, hits: int) -> Run:
    queries, passages, values = [], [], []
    table = {passage: row for row, passage in enumerate({p for found in scores.values() for p in found})}
    for row, found in enumerate(scores.values()):
        best = sorted(sorted(found, reverse=True), key=lambda passage: -found[passage])[:hits]
        queries += [row] * len(best)
        passages += [table[passage] for passage in best]
        values += [found[passage] for passage in best]
    columns = HitColumns(
        query_ids=list(scores),
        passage_ids=list(table),
        queries=np.asarray(queries, np.int32),
        passages=np.asarray(passages, np.int32),
        scores=np.asarray(values, np.float64),
        tag="rule",
    )
    return build_run(columns)


def measured(run: Run, qrels: Qrels) -> dict[str, float]:
    judged = judge(run, qrels)
    return {str(measure): measure.aggregate(measure.values(judged)) for measure in MEASURES}


@pytest.mark.parametrize("year", ["19", "20"])
@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (hybrid, {"missing": "min"}),
        (interpolation, {"missing": "zero"}),
        (reciprocal, {"method": "rrf"}),
    ],
)
@pytest.mark.parametrize("alpha", [0.1, 1.2])
def test_the_rule_is_pyserinis(
    data_dir: Path, year: str, name: str, rule: Callable[..., dict[str, float]], options: dict, alpha: float
) -> None:
    pool = data_dir / "msmarco-dl19-dl20-pool"
    dense, sparse = (pool / "runs" / f"{run}.dl{year}.trec" for run in (name, "bm25"))
    qrels = read_qrels(pool / "official" / f"qrels.dl{year}-passage.txt")
    ours = fuse(align(read_run(dense), read_run(sparse)), FuseOptions(alpha=alpha, hits=1000, **options))
    left, right = scores_of(dense), scores_of(sparse)
    theirs = {query: rule(left[query], right[query], alpha) for query in left}
    assert measured(ours, qrels) == pytest.approx(measured(run_of(theirs, 1000), qrels), abs=5e-5)


@pytest.mark.parametrize("year", ["19", "20"])
def test_fusion_with_a_tuned_alpha_is_no_worse_than_either(data_dir: Path, year: str) -> None:
    pool = data_dir / "msmarco-dl19-dl20-pool"
    dense, sparse = (read_run(pool / "runs" / f"{run}.dl{year}.trec") for run in (DENSE[0], "bm25"))
    qrels = read_qrels(pool / "official" / f"qrels.dl{year}-passage.txt")
    best = max(
        measured(fuse(align(dense, sparse), FuseOptions(alpha=a / 10)), qrels)["nDCG@10"] for a in range(10)
    )
    assert best >= max(measured(run, qrels)["nDCG@10"] for run in (dense, sparse))
