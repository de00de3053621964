"""BM25 as Lucene computes it, piece by piece in 32-bit floats, so that scores are equal and not only close.

Lucene's BM25Similarity: ``idf = ln(1 + (N - df + .5) / (df + .5))`` with N the passages that hold a word;
``score = w - w / (1 + tf / (k1 (1 - b + b L / average)))`` with ``w = repetitions x idf``, without the
constant factor ``k1 + 1``; the length L goes through one byte (`length_bytes`),
the average is over exact lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dretrieve.options import option

_FREE = 24  # lengths below stand for themselves


@dataclass(frozen=True, kw_only=True, slots=True)
class Bm25Options:
    """What an index is built with; search may take other values, these are stored as its defaults.

    Attributes:
        k1: saturation of repeated words, 0 to 100 (Anserini's default 0.9).
        b: weight of a passage's length, 0 to 1 (Anserini's default 0.4).
    """

    k1: float = option(0.9, least=0, most=100)
    b: float = option(0.4, least=0, most=1)


def length_bytes(lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return each length in one byte: exact below 40, else three bits below the leading one (rounded down).

    This is Lucene's ``SmallFloat.intToByte4``.

    Args:
        lengths: [D], 0 to 2**31 - 1.
    """
    rest = np.maximum(lengths - _FREE, 0)
    # frexp is exact below 2**53: its exponent is the number of bits.
    bits = np.frexp(rest.astype(np.float64))[1].astype(np.int64)
    shift = np.maximum(bits - 4, 0)
    coded = np.where(bits < 4, rest, ((rest >> shift) & 7) | ((shift + 1) << 3))
    return np.where(lengths < _FREE, lengths, _FREE + coded).astype(np.uint8)


def byte_lengths() -> NDArray[np.int64]:
    """Return the length that each of the 256 bytes stands for (Lucene's ``SmallFloat.byte4ToInt``)."""
    codes = np.arange(256, dtype=np.int64)
    rest = np.maximum(codes - _FREE, 0)
    shift = np.maximum((rest >> 3) - 1, 0)
    decoded = np.where(rest < 8, rest, ((rest & 7) | 8) << shift)
    return np.where(codes < _FREE, codes, _FREE + decoded)


def pair_factors(
    frequencies: NDArray[np.int32], norms: NDArray[np.uint8], average_length: float, k1: float, b: float
) -> NDArray[np.float32]:
    """Return ``1 + tf / (k1 (1 - b + b L / average))`` of pairs of a frequency and a length byte.

    Args:
        frequencies: [C].
        norms: [C] length bytes.
        average_length: words per passage that has any; positive.
        k1: saturation of repeated words, 0 (repetition is nothing) to 100.
        b: weight of the length, 0 to 1.
    """
    one, saturation, weight = np.float32(1), np.float32(k1), np.float32(b)
    lengths = byte_lengths().astype(np.float32)
    with np.errstate(divide="ignore"):
        inverse = one / (saturation * ((one - weight) + weight * lengths / np.float32(average_length)))
    factors: NDArray[np.float32] = one + frequencies.astype(np.float32) * inverse[norms]
    return factors


def idf(passages_with: NDArray[np.int64], passages: int) -> NDArray[np.float32]:
    """Return the weight of terms that stand in so many of so many non-empty passages."""
    held = passages_with.astype(np.float64)
    return np.log(1 + (passages - held + 0.5) / (held + 0.5)).astype(np.float32)
