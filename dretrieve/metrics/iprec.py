"""IPrec@x: the best precision at any rank where recall is at least x; trec_eval's ``iprec_at_recall_x``.

Recall x is reached after floor(x * R + 0.5) relevant hits, R being all relevant passages. That is the
rounding of the official outputs of trec_eval; pytrec_eval carries an older trec_eval that adds 0.9 and so
differs at some levels.
"""

from __future__ import annotations

import numpy as np

from dretrieve.metrics.judged import Judged, Values, count_in_group
from dretrieve.metrics.measure import Parameters, measure


@measure("IPrec", cutoff="recall")
def interpolated_precision(judged: Judged, parameters: Parameters) -> Values:
    """Return IPrec of every query: [Q], 0 to 1."""
    needed = np.floor(parameters.recall * judged.num_relevant(parameters.rel) + 0.5)
    query, rank = judged.relevant_hits(parameters.rel)
    found = count_in_group(query)
    enough = found >= needed[query]
    best = np.zeros(len(judged), dtype=np.float64)
    np.maximum.at(best, query[enough], found[enough] / rank[enough])
    return best
