"""nDCG@k: the discounted gain of the ranking over that of the best ranking the judgements allow.

Järvelin and Kekäläinen, TOIS 2002, with trec_eval's gain and discount: DCG@k = sum over ranks r <= k of
max(grade, 0) / log2(r + 1); nDCG@k = DCG@k / DCG@k of all judged passages by grade. Grades are the gains
(linear, not 2^grade - 1). Without a cutoff every hit counts. A query without a positive grade has value 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged, count_in_group, ratio
from dretrieve.metrics.measure import Definition, Parameters


def ndcg(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return nDCG of every query: [Q], 0 to 1."""
    query, rank = judged.query, judged.rank
    gain = np.maximum(judged.grade, 0).astype(np.float64)
    best_rank = count_in_group(judged.qrel_query)
    best_gain = np.maximum(judged.qrel_grade, 0).astype(np.float64)
    if parameters.k is not None:
        gain = np.where(rank <= parameters.k, gain, 0.0)
        best_gain = np.where(best_rank <= parameters.k, best_gain, 0.0)
    found = judged.sums(query, gain / np.log2(rank + 1.0))
    best = judged.sums(judged.qrel_query, best_gain / np.log2(best_rank + 1.0))
    return ratio(found, best)


DEFINITION = Definition(
    name="nDCG",
    summary="discounted gain over the best possible",
    cutoff="optional",
    compute=ndcg,
    parameters=(),
)
