"""The page of a plain comparison."""

from __future__ import annotations

import numpy as np

from dretrieve.reports.compared_page import compared_page
from dretrieve.reports.comparison import System, compare_systems
from dretrieve.reports.metrics_file import Measured


def system(title, measures):
    values = {name: np.array([0.0, 1.0, share]) for name, share in measures.items()}
    means = {name: float(column.mean()) for name, column in values.items()}
    measured = Measured(name=title, means=means, query_ids=["a", "b", "c"], values=values)
    return System(title=title, measured=measured)


def test_curves_are_drawn_where_there_are_three_cutoffs():
    measures = {"nDCG@10": 0.5, "R@1": 0.1, "R@10": 0.5, "R@100": 0.9}
    page = compared_page(compare_systems([system("one", measures), system("two", measures)]), "Title")
    assert [figure.name for figure in page.figures] == ["ndcg-10", "r-curves"]
    assert page.figures[1].caption == "Recall against the number of passages looked at (logarithmic)."
    assert [row[1] for row in page.tables[0].rows] == ["one", "two"]
    few = compared_page(compare_systems([system("one", {"nDCG@10": 0.5, "R@10": 0.4})]), "Title")
    assert [figure.name for figure in few.figures] == ["ndcg-10"]
