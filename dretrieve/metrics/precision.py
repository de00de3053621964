"""P@k: the share of relevant passages among the first k places; trec_eval's ``P_k``.

The denominator is k even where fewer hits were retrieved.
"""

from __future__ import annotations

from dretrieve.metrics.judged import Judged, Values
from dretrieve.metrics.measure import Parameters, measure


@measure("P", cutoff="required")
def precision(judged: Judged, parameters: Parameters) -> Values:
    """Return P@k of every query: [Q], 0 to 1."""
    assert parameters.k is not None
    query, _ = judged.relevant_hits(parameters.rel, parameters.k)
    return judged.sums(query) / parameters.k
