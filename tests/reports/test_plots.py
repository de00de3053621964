"""Figures: the same bytes for the same numbers, well-formed, distinguishable without colour."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from dretrieve.reports.plots import DASHES, HATCHES, MARKERS, Axes, Line, bars, lines, recall_points
from dretrieve.reports.plots_paper import PaperPoint, paper_and_ours


def curves(count=3):
    return [
        Line(name=f"system {number} <&>", x=[1, 10, 100], y=[0.1 + 0.1 * number, 0.5, 0.9])
        for number in range(count)
    ]


def drawn():
    axes = Axes(x="k", y="recall at k", log_x=True)
    interval = np.array([[0.2, 0.4], [0.3, 0.6]])
    points = {
        "NQ": [
            PaperPoint(name="DPR", paper=78.4, ours=77.9),
            PaperPoint(name="Shared", paper=None, ours=80.0),
        ]
    }
    return {
        "lines": lines(curves(), axes),
        "bars": bars(["BM25", "dense"], [0.3, 0.45], Axes(x="nDCG@10"), interval),
        "paper": paper_and_ours(["DPR", "Shared"], points, "percent"),
    }


def test_the_same_numbers_give_the_same_bytes_whatever_the_users_style():
    import matplotlib

    first = drawn()
    with matplotlib.rc_context({"lines.linewidth": 9.0, "axes.facecolor": "red"}):
        assert drawn() == first


@pytest.mark.parametrize("kind", ["lines", "bars", "paper"])
def test_each_is_one_well_formed_svg_element_without_dates(kind):
    text = drawn()[kind]
    tree = ET.fromstring(text)
    assert tree.tag.endswith("svg")
    assert tree.get("role") == "img"
    assert tree.get("aria-label")
    assert "<metadata>" not in text
    assert "Date" not in text
    assert len(text) < 200_000


def test_values_are_spoken_for_those_who_cannot_see():
    label = ET.fromstring(drawn()["bars"]).get("aria-label")
    assert label == "nDCG@10: BM25 0.300; dense 0.450"
    assert "system 0 <&> 0.900" in ET.fromstring(drawn()["lines"]).get("aria-label")


def test_dashes_markers_and_hatches_tell_rows_apart_in_black_and_white():
    for kinds in (DASHES, MARKERS, HATCHES):
        assert len(kinds) >= 5
        assert len({str(kind) for kind in kinds}) == len(kinds)
    text = lines(curves(5), Axes(y="recall"))
    assert text.count("stroke-dasharray") >= 4


def test_families_of_cutoffs():
    found = recall_points(["nDCG@10", "R@20", "R@1", "R@5", "top5", "top1", "top20", "RR@10", "R(rel=2)@1"])
    assert found == {
        "R": [(1, "R@1"), (5, "R@5"), (20, "R@20")],
        "top": [(1, "top1"), (5, "top5"), (20, "top20")],
    }
