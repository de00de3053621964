"""NumRelRet: how many relevant passages were retrieved; trec_eval's ``num_rel_ret``. Summed over queries."""

from __future__ import annotations

from dretrieve.metrics.judged import Judged, Values
from dretrieve.metrics.measure import Parameters, measure


@measure("NumRelRet", aggregate="sum")
def num_rel_ret(judged: Judged, parameters: Parameters) -> Values:
    """Return the number of relevant hits of every query: [Q]."""
    query, _ = judged.relevant_hits(parameters.rel, parameters.k)
    return judged.sums(query)
