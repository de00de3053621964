"""SetAP: SetP times SetR, the precision of an unranked set; trec_eval's ``set_map``."""

from __future__ import annotations

from dretrieve.metrics.judged import Judged, Values
from dretrieve.metrics.measure import Parameters, measure
from dretrieve.metrics.set_precision import set_precision
from dretrieve.metrics.set_recall import set_recall


@measure("SetAP")
def set_ap(judged: Judged, parameters: Parameters) -> Values:
    """Return SetAP of every query: [Q], 0 to 1."""
    return set_precision(judged, parameters) * set_recall(judged, parameters)
