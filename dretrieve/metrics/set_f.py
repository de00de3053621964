"""SetF: the harmonic mean of SetP and SetR; trec_eval's ``set_F`` with its default weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged, ratio
from dretrieve.metrics.measure import Definition, Parameters
from dretrieve.metrics.set_precision import set_precision
from dretrieve.metrics.set_recall import set_recall


def set_f(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return SetF of every query: [Q], 0 to 1."""
    precision, recall = set_precision(judged, parameters), set_recall(judged, parameters)
    return ratio(2.0 * precision * recall, precision + recall)


DEFINITION = Definition(name="SetF", summary="harmonic mean of SetP and SetR", cutoff="none", compute=set_f)
