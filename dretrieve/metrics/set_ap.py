"""SetAP: SetP times SetR, the precision of an unranked set; trec_eval's ``set_map``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.judged import Judged
from dretrieve.metrics.measure import Definition, Parameters
from dretrieve.metrics.set_precision import set_precision
from dretrieve.metrics.set_recall import set_recall


def set_ap(judged: Judged, parameters: Parameters) -> NDArray[np.float64]:
    """Return SetAP of every query: [Q], 0 to 1."""
    return set_precision(judged, parameters) * set_recall(judged, parameters)


DEFINITION = Definition(name="SetAP", summary="SetP times SetR", cutoff="none", compute=set_ap)
