"""NumQ: how many queries are measured; trec_eval's ``num_q``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged
from dretrieve.metrics.measure import Definition, Parameters


def num_q(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return 1 for every query: [Q]."""
    return np.ones(len(judged), dtype=np.float64)


DEFINITION = Definition(
    name="NumQ",
    summary="number of queries (summed)",
    cutoff="none",
    compute=num_q,
    parameters=(),
    aggregate="sum",
)
