"""Two dimensions: principal components against the covariance's own, their sign, what has no second one."""

from __future__ import annotations

import numpy as np
import pytest

from dretrieve.reports.projection import LEAST_FOR_TSNE, pca, tsne


@pytest.fixture
def vectors():
    return np.random.default_rng(3).normal(size=(40, 6)) * [9, 4, 1, 1, 1, 1] + 5


def test_components_are_the_covariances_and_their_shares_its_eigenvalues(vectors):
    points, shares = pca(vectors)
    values = np.linalg.eigvalsh(np.cov(vectors.T))[::-1]
    np.testing.assert_allclose(points.var(axis=0, ddof=1), values[:2])
    np.testing.assert_allclose(shares, values[:2] / values.sum())
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    assert abs(points[:, 0] @ points[:, 1]) < 1e-9


def test_a_component_points_to_where_its_largest_coefficient_is_positive(vectors):
    points, _ = pca(vectors)
    for place in (0, 1):  # the two wide directions
        assert np.corrcoef(points[:, place], vectors[:, place])[0, 1] > 0.9
    np.testing.assert_allclose(pca(-vectors)[0], -points, atol=1e-9)


@pytest.mark.parametrize(
    ("vectors", "points", "shares"),
    [
        ([[3.0, 1.0]], [[0, 0]], [0, 0]),
        ([[1.0], [3.0]], [[-1, 0], [1, 0]], [1, 0]),
        ([[2.0, 2.0]] * 3, [[0, 0]] * 3, [0, 0]),
    ],
)
def test_what_has_no_second_direction(vectors, points, shares):
    found = pca(np.array(vectors))
    np.testing.assert_allclose(found[0], points, atol=1e-12)
    np.testing.assert_allclose(found[1], shares, atol=1e-12)


def test_tsne_is_the_same_for_the_same_seed_down_to_five_texts(vectors):
    for some in (vectors, vectors[:LEAST_FOR_TSNE]):
        found = tsne(some, 7)
        assert found.shape == (len(some), 2)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, tsne(some, 7))
