"""Vectors in two dimensions: principal components, and t-SNE where scikit-learn is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError

PERPLEXITY = 30.0
LEAST_FOR_TSNE = 5


def pca(vectors: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first two principal components of vectors [N, D], N at least 1, and their shares.

    A component points to where its largest coefficient (of equal ones the first) is above 0. What has no
    second direction is 0 there.

    Returns:
        points [N, 2] about the mean; shares of the variance [2], between 0 and 1, zeros where all are equal.
    """
    centred = np.asarray(vectors, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    found = directions[:2]
    largest = np.abs(found).argmax(axis=1)
    found = found * np.where(found[np.arange(len(found)), largest] < 0, -1.0, 1.0)[:, None]
    variances = lengths**2
    shares = variances[:2] / (variances.sum() or 1.0)
    missing = 2 - len(found)
    return np.pad(centred @ found.T, ((0, 0), (0, missing))), np.pad(shares, (0, missing))


def tsne(vectors: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """Return [N, 2] by van der Maaten and Hinton's t-SNE, begun at the principal components.

    The perplexity is 30, or a third of the other points where they are fewer than 90.

    Args:
        vectors: [N, D], N at least `LEAST_FOR_TSNE`.
        seed: of scikit-learn's generator.

    Raises:
        PreconditionError: scikit-learn is not installed.
    """
    check_tsne()
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    found = TSNE(perplexity=perplexity, init="pca", random_state=seed % 2**32, n_jobs=1)
    return np.asarray(found.fit_transform(np.asarray(vectors, dtype=np.float32)), dtype=np.float64)


def check_tsne() -> None:
    """Raise `PreconditionError` where scikit-learn is not installed."""
    from importlib.util import find_spec

    if find_spec("sklearn") is None:
        raise PreconditionError(
            "--tsne needs scikit-learn; install it (pip install scikit-learn) or leave the option out: "
            "principal components are drawn always"
        )
