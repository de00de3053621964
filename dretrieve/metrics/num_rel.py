"""NumRel: how many relevant passages there are; trec_eval's ``num_rel``. Summed over queries."""

from __future__ import annotations

from dretrieve.metrics.judged import Judged, Values
from dretrieve.metrics.measure import Parameters, measure


@measure("NumRel", aggregate="sum")
def num_rel(judged: Judged, parameters: Parameters) -> Values:
    """Return the number of relevant passages of every query: [Q]."""
    return judged.num_relevant(parameters.rel)
