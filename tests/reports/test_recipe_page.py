"""A recipe's page: paper, ours, difference, verdict; claims."""

from __future__ import annotations

from dretrieve.reports.claims import find_all
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.recipe_page import recipe_page
from dretrieve.reports.verdicts import judge_all


def page_of(recipe, work, profile):
    expected = read_expected(recipe / "expected.yaml")
    place = work.place(expected, profile)
    judged = judge_all(expected, place)
    return recipe_page(expected, place.profile, judged, find_all(expected, judged))


def values(share):
    return [1.0 if number < share * 200 else 0.0 for number in range(200)]


def test_each_cell_is_a_line_with_its_verdict(recipe, work):
    work.system("dpr", "dpr", values(0.51))
    page = page_of(recipe, work, "paper")
    table = page.tables[0]
    assert list(table.columns) == ["row", "column", "paper", "ours", "difference", "verdict"]
    assert [list(row) for row in table.rows] == [
        ["DPR", "NQ", "50.0", "51.0", "+1.0", "OK"],
        ["Shared", "NQ", "60.0*", "", "", "NOT RUN"],
        ["xMoCo", "NQ", "82.5", "", "", "CITED"],
    ]
    assert "Shared, NQ: the paper prints 61.0; the appendix prints 60.0" in table.notes
    assert page.tally == {"OK": 1, "NOT RUN": 1, "CITED": 1}
    assert page.figures[0].name == "t1"


def test_nothing_measured_draws_nothing(recipe, work):
    assert page_of(recipe, work, "paper").figures == []


def test_a_profile_of_ours_shows_what_was_recorded(recipe, work):
    path = recipe / "expected.yaml"
    path.write_text(path.read_text() + work.recorded(mini={"dpr": {"t1.nq": 40.0}}))
    work.system("dpr", "dpr", values(0.51))
    table = page_of(recipe, work, "mini").tables[0]
    assert list(table.columns) == ["row", "column", "paper", "recorded", "ours", "difference", "verdict"]
    assert list(table.rows[0]) == ["DPR", "NQ", "50.0", "40.0", "51.0", "+11.0", "BETTER"]


def test_a_claim_shows_what_could_have_been_found_only_when_undecided(recipe, work):
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.51))
    heads, row = (
        page_of(recipe, work, "paper").tables[1].columns,
        page_of(recipe, work, "paper").tables[1].rows[0],
    )
    found = dict(zip(heads, row, strict=True))
    assert (found["outcome"], found["difference"]) == ("UNDECIDED", "+1.00")
    assert found["detectable"] != ""
