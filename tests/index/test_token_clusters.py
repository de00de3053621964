"""Centroids of a token index: whole numbers that float32 holds exactly, whatever the dimensions and sizes."""

from __future__ import annotations

import numpy as np
import pytest

from dretrieve.errors import DataError
from dretrieve.index import token_clusters
from dretrieve.index.base import Passages
from dretrieve.index.token_clusters import Clusters, centroids_for, learn
from dretrieve.kernels.residuals import code_residuals
from dretrieve.store import shard_writer
from dretrieve.store.embeddings import Embeddings
from dretrieve.types import Vectors, offsets_of


@pytest.fixture
def passages(write_embeddings):
    def made(values: np.ndarray, dtype: str = "float32") -> Passages:
        lengths = np.full(len(values) // 4, 4)
        vectors = Vectors(values[: 4 * len(lengths)], offsets_of(lengths))
        ids = [f"p{row}" for row in range(len(lengths))]
        folder = write_embeddings(f"emb{len(values)}", ids, vectors, dtype=dtype, score="maxsim_sum")
        return Passages(Embeddings.open(folder), many=True)

    return made


def distances(values: np.ndarray, found: Clusters) -> np.ndarray:
    """Return [n, C] squared distances to the centroids."""
    centroids = found.coding.centroids.astype(np.float64)
    return (values**2).sum(axis=1)[:, None] - 2 * values @ centroids.T + (centroids**2).sum(axis=1)


@pytest.mark.parametrize(("dim", "size"), [(3, 1e-20), (130, 1.0), (700, 1e15)])
def test_a_vector_gets_a_near_centroid_by_exact_products(passages, dim: int, size: float) -> None:
    chance = np.random.default_rng(dim)
    middles = chance.standard_normal((40, dim))
    values = (middles[chance.integers(0, 40, 2000)] + 0.1 * chance.standard_normal((2000, dim))) * size
    values = values.astype(np.float32)
    found = learn(passages(values), 8, 1)
    assert found.centroids.shape == (64, dim)
    assert np.abs(found.centroids.astype(int)).max() == 127
    rows, (coarse, fine) = token_clusters._rounded(values, float(found.scales[3])), found._matrices
    for matrix in (coarse, *fine):
        assert (np.abs(rows) @ np.abs(matrix)).max(initial=0) <= 1 << 24
        assert (matrix == np.rint(matrix)).all()
    codes, far = found.nearest(values), distances(values / np.float32(size), _scaled(found, 1 / size))
    best, chosen = far.min(axis=1), far[np.arange(len(values)), codes]
    assert (chosen <= best + 0.02 * best.mean()).mean() > 0.98
    _, errors = code_residuals(values, codes, found.coding)
    assert np.median(errors) < 0.1 * np.sqrt(best.mean()) * size


def _scaled(found: Clusters, factor: float) -> Clusters:
    scales = (found.scales.astype(np.float64) * factor).astype(np.float32)
    return Clusters(found.centroids, found.coarse, found.cells, found.levels, scales)


def test_equal_vectors_have_no_residual(passages) -> None:
    values = np.tile(np.float32([0.5, -2, 0, 1]), (400, 1))
    found = learn(passages(values), 4, 1)
    _, errors = code_residuals(values, found.nearest(values), found.coding)
    assert errors.max() < 1e-2


@pytest.mark.parametrize(
    ("tokens", "bits", "count"),
    [(1, 8, 1), (4096, 8, 256), (300_000, 4, 16384), (1 << 22, 8, 32768), (4096, 2, 32), (900_000, 1, 8192)],
)
def test_how_many_centroids_there_are(tokens: int, bits: int, count: int) -> None:
    assert centroids_for(tokens, bits) == count


def test_what_is_no_number_is_refused(passages, monkeypatch) -> None:
    monkeypatch.setattr(shard_writer, "check_vectors", lambda vectors, ids: None)
    values = np.ones((400, 3))
    values[7, 1] = np.nan
    with pytest.raises(DataError, match="holds NaN or infinity; encode the passages again"):
        learn(passages(values), 8, 1)
