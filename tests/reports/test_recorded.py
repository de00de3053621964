"""Our values go back into expected.yaml, below a line that is a machine's."""

from __future__ import annotations

import pytest

from dretrieve.errors import DataError
from dretrieve.reports.expected import Recorded
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.recorded import MARKER, with_measured, write_recorded
from dretrieve.reports.verdicts import judge_all

OUTCOMES = {"mini": {"shared-above-dpr": 'UNDECIDED: +1.0; "half" of it'}}


def measured(recipe, work, **about):
    expected = read_expected(recipe / "expected.yaml")
    place = work.place(expected, "mini")
    about = {"hardware": 'a "fast" machine', "commit": "abc", "date": "2026-11-20"} | about
    return with_measured(expected, "mini", judge_all(expected, place), **about)


def test_what_is_written_is_read_back_and_the_text_above_stays(recipe, work):
    path = recipe / "expected.yaml"
    above = path.read_text()
    work.system("dpr", "dpr", [1, 0, 0])
    ours = measured(recipe, work)
    write_recorded(path, ours, OUTCOMES)
    assert path.read_text().startswith(above.rstrip())
    assert (read_expected(path).ours, read_expected(path).outcomes) == (ours, OUTCOMES)
    recorded = ours["mini"]["t1.dpr.nq"]
    assert (recorded.value, recorded.seeds, recorded.commit) == (pytest.approx(33.333333), (1,), "abc")
    once = path.read_text()
    write_recorded(path, read_expected(path).ours, read_expected(path).outcomes)
    assert path.read_text() == once


@pytest.mark.parametrize("row", ["p1.5", "da,k=1,eps=0.01"])
def test_a_row_with_a_dot_in_its_name_is_recorded(recipe, work, row):
    path = recipe / "expected.yaml"
    path.write_text(
        path.read_text().replace("      dpr:\n", f'      "{row}":\n').replace("t1.dpr.", f"t1.{row}.")
    )
    work.system(row, row, [1, 0, 0])
    ours = measured(recipe, work)
    write_recorded(path, ours, OUTCOMES)
    assert list(ours["mini"]) == [f"t1.{row}.nq"]
    assert read_expected(path).ours == ours


def test_cells_that_were_not_run_now_keep_what_was_recorded(recipe, work):
    path = recipe / "expected.yaml"
    work.system("dpr", "dpr", [1, 0])
    write_recorded(path, measured(recipe, work), OUTCOMES)
    (work.folder / "metrics/dpr.json").unlink()
    work.system("shared", "shared", [1, 1])
    later = measured(recipe, work, date="2026-12-01")["mini"]
    assert {name: entry.date for name, entry in later.items()} == {
        "t1.dpr.nq": "2026-11-20",
        "t1.shared.nq": "2026-12-01",
    }


def test_what_is_not_up_to_date_is_not_recorded(recipe, work):
    work.system("dpr", "shared", [1, 0])
    assert measured(recipe, work)["mini"] == {}


def test_values_by_hand_above_the_marker_are_refused(recipe):
    path = recipe / "expected.yaml"
    path.write_text(path.read_text() + "ours: {}\n")
    with pytest.raises(DataError, match="holds an 'ours:' without the marker line"):
        write_recorded(path, {"mini": {}}, {})
    assert MARKER not in path.read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (24931584.0, "24931584"),
        (30000010.0, "30000010"),
        (0.0, "0"),
        (33.333333, "33.333333"),
        (0.000001, "0.000001"),  # with an exponent, 1e-06, it would be text to YAML
        (1234567.25, "1234567.25"),
        (70.5, "70.5"),
    ],
)
def test_a_number_is_written_with_all_its_digits_and_read_back(recipe, value, text):
    path = recipe / "expected.yaml"
    recorded = Recorded(
        value=value, spread=value, seeds=(1,), hardware="CPU", commit="abc", date="2026-11-20"
    )
    write_recorded(path, {"mini": {"t1.dpr.nq": recorded}}, {})
    said = f"dpr: {{t1.nq: {text} ± {text}}}" if value else "dpr: {t1.nq: 0}"
    assert said in path.read_text()
    assert read_expected(path).ours == {"mini": {"t1.dpr.nq": recorded}}
