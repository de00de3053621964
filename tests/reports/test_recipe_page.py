"""A recipe's page: paper, ours, difference, verdict; claims."""

from dretrieve.reports.recipe_page import recipe_page


def values(share):
    return [1.0 if number < share * 200 else 0.0 for number in range(200)]


def test_each_cell_is_a_line_with_its_verdict(recipe, work):
    work.system("dpr", "dpr", values(0.51))
    page = recipe_page(*work.found(recipe))
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
    assert recipe_page(*work.found(recipe)).figures == []


def test_a_profile_of_ours_shows_what_was_recorded(recipe, work):
    path = recipe / "expected.yaml"
    path.write_text(path.read_text() + work.recorded(mini={"dpr": {"t1.nq": 40.0}}))
    work.system("dpr", "dpr", values(0.51))
    table = recipe_page(*work.found(recipe, "mini")).tables[0]
    assert list(table.columns) == ["row", "column", "paper", "recorded", "ours", "difference", "verdict"]
    assert list(table.rows[0]) == ["DPR", "NQ", "50.0", "40.0", "51.0", "+11.0", "BETTER"]


def test_a_claim_shows_what_could_have_been_found_only_when_undecided(recipe, work):
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.51))
    table = recipe_page(*work.found(recipe)).tables[1]
    found = dict(zip(table.columns, table.rows[0], strict=True))
    assert (found["outcome"], found["difference"]) == ("UNDECIDED", "+1.00")
    assert found["detectable"] != ""
