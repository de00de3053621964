"""Rprec: precision after R hits, R being the number of relevant passages; trec_eval's ``Rprec``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged, ratio
from dretrieve.metrics.measure import Definition, Parameters


def r_precision(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return Rprec of every query: [Q], 0 to 1."""
    relevant = judged.num_relevant(parameters.rel)
    query, rank = judged.relevant_hits(parameters.rel)
    return ratio(judged.sums(query[rank <= relevant[query]]), relevant)


DEFINITION = Definition(
    name="Rprec",
    summary="precision after as many hits as there are relevant",
    cutoff="none",
    compute=r_precision,
)
