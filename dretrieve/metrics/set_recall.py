"""SetR: the share of the relevant passages that were retrieved at any rank; trec_eval's ``set_recall``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged
from dretrieve.metrics.measure import Definition, Parameters
from dretrieve.metrics.recall import recall


def set_recall(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return SetR of every query: [Q], 0 to 1."""
    return recall(judged, Parameters(rel=parameters.rel))


DEFINITION = Definition(
    name="SetR", summary="share of the relevant among all hits", cutoff="none", compute=set_recall
)
