"""NumRel: how many relevant passages there are; trec_eval's ``num_rel``. Summed over queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged
from dretrieve.metrics.measure import Definition, Parameters


def num_rel(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return the number of relevant passages of every query: [Q]."""
    return judged.num_relevant(parameters.rel)


DEFINITION = Definition(
    name="NumRel",
    summary="number of relevant passages (summed)",
    cutoff="none",
    compute=num_rel,
    aggregate="sum",
)
