import numpy as np
import pytest

from dretrieve.metrics.scores import Scores


def example(**changes):
    values = {"RR": np.asarray([1.0, 0.0, 0.5, 0.5]), "NumRet": np.asarray([1.0, 2.0, 3.0, 4.0])}
    fields = {
        "name": "r",
        "query_ids": ["a", "b", "c", "d"],
        "values": values,
        "aggregates": {"NumRet": "sum"},
    }
    return Scores(**(fields | changes))


def test_means_and_sums():
    assert example().means() == {"RR": 0.5, "NumRet": 10.0}


def test_macro_is_the_mean_of_the_groups_and_micro_of_the_queries():
    scores = example(groups=["x", "x", "x", "y"])
    assert scores.by_group() == {"x": {"RR": 0.5, "NumRet": 6.0}, "y": {"RR": 0.5, "NumRet": 4.0}}
    uneven = example(groups=["x", "y", "y", "y"])
    assert uneven.macro()["RR"] == pytest.approx((1 + 1 / 3) / 2)
    assert uneven.means()["RR"] == 0.5


def test_no_groups_no_macro():
    assert example().macro() == {}
    assert example().by_group() == {}


def test_per_query():
    assert example().per_query()["c"] == {"RR": 0.5, "NumRet": 3.0}


def test_no_queries():
    assert example(query_ids=[], values={"RR": np.empty(0)}).means() == {"RR": 0.0}
