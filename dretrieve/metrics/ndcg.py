"""nDCG@k: the discounted gain of the ranking over that of the best ranking the judgements allow.

Järvelin and Kekäläinen, TOIS 2002, with trec_eval's gain and discount: DCG@k = sum over ranks r <= k of
max(grade, 0) / log2(r + 1); nDCG@k = DCG@k / DCG@k of all judged passages by grade. Grades are the gains;
``nDCG(dcg='exp-log2')@10`` has 2^grade - 1 (Burges et al., ICML 2005; TREC's gdeval). Without a cutoff every
hit counts. A query without a positive grade has value 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.metrics.judged import Judged, Values, count_in_group, ratio
from dretrieve.metrics.measure import HIGHEST, Parameters, measure


@measure("nDCG", cutoff="optional", parameters=("dcg",))
def ndcg(judged: Judged, parameters: Parameters) -> Values:
    """Return nDCG of every query: [Q], 0 to 1.

    Raises:
        DataError: a grade is too large for a power of 2.
    """
    gain_of = exponential_gain if parameters.dcg == "exp-log2" else linear_gain
    query, rank = judged.query, judged.rank
    gain = gain_of(judged.grade)
    best_rank = count_in_group(judged.qrel_query)
    best_gain = gain_of(judged.qrel_grade)
    if parameters.k is not None:
        gain = np.where(rank <= parameters.k, gain, 0.0)
        best_gain = np.where(best_rank <= parameters.k, best_gain, 0.0)
    found = judged.sums(query, gain / np.log2(rank + 1.0))
    best = judged.sums(judged.qrel_query, best_gain / np.log2(best_rank + 1.0))
    return ratio(found, best)


def linear_gain(grade: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the grade, at least 0."""
    return np.maximum(grade, 0).astype(np.float64)


def exponential_gain(grade: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return 2^grade - 1, at least 0.

    Raises:
        DataError: no number of 64 bits holds it.
    """
    highest = int(grade.max(initial=0))
    if highest > HIGHEST:
        raise DataError(f"2^{highest} is no number of 64 bits; exponential gains take grades up to {HIGHEST}")
    return np.exp2(linear_gain(grade)) - 1
