"""Panels of curves and dots: the same bytes each time, told apart without colour."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from dretrieve.reports.plots import MARKERS, Axes, Line
from dretrieve.reports.plots_panels import MOST_IN_A_PANEL, Dot, dots, panels


def curves(count, points=4):
    x = list(range(1, points + 1))
    return [Line(name=f"row {n}", x=x, y=[0.1 * n + 0.01 * k for k in x]) for n in range(count)]


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (6, 1), (7, 2), (14, 3)])
def test_few_curves_in_a_panel(count, parts):
    text = panels(curves(count), Axes(x="k", y="recall", log_x=True))
    assert text.count('id="axes_') == parts
    label = ET.fromstring(text).get("aria-label")
    assert label.startswith("recall: row 0 0.040")
    assert label.count("row") == count


def test_every_row_of_a_panel_has_its_own_dash_and_marker():
    text = panels(curves(MOST_IN_A_PANEL), Axes(y="recall"))
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
