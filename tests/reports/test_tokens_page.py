"""A query and a passage token by token: what is added up, marked, framed and ranked, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.index.token_prune import pruned
from dretrieve.reports.tokens_page import (
    Judged,
    Met,
    Retrieved,
    tokens_data,
    tokens_sections,
    top_shares,
)
from dretrieve.types import Record, Vectors, offsets_of

ASKED, READ = ["[CLS]", "honey", "bee", "hive"], ["[CLS]", "nectar", "bee", "hive", "bee", "moon"]


@pytest.fixture
def met() -> Met:
    """By top2, with saliences; token ``hive`` of the query has none."""
    products = np.array(
        [
            [0.9, 0.1, 0.2, 0.3, 0.2, 0.0],
            [0.0, 0.7, 0.5, 0.4, 0.6, 0.1],
            [0.1, 0.2, 0.8, 0.3, 0.8, 0.0],
            [0.0, 0.1, 0.2, 0.9, 0.1, 0.0],
        ],
        dtype=np.float32,
    )
    aligned = np.zeros(products.shape)
    for row, places in enumerate([(0, 3), (1, 4), (2, 4), (3, 2)]):
        aligned[row, places] = 1.0
    return Met(
        collection="tiny",
        query=Record("q", "", "honey bee hive"),
        passage=Record("p", "", "nectar bee hive bee moon"),
        score=0.5,
        asked=ASKED,
        read=READ,
        special=np.array([True, False, False, False]),
        products=products,
        aligned=aligned,
        count=2,
        alignment="top2",
        salience=(np.array([0.5, 2.0, 1.0, 0.0]), np.array([0.1, 1.0, 0.5, 0.2, 0.0, 0.3])),
    )


def test_what_a_token_adds_is_alignment_times_saliences_times_product(met: Met) -> None:
    asked, read = met.salience
    by_hand = [
        sum(
            met.aligned[i, j] * asked[i] * read[j] * met.products[i, j]
            for j in range(len(READ))
        )
        for i in range(len(ASKED))
    ]  # fmt: skip
    np.testing.assert_allclose(met.parts, by_hand, rtol=1e-6)
    np.testing.assert_allclose(replace(met, salience=None).parts, [1.2, 1.3, 1.6, 1.1], rtol=1e-6)
    counted = Judged(judged=1)
    counted.add(met, np.array([True, *[False] * 5]))
    assert counted.kinds["words"].part == pytest.approx(sum(by_hand[1:]))
    assert counted.kinds["[CLS]"].part == pytest.approx(by_hand[0])
    table = tokens_sections("alignment", {}, [met])[0].tables[0]
    total = sum(by_hand)
    assert [row[3] for row in table.rows] == [f"{100 * part / total:.1f} %" for part in by_hand]


def test_the_most_salient_tokens_of_a_query_are_framed_with_what_they_align_with(met: Met) -> None:
    assert met.framed == {1: [1, 4], 2: [2, 4], 0: [0, 3]}
    _, asked, _ = (met.products, *met.salience)
    few = replace(met, salience=(asked * np.array([0, 1, 1, 0]), met.salience[1]))
    assert list(few.framed) == [1, 2], "a token without salience weighs nothing"
    assert replace(met, salience=None).framed == {}


@given(seed=st.integers(0, 2**31), count=st.integers(1, 40))
def test_marked_are_the_tokens_that_a_cut_index_would_keep(seed: int, count: int) -> None:
    weights = np.random.default_rng(seed).integers(0, 5, count).astype(np.float32)  # many are equal
    values = np.arange(count, dtype=np.float32)[:, None]
    found = np.array(top_shares(weights))
    for percent in (50, 20):
        kept = pruned(Vectors(values, offsets_of([count]), weights), percent / 100).values[:, 0]
        np.testing.assert_array_equal(np.flatnonzero((found > 0) & (found <= percent)), kept)


def test_a_section_has_ranks_shades_marks_and_the_rule_in_words(met: Met) -> None:
    (section,) = tokens_sections("alignment", {}, [met])
    rule, query, passage, marks = section.text
    assert rule == (
        "Of each query token the 2 largest products with tokens of the passage count (alignment top2); these "
        "are averaged, each weighed by the salience of both tokens."
    )
    assert query == "Query: ░[CLS] █honey** ▒bee*  hive"
    assert passage == "Passage: ░[CLS] █nectar** ▒bee* ░hive  bee ▒moon*"
    assert marks.endswith("** the 20 %, * the 50 % most salient.")
    tokens, ranks = section.tables
    assert list(tokens.rows[1]) == ["honey", "2.000", "0.700", tokens.rows[1][3], "nectar", "1.000",
                                    "[CLS] «nectar» bee hive"]  # fmt: skip
    assert {place: mark for place, mark in tokens.marks.items() if mark.strip()} == {
        (1, 1): "**", (2, 1): "* ", (1, 5): "**", (2, 5): "* "
    }  # fmt: skip
    assert list(ranks.columns) == ["query token", "rank 1", "rank 2", "rank 3", "rank 4"]
    assert list(ranks.rows[2]) == ["bee", "bee 0.800", "bee 0.800", "hive 0.300", "nectar 0.200"]
    assert [figure.name for figure in section.figures] == ["salience-1", "pair-1"]
    assert 'id="frame-1-4-0"' in section.figures[0].svg
    assert 'id="frame-1-4-1"' in section.figures[0].svg, "two query tokens align with this one"
    assert "the 3 most salient query tokens" in section.figures[0].caption


LARGEST = "the largest product with a token of the passage counts"


@pytest.mark.parametrize(
    ("word", "score", "rule"),
    [
        ("", "maxsim_sum", f"{LARGEST}; these are added up."),
        ("top1", "alignment", f"{LARGEST} (alignment top1); these are averaged."),
        (
            "da,k=2,eps=0.1",
            "alignment",
            "all products with tokens of the passage count, in shares that sum to 2 (alignment "
            "da,k=2,eps=0.1); these are averaged.",
        ),
    ],
)
def test_the_rule_without_salience(met: Met, word: str, score: str, rule: str) -> None:
    plain = replace(met, salience=None, alignment=word, count=2 if word.startswith("da") else 1)
    (section,) = tokens_sections(score, {}, [plain])
    assert section.text == [f"Of each query token {rule}", "nectar bee hive bee moon"]
    assert len(section.tables) == (2 if word else 1)
    assert [figure.name for figure in section.figures] == ["pair-1"]


def test_data_hold_what_the_page_shows(met: Met) -> None:
    (pair,) = tokens_data("alignment", {}, [met])["pairs"]
    assert pair["alignment"] == "top2"
    bee = pair["tokens"][2]
    assert [(of["rank"], of["place"], of["token"]) for of in bee["aligned"]] == [
        (1, 2, "bee"), (2, 4, "bee"), (3, 3, "hive"), (4, 1, "nectar")
    ]  # fmt: skip
    assert (bee["salience"], bee["top_percent"]) == (1.0, 50)
    assert pair["passage_tokens"][1] == {"token": "nectar", "salience": 1.0, "top_percent": 20}
    assert pair["passage_tokens"][0]["top_percent"] is None
    assert pair["most_salient"][0] == {"token": "honey", "place": 1, "aligned": [1, 4]}
    plain = replace(met, salience=None, alignment="", count=1)
    (pair,) = tokens_data("maxsim_sum", {}, [plain])["pairs"]
    assert not {"alignment", "passage_tokens", "most_salient"} & pair.keys()
    assert set(pair["tokens"][0]) == {"token", "product", "met", "place"}


def test_the_share_of_tokens_that_are_retrieved_is_said(met: Met) -> None:
    retrieved = Retrieved(queries=300, depth=100, passages=2000, tokens=40_000, met=5_120)
    first, _ = tokens_sections("alignment", {}, [met], retrieved)
    assert "of 300 queries have among their hits, at most 100, hold 40,000 tokens" in first.text[0]
    assert "5,120, 12.8 %, are aligned" in first.text[0]
    data = tokens_data("alignment", {}, [met], retrieved)["retrieved"]
    counts = {"queries": 300, "depth": 100, "passages": 2000, "tokens": 40_000, "met": 5_120}
    assert data == {**counts, "share": 0.128}
    assert "retrieved" not in tokens_data("alignment", {}, [met])
