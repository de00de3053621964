"""Figures: the same bytes for the same numbers, well-formed, distinguishable without colour."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from dretrieve.reports.plots import (
    DASHES,
    HATCHES,
    MARKERS,
    MOST_IN_A_PANEL,
    Axes,
    Dot,
    Line,
    PaperPoint,
    bars,
    dots,
    heat_map,
    lines,
    panels,
    paper_and_ours,
    recall_points,
)


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


def test_a_panel_for_each_column_and_only_our_numbers_are_spoken():
    columns = {
        "NQ": [
            PaperPoint(name="DPR", paper=78.4, ours=77.5),
            PaperPoint(name="TASER", paper=80.7, ours=None),
        ],
        "TQ": [PaperPoint(name="DPR", paper=None, ours=79.0)],
    }
    text = paper_and_ours(["DPR", "TASER"], columns, "percent")
    assert ET.fromstring(text).get("aria-label") == ": NQ: DPR 77.5; TQ: DPR 79"[2:]
    assert text.count('id="axes_') == 2


def rows_over_k(count, points=4):
    x = list(range(1, points + 1))
    return [Line(name=f"row {n}", x=x, y=[0.1 * n + 0.01 * k for k in x]) for n in range(count)]


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (6, 1), (7, 2), (14, 3)])
def test_few_curves_in_a_panel(count, parts):
    text = panels(rows_over_k(count), Axes(x="k", y="recall", log_x=True))
    assert text.count('id="axes_') == parts
    label = ET.fromstring(text).get("aria-label")
    assert label.startswith("recall: row 0 0.040")
    assert label.count("row") == count


def test_every_row_of_a_panel_has_its_own_dash_and_marker():
    text = panels(rows_over_k(MOST_IN_A_PANEL), Axes(y="recall"))
    # The solid line has none; each other one has it in the plot and in the legend.
    assert text.count("stroke-dasharray") >= 2 * (MOST_IN_A_PANEL - 2)
    assert len(MARKERS) >= MOST_IN_A_PANEL


def test_many_looks_get_round_ticks_and_a_band_stays_inside():
    band = np.array([[0.0, 1.0]] * 30)
    wide = Line(name="a", x=list(range(30)), y=[0.5] * 30, interval=band)
    text = panels([wide], Axes(x="step", y="dev"))
    assert text.count('id="xtick_') < 12
    assert panels([wide], Axes(x="step", y="dev")) == text


def test_dots_have_markers_and_whiskers():
    points = [Dot(name=f"row {n}", x=100.0 + n, y=0.5, spread=0.1 * (n % 2)) for n in range(9)]
    text = dots(points, Axes(x="parameters", y="NQ"))
    assert ET.fromstring(text).get("aria-label").count("row") == 9
    assert text.count('id="LineCollection_') == 2 * 4  # whiskers of four rows, here and in the legend
    assert dots(points, Axes(x="parameters", y="NQ")) == text


SHARES = np.array([[1.0, 0.0], [0.25, 0.75]])


def heat(shares=SHARES, columns=("expert 0", "expert 1")):
    sides = {"queries": shares, "passages": 1 - shares}
    return heat_map(sides, ["layer 2", "layer 5"], columns, "Share of tokens")


def test_the_same_shares_give_the_same_bytes_of_one_svg_element():
    assert heat() == heat()
    assert ET.fromstring(heat()).tag.endswith("svg")
    assert "<image" not in heat()


def test_every_share_is_a_grey_of_its_own_and_spoken():
    fills = set(re.findall(r"fill: (#[0-9a-f]{6})", heat()))
    for share in (0.0, 0.25, 0.75):  # black is what SVG fills with when nothing is said
        tone = round(255 * (1 - share))
        assert any(abs(int(fill[1:3], 16) - tone) <= 1 and fill[1:3] * 3 == fill[1:] for fill in fills), share
    label = ET.fromstring(heat()).get("aria-label")
    assert label.startswith("Share of tokens: queries, layer 2: expert 0 100 percent, expert 1 0 percent; ")
    assert "passages, layer 5: expert 0 75 percent, expert 1 25 percent" in label


def test_many_experts_lose_their_numbers_and_stay_small():
    many = np.full((2, 64), 1 / 64)
    text = heat(many, [str(number) for number in range(64)])
    assert len(text) < 400_000
    assert ET.fromstring(text).get("aria-label").count("percent") == 2 * 2 * 64
