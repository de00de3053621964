"""GMAP: the geometric mean of AP over queries, in which hard queries weigh more (trec_eval's ``gm_map``).

Robertson, CIKM 2006: GMAP = exp(mean over queries of log(max(AP, 0.00001))). The floor is trec_eval's; a
judged query that the run lacks has it too, as with ``trec_eval -c``.
"""

from __future__ import annotations

import numpy as np

from dretrieve.metrics.ap import average_precision
from dretrieve.metrics.judged import Judged, Values
from dretrieve.metrics.measure import Parameters, measure

FLOOR = 0.00001


@measure("GMAP", aggregate="geometric")
def floored_precision(judged: Judged, parameters: Parameters) -> Values:
    """Return AP of every query, at least the floor: [Q]."""
    return np.maximum(average_precision(judged, parameters), FLOOR)
