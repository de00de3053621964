"""Judged@k: the share of the first k hits that are judged, relevant or not; 1 minus trec_eval's ``unj_k``.

The denominator is the number of hits where fewer than k were retrieved (the rule of ir_measures and of
Pyserini's ``judged.k`` for a query); 0 for a query without hits. A negative grade marks a passage that was
pooled but not judged. A low value warns that the other measures guess.
"""

from __future__ import annotations

import numpy as np

from dretrieve.metrics.judged import Judged, Values, ratio
from dretrieve.metrics.measure import Parameters, measure


@measure("Judged", cutoff="required", parameters=())
def judged_rate(judged: Judged, parameters: Parameters) -> Values:
    """Return Judged@k of every query: [Q], 0 to 1."""
    assert parameters.k is not None
    within = judged.query[(judged.rank <= parameters.k) & (judged.grade >= 0)]
    return ratio(judged.sums(within), np.minimum(judged.retrieved, parameters.k).astype(np.float64))
