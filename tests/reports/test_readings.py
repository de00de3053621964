"""What a work folder says about a cell."""

from __future__ import annotations

import numpy as np
import pytest

from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.readings import mean_by_query, read_cell
from dretrieve.store.stage import Stage


def place_of(recipe, work, profile="paper"):
    expected = read_expected(recipe / "expected.yaml")
    return expected, work.place(expected, profile)


def test_a_value_with_its_queries(recipe, work):
    work.system("dpr", "dpr", [1, 0, 1, 1])
    expected, place = place_of(recipe, work)
    (reading,) = read_cell(expected.cell("t1.dpr.nq"), place)
    assert (reading.value, reading.problems, reading.seed) == (0.75, (), 1)
    ids, values = mean_by_query([reading], "Success@20")
    assert ids == ["q0", "q1", "q2", "q3"]
    np.testing.assert_array_equal(values, [[1, 0, 1, 1]])


def test_nothing_is_read_for_a_cited_cell_even_when_a_file_lies_there(recipe, work):
    work.system("xmoco", "shared", [1, 1])
    expected, place = place_of(recipe, work)
    assert read_cell(expected.cell("t1.xmoco.nq"), place) == []


@pytest.mark.parametrize(
    ("found", "value", "repeats"),
    [(1.5, 1.5, ()), ([3.0, 1.0, 1.5], 1.5, (3.0, 1.0, 1.5)), ([1, 4], 2.5, (1.0, 4.0))],
)
def test_a_number_measured_in_rounds_is_their_median(recipe, work, found, value, repeats):
    reading = timed(recipe, work, found)
    assert (reading.value, reading.repeats, reading.problems) == (value, repeats, ())


@pytest.mark.parametrize("found", [[], [1.0, "fast"], [True], "fast", {"a": 1}])
def test_what_is_no_number_fills_no_cell(recipe, work, found):
    reading = timed(recipe, work, found)
    assert (reading.value, reading.repeats) == (None, ())
    assert reading.problems[0].endswith("speed.json has no extra.seconds")


def test_a_number_that_its_manifest_says_there_is_none_of_is_not_run(recipe, work):
    assert timings(recipe, work, None) == []


def timed(recipe, work, seconds):
    (reading,) = timings(recipe, work, seconds)
    return reading


def timings(recipe, work, seconds):
    path = recipe / "expected.yaml"
    table = (
        "{title: Time, file: speed.json, key: extra.seconds, columns: {s: {}}, rows: {a: {cells: {s: 1}}}}"
    )
    path.write_text(path.read_text().replace("claims:\n", f"  speed: {table}\nclaims:\n"))
    stage = Stage(work.folder / "speed.json", "file", "bench")
    with stage.write(text=True) as file:
        file.write("seconds")
    stage.commit(extra={"seconds": seconds})
    expected, place = place_of(recipe, work)
    return read_cell(expected.cell("speed.a.s"), place)


def test_seeds_of_different_queries_have_no_mean(recipe, work):
    path = recipe / "expected.yaml"
    path.write_text(
        path.read_text().replace("{row}.json", "{row}-{seed}.json").replace("seeds: [1]", "seeds: [1, 2]")
    )
    work.system("dpr-1", "dpr", [1, 0], seed=1)
    work.system("dpr-2", "dpr", [1, 0, 1], seed=2)
    expected, place = place_of(recipe, work, "mini")
    readings = read_cell(expected.cell("t1.dpr.nq"), place)
    assert [reading.seed for reading in readings] == [1, 2]
    with pytest.raises(ValueError, match="the seeds were measured on different queries"):
        mean_by_query(readings, "Success@20")
    with pytest.raises(ValueError, match="no values by query"):
        mean_by_query([], "Success@20")
