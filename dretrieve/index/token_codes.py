"""What a token index holds beside the embeddings: a centroid and a coded residual for each token vector.

After residual compression as ColBERTv2 has it (Santhanam et al., 2022, section 3.3): a vector is stored as
the number of its nearest centroid and the difference from it in 1 to 8 bits a dimension. Where we differ:
centroids and residuals are whole multiples of one number each, so that a product with a query in bytes needs
no table, and each reconstruction has a bound on its error, so that an exact search can rule passages out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import VerificationError
from dretrieve.kernels.residuals import lists_of
from dretrieve.store.npy import map_array

ARRAYS = (
    *("centroids", "levels", "scales"),  # int8; int8; float32, what the two are multiplied by, and more
    *("codes", "residuals", "errors", "borders"),
)


SALIENCE = "salience"


@dataclass(frozen=True, slots=True)
class TokenCodes:
    """The codes of T token vectors of N passages.

    All but ``centroids``, ``levels`` and, below 8 bits, the lists are memory-mapped. The reconstruction of a
    token is ``centroids[code] + scale * levels[residual code]``, in float32.

    Attributes:
        centroids: [C, dim] float32, whole multiples (-127 to 127, one of these is reached) of one number; C
            is a power of two up to 32,768.
        codes: [T] uint16, the centroid of each token.
        residuals: [T, dim * bits / 8 rounded up] uint8; the residual code of dimension d stands in the bits
            from ``d * bits % 8`` on (0 is the lowest) of byte ``d * bits // 8``.
        levels: [2 ** bits] int8, rising.
        scale: what a level is multiplied by.
        errors: float32, how far a reconstruction is from the stored vector at most (Euclidean): [T] with 8
            bits, else [C], the largest of a centroid's tokens.
        list_offsets: [C + 1] int64.
        lists: [L] uint16, or int32 from 65,537 passages on: the passages that have a token of centroid c are
            ``lists[list_offsets[c]:list_offsets[c + 1]]``, rising.
        borders: [N + 1] int64; passage p has the tokens ``borders[p]`` to ``borders[p + 1]``, maybe none.
        bits: 1, 2, 4 or 8.
        salience: [T] float16 or float32, how much each token counts; None where all count the same.
    """

    centroids: NDArray[np.float32]
    codes: NDArray[np.uint16]
    residuals: NDArray[np.uint8]
    levels: NDArray[np.int8]
    scale: float
    errors: NDArray[np.float32]
    list_offsets: NDArray[np.int64]
    lists: NDArray[np.uint16] | NDArray[np.int32]
    borders: NDArray[np.int64]
    bits: int
    salience: NDArray[Any] | None = None

    def reconstructed(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return [stop - start, dim], what is stored of consecutive tokens."""
        packed = np.asarray(self.residuals[start:stop])
        shifts = np.arange(0, 8, self.bits, dtype=np.uint8)
        every = packed[:, :, None] >> shifts & (1 << self.bits) - 1
        every = every.reshape(len(packed), packed.shape[1] * len(shifts))
        steps = self.levels.astype(np.float32) * np.float32(self.scale)
        return np.asarray(self.centroids[self.codes[start:stop]] + steps[every[:, : self.centroids.shape[1]]])


def open_codes(folder: Path) -> TokenCodes:
    """Return the codes in a folder whose manifest was verified; every array is a file of its name.

    With fewer than 8 bits the lists are no files, and are made here (a second for 40 million tokens).
    """
    arrays = {name: map_array(folder / f"{name}.npy") for name in ARRAYS}
    if arrays["borders"][-1] != len(arrays["codes"]):
        raise VerificationError(
            f"{folder} was changed while it was opened (borders and codes do not fit); run the command again"
        )
    levels = np.array(arrays.pop("levels"))
    bits = len(levels).bit_length() - 1
    if bits == 8:
        lists = [map_array(folder / f"{name}.npy") for name in ("list_offsets", "lists")]
    else:
        lists = [*lists_of(arrays["codes"], arrays["borders"], len(arrays["centroids"]))]
    centroid_scale, scale = arrays.pop("scales")[:2].tolist()
    centroids = arrays.pop("centroids").astype(np.float32) * np.float32(centroid_scale)
    rest = {"list_offsets": lists[0], "lists": lists[1]}
    if (folder / f"{SALIENCE}.npy").exists():
        rest[SALIENCE] = map_array(folder / f"{SALIENCE}.npy")
    return TokenCodes(centroids=centroids, levels=levels, scale=scale, bits=bits, **arrays, **rest)
