from __future__ import annotations

import json

import numpy as np

from dretrieve.reports.html import Page, html
from dretrieve.reports.pages import markdown_page
from dretrieve.reports.routing import RoutingCounts
from dretrieve.reports.routing_page import routing_data, routing_sections

WORDS = ["[PAD]", "who", "<wrote>", "the"]


def pieces(ids):
    return [WORDS[token] for token in ids]


def counts_of(sides=("query", "passage"), experts=2):
    """Queries go to expert 0 except their last token, passages to the last expert; both layers alike."""
    counts = RoutingCounts((2, 5), experts, len(WORDS))
    if "query" in sides:
        counts.add("query", np.array([[[0, 0, 0, 1]]] * 2), np.array([[1, 2, 1, 3]]))
    if "passage" in sides:
        counts.add("passage", np.full((2, 2, 3), experts - 1), np.array([[3, 3, 2], [3, 2, 2]]))
    return counts


def text_of(counts):
    return markdown_page(Page(title="t", sections=routing_sections(counts, pieces)))


def test_the_map_is_read_by_shade_and_by_number():
    shown = text_of(counts_of())
    row = next(line for line in shown.splitlines() if line.strip(" |").startswith("2 "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["2", "▓▓▓  75.0", "░░░  25.0", "0.0", "███ 100.0"]
    head = next(line for line in shown.splitlines() if "queries: expert 0" in line)
    assert [cell.strip() for cell in head.strip("|").split("|")][-1] == "passages: expert 1"


def test_agreement_and_tokens():
    shown = text_of(counts_of())
    assert "Agreement of queries and passages" in shown
    row = next(
        line for line in shown.split("overlap of tokens")[1].splitlines() if line.startswith("|     2")
    )
    assert [cell.strip() for cell in row.strip("|").split("|")][:3] == ["2", "0.250", "0.000"]
    assert "layers 2, 5 (all alike)" in shown
    assert "who  +0.51  2 of 2" in shown  # log((2 + 10 * .3) / (0 + 10 * .7)) - log(.3 / .7)


def test_one_side_alone_has_no_agreement():
    shown = text_of(counts_of(("passage",)))
    assert "queries" not in shown
    assert "Agreement" not in shown
    assert "(reads every token)" in shown
    assert "(reads no token)" in shown


def test_more_experts_than_fit_beside_each_other_stand_below():
    shown = text_of(counts_of(experts=6))
    lines = [line.strip("|").split("|") for line in shown.split("## Share of texts")[0].splitlines()]
    rows = [[cell.strip() for cell in line] for line in lines if len(line) == 4][2:]
    assert len(rows) == 12
    assert rows[0] == ["2", "0", "▓▓▓  75.0", "0.0"]
    assert rows[5] == ["", "5", "0.0", "███ 100.0"]
    assert shown.count("layers 2, 5 (all alike)") == 2


def test_the_page_escapes_and_draws():
    page = html(Page(title="t", sections=routing_sections(counts_of(), pieces)))
    assert "&lt;wrote&gt;" in page
    assert "<wrote>" not in page
    assert page.count("<svg ") == 2


def test_data_are_plain_and_rounded():
    data = json.loads(json.dumps(routing_data(counts_of(), pieces), allow_nan=False))
    assert data["layers"] == [2, 5]
    assert data["tokens"]["query"] == {"counts": [[3, 1]] * 2, "shares": [[0.75, 0.25]] * 2}
    assert data["texts"]["passage"]["counts"] == [[0, 2]] * 2
    assert data["overlap_of_sides"] == {"tokens": [0.25, 0.25], "texts": [0.0, 0.0]}
    assert data["attracted"][0][0][0] == {"token": "who", "log_odds": 0.5108, "count": 2, "of": 2}
    assert "overlap_of_sides" not in routing_data(counts_of(("passage",)), pieces)
