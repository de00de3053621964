"""AP@k: the mean, over all relevant passages, of the precision at each one's rank (Harman, TREC-1, 1992).

AP = 1/R * sum over relevant hits of (relevant hits up to there) / rank, with R all relevant passages, found
or not, also under a cutoff (trec_eval's ``map_cut_k``). Its mean over queries is MAP.
"""

from __future__ import annotations

from dretrieve.metrics.judged import Judged, Values, count_in_group, ratio
from dretrieve.metrics.measure import Parameters, measure


@measure("AP", cutoff="optional")
def average_precision(judged: Judged, parameters: Parameters) -> Values:
    """Return AP of every query: [Q], 0 to 1."""
    query, rank = judged.relevant_hits(parameters.rel, parameters.k)
    found = judged.sums(query, count_in_group(query) / rank)
    return ratio(found, judged.num_relevant(parameters.rel))
