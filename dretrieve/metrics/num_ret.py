"""NumRet: how many hits were retrieved; trec_eval's ``num_ret``. Summed over queries."""

from __future__ import annotations

import numpy as np

from dretrieve.metrics.judged import Judged, Values
from dretrieve.metrics.measure import Parameters, measure


@measure("NumRet", parameters=(), aggregate="sum")
def num_ret(judged: Judged, parameters: Parameters) -> Values:
    """Return the number of hits of every query: [Q]."""
    return judged.retrieved.astype(np.float64)
