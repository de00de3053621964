"""Dev curves: above the start or not, at rest or still rising; and what a report makes of them."""

from __future__ import annotations

import os

import pytest

from dretrieve.errors import VerificationError
from dretrieve.reports.recipe_page import recipe_page
from dretrieve.reports.trained import NOISE, DevCurve, dev_curve, training_notes, undertrained


def said(*values, first_step=0):
    steps = range(first_step, first_step + 10 * len(values), 10)
    return undertrained(DevCurve(name="models/x", metric="RR@10", steps=list(steps), values=values))


def test_at_rest_and_above_its_start():
    assert said(0.3, 0.4, 0.5, 0.5) == ""
    assert said(0.3, 0.5, 0.45) == ""
    assert said(0.3, 0.5, 0.5 + NOISE / 2) == ""


@pytest.mark.parametrize("values", [(0.5, 0.4), (0.5, 0.5, 0.5), (0.5, 0.3, 0.4, 0.45)])
def test_not_above_its_start(values):
    best = max(values[1:])
    assert said(*values) == (
        f"models/x: RR@10 on dev was 0.5000 before training and {best:.4f} at best after it"
    )


@pytest.mark.parametrize("values", [(0.3, 0.4), (0.3, 0.5, 0.45, 0.51), (0.3, 0.5, 0.5 + 2 * NOISE)])
def test_still_rising(values):
    assert "still rose at the end, from" in said(*values)


@pytest.mark.parametrize(("queries", "is_rise"), [(0, True), (1000, True), (300, False), (100, False)])
def test_one_query_more_is_no_rise(queries, is_rise):
    curve = DevCurve(name="x", metric="RR@10", steps=[0, 10, 20], values=[0.3, 0.5, 0.503], queries=queries)
    assert ("still rose" in undertrained(curve)) == is_rise


def test_a_last_look_that_recovers_below_the_best_is_no_rise():
    assert said(0.3, 0.6, 0.4, 0.5) == ""


def test_a_curve_without_start_can_only_rise():
    assert said(0.5, 0.4, first_step=10) == ""
    assert "still rose" in said(0.4, 0.5, first_step=10)
    assert said(0.5) == ""


def test_a_training_without_dev_says_nothing(work):
    work.model("plain", "dpr")
    work.model("looked", "dpr", dev=(0.5, 0.4))
    plain, looked = (work.behind(work.folder / f"models/{name}").near[0] for name in ("plain", "looked"))
    assert dev_curve(plain) is None
    assert dev_curve(looked).values == (0.5, 0.4)
    assert len(training_notes([plain, looked])) == 1


def test_an_edited_curve_is_refused_even_with_its_old_time(work):
    path = work.model("dpr", "dpr", dev=(0.5, 0.4)) / "curves.json"
    before = path.stat().st_mtime_ns
    path.write_text(path.read_text().replace("0.4", "0.6"))
    os.utime(path, ns=(before, before))
    (item,) = work.behind(path.parent).near
    with pytest.raises(VerificationError, match="not the curve that the training wrote"):
        dev_curve(item)


@pytest.mark.parametrize(
    ("dev", "words"),
    [((0.3, 0.5, 0.5), "OK"), ((0.5, 0.4, 0.4), "OK · UNDERTRAINED"), ((0.3, 0.4, 0.5), "OK · UNDERTRAINED")],
)
def test_the_row_is_marked_and_the_note_says_why(recipe, work, dev, words):
    work.model("dpr", "dpr", dev=dev)
    work.run("dpr", "dpr")
    work.metrics("dpr", [1, 0])
    found = work.found(recipe)
    assert found[2]["t1.dpr.nq"].words == words
    table = recipe_page(*found).tables[0]
    assert table.rows[0][-1] == words
    assert any("models/dpr: RR@10 on dev" in note for note in table.notes) == ("UNDER" in words)


def test_a_curve_that_was_changed_fails_the_cell(recipe, work):
    path = work.model("dpr", "dpr", dev=(0.5, 0.4)) / "curves.json"
    work.run("dpr", "dpr")
    work.metrics("dpr", [1, 0])
    before = path.stat().st_mtime_ns
    path.write_text(path.read_text().replace("0.4", "0.6"))
    os.utime(path, ns=(before, before))
    assert work.found(recipe)[2]["t1.dpr.nq"].verdict == "FAIL"
