"""RR@k: one over the rank of the first relevant hit; its mean is MRR (Kantor and Voorhees, TREC-5, 1996).

0 where no relevant hit stands within the first k. RR@10 is trec_eval's ``-M 10 -m recip_rank``.
"""

from __future__ import annotations

from dretrieve.metrics.judged import Judged, Values, count_in_group
from dretrieve.metrics.measure import Parameters, measure


@measure("RR", cutoff="optional")
def reciprocal_rank(judged: Judged, parameters: Parameters) -> Values:
    """Return RR of every query: [Q], 0 to 1."""
    query, rank = judged.relevant_hits(parameters.rel, parameters.k)
    first = count_in_group(query) == 1
    return judged.sums(query[first], 1.0 / rank[first])
