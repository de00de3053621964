"""SetR: the share of the relevant passages that were retrieved at any rank; trec_eval's ``set_recall``."""

from __future__ import annotations

from dretrieve.metrics.judged import Judged, Values
from dretrieve.metrics.measure import Parameters, measure
from dretrieve.metrics.recall import recall


@measure("SetR")
def set_recall(judged: Judged, parameters: Parameters) -> Values:
    """Return SetR of every query: [Q], 0 to 1."""
    return recall(judged, Parameters(rel=parameters.rel))
