"""NumRelRet: how many relevant passages were retrieved; trec_eval's ``num_rel_ret``. Summed over queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged
from dretrieve.metrics.measure import Definition, Parameters


def num_rel_ret(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return the number of relevant hits of every query: [Q]."""
    query, _ = judged.relevant_hits(parameters.rel, parameters.k)
    return judged.sums(query)


DEFINITION = Definition(
    name="NumRelRet",
    summary="number of relevant hits (summed)",
    cutoff="none",
    compute=num_rel_ret,
    aggregate="sum",
)
