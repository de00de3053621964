"""Bpref: how seldom judged irrelevant passages stand before relevant ones (Buckley and Voorhees, SIGIR 2004).

Bpref = 1/R * sum over relevant hits of 1 - min(n, R) / min(N, R), with n the judged irrelevant hits before
it, N all judged irrelevant passages; trec_eval's ``bpref``. Hits without judgement, or with a negative
grade, do not count.
"""

from __future__ import annotations

import numpy as np

from dretrieve.metrics.judged import Judged, Values, ratio
from dretrieve.metrics.measure import Parameters, measure


@measure("Bpref")
def bpref(judged: Judged, parameters: Parameters) -> Values:
    """Return Bpref of every query: [Q], 0 to 1."""
    relevant = judged.num_relevant(parameters.rel)
    irrelevant = judged.num_relevant(0) - relevant
    bad = ((judged.grade >= 0) & (judged.grade < parameters.rel)).astype(np.float64)
    running = np.cumsum(bad)
    before_query = np.concatenate([[0.0], running])[np.searchsorted(judged.query, judged.query)]
    good = judged.grade >= parameters.rel
    query, before = judged.query[good], (running - before_query)[good]
    worst = np.minimum(irrelevant, relevant)[query]
    fraction = ratio(np.minimum(before, relevant[query]), worst)
    return ratio(judged.sums(query, 1.0 - fraction), relevant)
