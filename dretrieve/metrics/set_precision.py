"""SetP: the share of relevant passages among all hits, whatever their rank; trec_eval's ``set_P``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged, ratio
from dretrieve.metrics.measure import Definition, Parameters


def set_precision(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return SetP of every query: [Q], 0 to 1."""
    query, _ = judged.relevant_hits(parameters.rel)
    return ratio(judged.sums(query), judged.retrieved.astype(np.float64))


DEFINITION = Definition(
    name="SetP", summary="share of relevant among all hits", cutoff="none", compute=set_precision
)
