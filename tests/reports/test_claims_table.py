"""What is undecided shows its interval, the smallest difference that could be seen and the seeds needed."""

from __future__ import annotations

import io

import pytest

from dretrieve.reports.claims import ONE_SEED, Finding
from dretrieve.reports.claims_table import HEADS, claim_table, outcome_text
from dretrieve.reports.expected import Claim
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.html import html
from dretrieve.reports.pages import latex_page, markdown_page, shown
from dretrieve.reports.readme import readme_block
from dretrieve.reports.recipe_page import recipe_page


def readme(expected, profile, judged, findings):
    texts = {name: outcome_text(expected, one) for name, one in findings.items()}
    return readme_block(expected, profile, judged, texts)


def values(share, queries=200):
    return [1.0 if number < share * queries else 0.0 for number in range(queries)]


def two_seeds(recipe, work, shared=(0.51, 0.53)):
    work.seeds(recipe, 1, 2)
    for seed, share in zip((1, 2), shared, strict=True):
        work.system(f"dpr-{seed}", "dpr", values(0.50), seed=seed)
        work.system(f"shared-{seed}", "shared", values(share), seed=seed)


def as_terminal(page):
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=250).print(shown(page, "terminal"))
    return file.getvalue()


def test_every_form_shows_interval_detectable_difference_and_seeds(recipe, work):
    two_seeds(recipe, work, (0.49, 0.53))
    found = work.found(recipe)
    finding = found[3]["shared-above-dpr"]
    assert (finding.outcome, finding.seeds, finding.seeds_needed) == ("UNDECIDED", 2, 72)
    line = dict(zip(HEADS, claim_table(found[0], found[3]).rows[0], strict=True))
    assert line["95 % interval"] == f"{finding.low:+.2f} to {finding.high:+.2f}"
    wanted = [line["95 % interval"], line["detectable"], line["seeds needed"], "UNDECIDED"]
    assert wanted[1:3] == [f"{finding.detectable:.2f}", str(finding.seeds_needed)]
    page = recipe_page(*found)
    forms = (markdown_page(page), html(page), latex_page(page), as_terminal(page), readme(*found))
    for text in forms:
        assert [word for word in wanted if word not in text] == []
    assert all("four of five experiments" in " ".join(text.split()) for text in forms[:4])


@pytest.mark.parametrize(("share", "outcome"), [(0.7, "HOLDS"), (0.3, "DOES NOT HOLD"), (0.51, "UNDECIDED")])
def test_one_seed_says_that_it_is_one_whatever_the_outcome(recipe, work, share, outcome):
    work.seeds(recipe, 1)
    work.system("dpr-1", "dpr", values(0.5))
    work.system("shared-1", "shared", values(share))
    expected, _, _, findings = work.found(recipe)
    table = claim_table(expected, findings)
    assert table.rows[0][HEADS.index("outcome")] == outcome
    says = "The shared encoder is above DPR: "
    assert f"{says}{ONE_SEED}" in table.notes
    text = outcome_text(expected, findings["shared-above-dpr"])
    assert text.startswith(f"{outcome} (one seed)")
    if outcome == "UNDECIDED":
        queries = findings["shared-above-dpr"].queries
        needed = f"unknown, or more queries: {queries:,}"
        assert table.rows[0][HEADS.index("seeds needed")] == needed
        assert any("how far seeds spread is not known" in note for note in table.notes)
        assert f"seeds needed {needed}" in text


def test_two_seeds_are_not_one(recipe, work):
    two_seeds(recipe, work)
    expected, _, _, findings = work.found(recipe)
    assert not any(ONE_SEED in note for note in claim_table(expected, findings).notes)
    assert "one seed" not in outcome_text(expected, findings["shared-above-dpr"])


def test_where_no_number_of_seeds_would_do_more_queries_are_needed(recipe, work):
    two_seeds(recipe, work, (0.49, 0.51))
    expected, _, _, findings = work.found(recipe)
    table = claim_table(expected, findings)
    assert table.rows[0][HEADS.index("seeds needed")] == "more queries"
    assert any("no number of seeds would show" in note for note in table.notes)
    assert "seeds needed more queries" in outcome_text(expected, findings["shared-above-dpr"])


def test_a_ratio_of_times_has_an_interval_without_signs(recipe, work):
    claim = Claim(name="faster", says="faster", source="", relation="at-most", left="t1.dpr.nq", bound=0.8)
    finding = Finding(claim=claim, outcome="UNDECIDED", difference=0.7, low=0.6, high=0.9, p=0.2)
    expected = read_expected(recipe / "expected.yaml")
    line = dict(zip(HEADS, claim_table(expected, {"faster": finding}).rows[0], strict=True))
    assert (line["difference"], line["95 % interval"], line["p"]) == ("0.70", "0.60 to 0.90", "0.2000")
    assert (line["detectable"], line["seeds needed"]) == ("", "")
    assert outcome_text(expected, finding) == "UNDECIDED: 0.70; 0.60 to 0.90"


def test_a_profile_without_claims_shows_none(recipe, work):
    work.edit(recipe, "    relation: above", "    profiles: [mini]\n    relation: above")
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.7))
    found = work.found(recipe)
    assert found[3] == {}
    assert "claims" not in markdown_page(recipe_page(*found))
    assert "claim" not in readme(*found)


@pytest.mark.parametrize(("share", "outcome"), [(0.7, "HOLDS"), (0.3, "DOES NOT HOLD")])
def test_what_is_decided_lacks_nothing(recipe, work, share, outcome):
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(share))
    expected, _, _, findings = work.found(recipe)
    line = dict(zip(HEADS, claim_table(expected, findings).rows[0], strict=True))
    assert (line["detectable"], line["seeds needed"], line["outcome"]) == ("", "", outcome)
    assert outcome_text(expected, findings["shared-above-dpr"]) == outcome


def test_rows_of_several_seeds_show_mean_and_spread(recipe, work):
    two_seeds(recipe, work)
    found = work.found(recipe)
    page = recipe_page(*found)
    ours = {row[0]: row[3] for row in page.tables[0].rows}
    assert ours["Shared"] == "52.0 ± 1.4"
    assert ours["DPR"] == "50.0 ± 0.0"
    assert "52.0 ± 1.4" in readme(*found)
    assert r"52.0 $\pm$ 1.4" in latex_page(page)


def test_a_ratio_has_three_decimals_whatever_its_table(recipe, work):
    """55 % of the parameters is not 0.6."""
    work.edit(recipe, "relation: above", "relation: at-most\n    bound: 0.6")
    work.system("dpr", "dpr", values(0.8))
    work.system("shared", "shared", values(0.44))
    expected, _, _, findings = work.found(recipe)
    line = dict(zip(HEADS, claim_table(expected, findings).rows[0], strict=True))
    assert (line["difference"], line["outcome"]) == ("0.550", "HOLDS")
