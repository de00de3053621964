"""Texts in shades: where tokens stand, how dark they are, their lines and frames; the same bytes again."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from dretrieve.reports.plots import HUES
from dretrieve.reports.shaded_text import COLUMNS, ShadedText, shaded_texts

SVG = "{http://www.w3.org/2000/svg}"


def drawn(**changes) -> str:
    given = {
        "name": "the query",
        "tokens": ["[CLS]", "honey", "$x^2$", "<moon>"],
        "shades": [0.0, 1.0, 0.5, 0.0],
        "lines": [0.0, 1.8, 0.6, 0.0],
        "frames": {1: [0], 2: [1, 2]},
    } | changes
    return shaded_texts([ShadedText(**given)], "salience of <the query>")


def test_the_same_texts_give_the_same_bytes() -> None:
    first = drawn()
    assert drawn() == first
    assert drawn(shades=[0.0, 0.5, 0.5, 0.0]) != first
    root = ET.fromstring(first)
    assert root.attrib["aria-label"] == "salience of <the query>"


def test_greys_lines_and_frames_are_those_asked_for() -> None:
    svg = drawn()
    fills = re.findall(r"fill: (#[0-9a-f]{6})", svg)
    # white, .55 and .775 of it; letters are all of one dark colour
    assert {"#ffffff", "#8c8c8c", "#c6c6c6"} <= set(fills)
    assert re.findall(r"stroke-width: (1\.8|0\.6)\b", svg) == ["1.8", "0.6"]
    root = ET.fromstring(svg)
    frames = [of for of in root.iter(f"{SVG}g") if of.get("id", "").startswith("frame-")]
    assert [of.get("id") for of in frames] == ["frame-0-1-0", "frame-0-2-1", "frame-0-2-2"]
    for frame in frames:
        style = next(frame.iter(f"{SVG}path")).attrib["style"]
        assert f"stroke: {HUES[int(frame.attrib['id'][-1])]}" in style
        assert "fill: none" in style


@pytest.mark.parametrize("longest", [3, 40, COLUMNS + 30])
def test_a_line_holds_what_fits_and_every_token_stands_somewhere(longest: int) -> None:
    count = 70
    tokens = ["x" * (1 + number * 7 % longest) for number in range(count)]
    svg = drawn(tokens=tokens, shades=[0.0] * count, lines=[0.0] * count, frames={})
    places = []
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        if re.fullmatch(r"token-0-\d+", group.get("id", "")):
            moved = next(of.attrib["transform"] for of in group.iter(f"{SVG}g") if "transform" in of.attrib)
            x, y = map(float, re.match(r"translate\(([-\d.]+) ([-\d.]+)\)", moved).groups())
            places.append((round(y, 1), x))
    assert len(places) == count
    assert places == sorted(places), "from left to right, line after line"
    width = 4.816  # of a letter, in points
    for (line, left), (below, right), token in zip(places, places[1:], tokens, strict=False):
        if line == below:
            assert right - left == pytest.approx(width * (len(token) + 1), abs=0.1)
            assert left + width * len(token) < width * COLUMNS
