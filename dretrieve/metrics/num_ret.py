"""NumRet: how many hits were retrieved; trec_eval's ``num_ret``. Summed over queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged
from dretrieve.metrics.measure import Definition, Parameters


def num_ret(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return the number of hits of every query: [Q]."""
    return judged.retrieved.astype(np.float64)


DEFINITION = Definition(
    name="NumRet",
    summary="number of hits (summed)",
    cutoff="none",
    compute=num_ret,
    parameters=(),
    aggregate="sum",
)
