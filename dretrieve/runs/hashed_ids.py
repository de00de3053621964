"""A table of ids with their hashes, so that looking for some among millions reads no id twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.store.ids import IdTable


class HashedIds(IdTable):
    """Ids as `dretrieve.runs.scan` reads them.

    Args:
        data: [bytes] uint8, each id followed by a newline.
        ends: [P] int64, where the newlines stand.
        hashes: [P] uint64 of `dretrieve.kernels.interning.hash_bytes`.
    """

    def __init__(self, data: NDArray[np.uint8], ends: NDArray[np.int64], hashes: NDArray[np.uint64]) -> None:
        self._data, self._ends = data, ends
        self.hashes = hashes
