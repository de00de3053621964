"""SetF: the harmonic mean of SetP and SetR; trec_eval's ``set_F`` with its default weight."""

from __future__ import annotations

from dretrieve.metrics.judged import Judged, Values, ratio
from dretrieve.metrics.measure import Parameters, measure
from dretrieve.metrics.set_precision import set_precision
from dretrieve.metrics.set_recall import set_recall


@measure("SetF")
def set_f(judged: Judged, parameters: Parameters) -> Values:
    """Return SetF of every query: [Q], 0 to 1."""
    precision, recall = set_precision(judged, parameters), set_recall(judged, parameters)
    return ratio(2.0 * precision * recall, precision + recall)
