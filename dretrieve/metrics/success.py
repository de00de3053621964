"""Success@k: 1 if a relevant passage stands among the first k hits, else 0; trec_eval's ``success_k``."""

from __future__ import annotations

import numpy as np

from dretrieve.metrics.judged import Judged, Values
from dretrieve.metrics.measure import Parameters, measure


@measure("Success", cutoff="required")
def success(judged: Judged, parameters: Parameters) -> Values:
    """Return Success@k of every query: [Q], 0 or 1."""
    query, _ = judged.relevant_hits(parameters.rel, parameters.k)
    return np.minimum(judged.sums(query), 1.0)
