"""R@k: the share of all relevant passages that stand among the first k hits; trec_eval's ``recall_k``.

0 for a query without relevant passages. Not the "answer recall" of DPR: that one is ``top20``.
"""

from __future__ import annotations

from dretrieve.metrics.judged import Judged, Values, ratio
from dretrieve.metrics.measure import Parameters, measure


@measure("R", cutoff="required")
def recall(judged: Judged, parameters: Parameters) -> Values:
    """Return R@k of every query: [Q], 0 to 1."""
    query, _ = judged.relevant_hits(parameters.rel, parameters.k)
    return ratio(judged.sums(query), judged.num_relevant(parameters.rel))
