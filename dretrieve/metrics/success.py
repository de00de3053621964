"""Success@k: 1 if a relevant passage stands among the first k hits, else 0; trec_eval's ``success_k``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged
from dretrieve.metrics.measure import Definition, Parameters


def success(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return Success@k of every query: [Q], 0 or 1."""
    query, _ = judged.relevant_hits(parameters.rel, parameters.k)
    return np.minimum(judged.sums(query), 1.0)


DEFINITION = Definition(
    name="Success", summary="1 if any of the first k is relevant", cutoff="required", compute=success
)
