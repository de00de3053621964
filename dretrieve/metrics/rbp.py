"""RBP(p): the rate of gain of a reader who goes on to the next hit with probability p.

Moffat and Zobel, TOIS 2008: RBP = (1 - p) * sum over hits of gain * p^(rank - 1). The gain is the grade
over the highest grade judged for the query, which is trec_eval's ``rbp`` (whose p is 0.9; here 0.8 unless
given, as in ir_measures). Negative grades gain nothing.
"""

from __future__ import annotations

import numpy as np

from dretrieve.metrics.judged import Judged, Values, ratio
from dretrieve.metrics.measure import Parameters, measure


@measure("RBP", cutoff="optional", parameters=("p",))
def rank_biased_precision(judged: Judged, parameters: Parameters) -> Values:
    """Return RBP of every query: [Q], 0 to 1."""
    highest = np.zeros(len(judged), dtype=np.float64)
    np.maximum.at(highest, judged.qrel_query, judged.qrel_grade.astype(np.float64))
    gain = ratio(np.maximum(judged.grade, 0).astype(np.float64), highest[judged.query])
    if parameters.k is not None:
        gain = np.where(judged.rank <= parameters.k, gain, 0.0)
    return (1.0 - parameters.p) * judged.sums(judged.query, gain * parameters.p ** (judged.rank - 1.0))
