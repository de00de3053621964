"""NumQ: how many queries are measured; trec_eval's ``num_q``."""

from __future__ import annotations

import numpy as np

from dretrieve.metrics.judged import Judged, Values
from dretrieve.metrics.measure import Parameters, measure


@measure("NumQ", parameters=(), aggregate="sum")
def num_q(judged: Judged, parameters: Parameters) -> Values:
    """Return 1 for every query: [Q]."""
    return np.ones(len(judged), dtype=np.float64)
