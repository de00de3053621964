"""P@k: the share of relevant passages among the first k places; trec_eval's ``P_k``.

The denominator is k even where fewer hits were retrieved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged
from dretrieve.metrics.measure import Definition, Parameters


def precision(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return P@k of every query: [Q], 0 to 1."""
    assert parameters.k is not None
    query, _ = judged.relevant_hits(parameters.rel, parameters.k)
    return judged.sums(query) / parameters.k


DEFINITION = Definition(
    name="P", summary="share of relevant among the first k places", cutoff="required", compute=precision
)
