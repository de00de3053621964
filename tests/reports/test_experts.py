"""What a block's experts do, as pages: many experts, several collections, a gate with nothing to choose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dretrieve.reports.experts import (
    Agreement,
    Found,
    Given,
    Picture,
    agreement,
    mean_off_diagonal,
    warnings_of,
)
from dretrieve.reports.experts_page import MOST_COMPARED, experts_data, experts_sections
from dretrieve.reports.html import Page
from dretrieve.reports.pages import WRITERS, shown
from dretrieve.reports.plots import MOST_GROUPS
from dretrieve.types import UNITS


def given(collection, side, counts):
    return Given(collection, side, np.array(counts), np.array(counts, dtype=float))


def found(experts=3, texts=30, **changes):
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 9, size=(2, experts))
    cosines = np.eye(experts) * 0.5 + 0.5
    points = {"pca": {when: rng.normal(size=(texts, 2)) for when in ("before", "after")}}
    picture = Picture(
        collection="tiny",
        ids=[f"t{row}" for row in range(texts)],
        text="what is it",
        experts=np.arange(texts) % experts,
        relevant=np.array([4]),
        among="of the run",
        points=points,
        variance={when: np.array([0.5, 0.25]) for when in ("before", "after")},
    )
    values = {
        "num_experts": experts,
        "gate": "noisy",
        "activated": 1,
        "given": [given("tiny", side, counts[place]) for place, side in enumerate(UNITS)],
        "agreements": {"tiny": Agreement(pairs=4, judged=5, agree=0.75, chance=0.5)},
        "likeness": {"both": cosines},
        "texts": {"both": 9},
        "picture": picture,
    }
    return Found(**(values | changes))


def words(sections):
    page = Page(title="", sections=sections)
    return {form: str(shown(page, form)) for form in ("terminal", *WRITERS)}["markdown"]


def test_agreement_beside_chance():
    one, other = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    assert agreement(one, other, 4) == (0.75, 0.5 * 0.25 + 0.25 * 0.5 + 0.25 * 0.25)
    assert mean_off_diagonal(np.array([[1.0, 0.2], [0.4, 1.0]])) == pytest.approx(0.3)


def test_a_text_counts_for_its_largest_weight_and_by_its_weights():
    of = given("tiny", "query", [0, 0, 0])
    of.add(np.array([[0.2, 0.2, 0.0], [0.0, 0.1, 0.3]], dtype=np.float32))
    assert of.texts.tolist() == [1, 0, 1]
    np.testing.assert_allclose(of.weight, [0.5, 0.75, 0.75], rtol=1e-6)


@pytest.mark.parametrize(("counts", "warned"), [([951, 49], True), ([950, 50], False)])
def test_above_95_percent_on_one_expert_is_warned_of(counts, warned):
    assert bool(warnings_of([given("tiny", "passage", counts)])) is warned


def test_several_collections_stand_beside_each_other():
    two = [given(name, "passage", [3, 1, 1]) for name in ("nfcorpus", "scifact")]
    agreements = {"nfcorpus": Agreement(unpaired="no judgements")}
    sections = experts_sections(found(given=two, agreements=agreements, picture=None))
    assert [table.title for table in sections[0].tables] == ["nfcorpus", "scifact"]
    said = words(sections)
    assert "nfcorpus: no judgements." in said


def test_many_experts_are_compared_in_one_line_and_drawn_in_twelve_groups():
    many = found(MOST_COMPARED + 3, texts=70)
    sections = experts_sections(many)
    assert "mean 0.500, least 0.500, most 0.500" in sections[2].text[1]
    assert not sections[2].tables
    svg = sections[3].figures[0].svg
    assert svg.count('id="points-0-') == MOST_COMPARED + 3
    assert len(experts_data(many)["cosine"]["both"]["experts"]) == MOST_COMPARED + 3
    assert svg.count("<!-- expert ") == MOST_GROUPS
    assert svg.count("<!-- others ") == 1


def test_the_sections_say_what_is_kept_and_what_is_left_out():
    for activated, said in ((1, "(TOP-1): a text goes to 1 of the 3"), (2, "=2: a text goes to 2 of the 3"),
                            (0, "(ALL): a text goes to all of the 3")):  # fmt: skip
        assert said in words(experts_sections(found(activated=activated)))
    assert "drawn by its id" in words(experts_sections(found(gate="random", given=(), agreements={})))
    silent = found(gate="uniform", given=(), agreements={})
    silent = replace(silent, picture=replace(silent.picture, experts=None))
    said = words(experts_sections(silent))
    assert "for their plain mean" in said
    assert "expert 0" not in said
    assert "With its 29 best passages of the run." in said
