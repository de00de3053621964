"""The paper's points beside ours."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from dretrieve.reports.plots_paper import PaperPoint, paper_and_ours


def test_a_panel_for_each_column_and_only_our_numbers_are_spoken():
    panels = {
        "NQ": [
            PaperPoint(name="DPR", paper=78.4, ours=77.5),
            PaperPoint(name="TASER", paper=80.7, ours=None),
        ],
        "TQ": [PaperPoint(name="DPR", paper=None, ours=79.0)],
    }
    text = paper_and_ours(["DPR", "TASER"], panels, "percent")
    assert ET.fromstring(text).get("aria-label") == ": NQ: DPR 77.5; TQ: DPR 79"[2:]
    assert text.count('id="axes_') == 2
