from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np

from dretrieve.reports.plots_heat import heat_map

SHARES = np.array([[1.0, 0.0], [0.25, 0.75]])


def drawn(shares=SHARES, columns=("expert 0", "expert 1")):
    panels = {"queries": shares, "passages": 1 - shares}
    return heat_map(panels, ["layer 2", "layer 5"], columns, "Share of tokens")


def test_the_same_shares_give_the_same_bytes_of_one_svg_element():
    assert drawn() == drawn()
    assert ET.fromstring(drawn()).tag.endswith("svg")
    assert "<image" not in drawn()


def test_every_share_is_a_grey_of_its_own_and_spoken():
    fills = set(re.findall(r"fill: (#[0-9a-f]{6})", drawn()))
    for share in (0.0, 0.25, 0.75):  # black is what SVG fills with when nothing is said
        tone = round(255 * (1 - share))
        assert any(abs(int(fill[1:3], 16) - tone) <= 1 and fill[1:3] * 3 == fill[1:] for fill in fills), share
    label = ET.fromstring(drawn()).get("aria-label")
    assert label.startswith("Share of tokens: queries, layer 2: expert 0 100 percent, expert 1 0 percent; ")
    assert "passages, layer 5: expert 0 75 percent, expert 1 25 percent" in label


def test_many_experts_lose_their_numbers_and_stay_small():
    many = np.full((2, 64), 1 / 64)
    text = drawn(many, [str(number) for number in range(64)])
    assert len(text) < 400_000
    assert ET.fromstring(text).get("aria-label").count("percent") == 2 * 2 * 64
