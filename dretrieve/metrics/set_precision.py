"""SetP: the share of relevant passages among all hits, whatever their rank; trec_eval's ``set_P``."""

from __future__ import annotations

import numpy as np

from dretrieve.metrics.judged import Judged, Values, ratio
from dretrieve.metrics.measure import Parameters, measure


@measure("SetP")
def set_precision(judged: Judged, parameters: Parameters) -> Values:
    """Return SetP of every query: [Q], 0 to 1."""
    query, _ = judged.relevant_hits(parameters.rel)
    return ratio(judged.sums(query), judged.retrieved.astype(np.float64))
