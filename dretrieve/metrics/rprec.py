"""Rprec: precision after R hits, R being the number of relevant passages; trec_eval's ``Rprec``."""

from __future__ import annotations

from dretrieve.metrics.judged import Judged, Values, ratio
from dretrieve.metrics.measure import Parameters, measure


@measure("Rprec")
def r_precision(judged: Judged, parameters: Parameters) -> Values:
    """Return Rprec of every query: [Q], 0 to 1."""
    relevant = judged.num_relevant(parameters.rel)
    query, rank = judged.relevant_hits(parameters.rel)
    return ratio(judged.sums(query[rank <= relevant[query]]), relevant)
