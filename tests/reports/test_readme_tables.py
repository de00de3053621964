"""What a README shows: what was run, in one line what was not, and the paper's scale beside NOT RUN."""

from __future__ import annotations

import pytest

from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.readme import readme_block
from dretrieve.reports.verdicts import judge_all

MORE = """
  t2:
    title: Other questions
    unit: percent
    measure: Success@20
    file: "metrics/{row}.{column}.json"
    columns: {nq: {title: NQ}, squad: {title: SQuAD}}
    rows:
      dpr: {title: DPR, cells: {nq: {}, squad: 30.0}}
      shared: {title: "Shared, once", cells: {nq: {}, squad: {}}}
      lost: {title: Lost, kind: unknown, cells: {nq: {}}}
  t3:
    title: Never run
    unit: percent
    measure: Success@20
    file: nowhere.json
    columns: {nq: {title: NQ}}
    rows: {dpr: {title: DPR, cells: {nq: {}}}}
  t4:
    title: Only drawn
    source: Figure 9
    unit: percent
    measure: Success@20
    file: nowhere.json
    columns: {nq: {title: NQ}}
    rows: {dpr: {title: DPR, kind: unknown, cells: {nq: {}}}}
"""


@pytest.fixture
def block(recipe, work):
    """Return the block's lines at a profile, single-spaced."""
    path = recipe / "expected.yaml"
    path.write_text(path.read_text().replace("\nclaims:", f"{MORE}\nclaims:"))

    def lines(profile, ours=""):
        path.write_text(path.read_text() + ours)
        expected = read_expected(path)
        place = work.place(expected, profile)
        text = readme_block(expected, place.profile, judge_all(expected, place), {})
        return [" ".join(line.split()) for line in text.splitlines()]

    return lines


def test_an_average_is_a_column_of_its_own(recipe, work):
    """Ours in the profile's table; the paper's with a star, for it prints none."""
    path, columns = recipe / "expected.yaml", "{nq: NQ, tq: TQ, mean: {title: Mean, average: [nq, tq]}}"
    text = path.read_text().replace("{row}.json", "{row}.{column}.json")
    text = text.replace("columns:\n      nq: {title: NQ}", f"columns: {columns}")
    path.write_text(text.replace("cells: {nq: 50.0}", "cells: [50.0, 41.0]"))
    for column, share in (("nq", 3), ("tq", 4)):
        work.system(f"dpr.{column}", "dpr", [1.0] * share + [0.0] * (10 - share))
    expected = read_expected(path)
    place = work.place(expected, "mini")
    text = readme_block(expected, place.profile, judge_all(expected, place), {})
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "| Table 1 | NQ | TQ | Mean |" in lines
    assert "| DPR | 30.0 | 40.0 | 35.0 |" in lines
    assert "| DPR | 50.0 | 41.0 | 45.5* | NOT RUN |" in lines
    assert any(
        "DPR, Mean: the paper prints nothing; this is the mean of what it prints" in line for line in lines
    )


def test_a_small_profile_stands_without_the_papers_numbers_and_the_papers_scale_says_not_run(block, work):
    work.system("dpr", "dpr", [1.0] * 9 + [0.0])
    lines = block("mini")
    cut = next(place for place, line in enumerate(lines) if line.startswith("The paper's scale"))
    small, paper = lines[:cut], lines[cut:]
    assert "| DPR | 90.0 |" in small
    assert not [line for line in small if "50.0" in line or "82.5" in line or line.endswith("NOT RUN |")]
    assert small[small.index("Not run in this profile:") :] == [
        "Not run in this profile:",
        "",
        "- Table 1: Shared.",
        "- Other questions · Never run · Only drawn: all of it.",
        "",
    ]
    assert paper[2:] == [
        "| Table 1 (Table 1, page 5) | NQ | ours |",
        "| ------------------------- | ----: | ------- |",
        "| DPR | 50.0 | NOT RUN |",
        "| Shared | 60.0* | NOT RUN |",
        "| xMoCo | 82.5 | cited |",
        "",
        "- \\* Shared, NQ: the paper prints 61.0; the appendix prints 60.0",
        "",
        "| Other questions | NQ | SQuAD | ours |",
        "| --------------- | ------: | ----: | ------- |",
        "| DPR | | 30.0 | NOT RUN |",
        "| Lost | unknown | | NOT RUN |",
        "",
        "Neither recovered from the paper nor run: Only drawn (Figure 9).",
    ]


def test_a_column_that_was_not_run_is_named_beside_the_rows(block, work):
    work.system("dpr", "dpr", [1.0, 0.0])
    work.metrics("dpr.nq", [1.0, 1.0, 1.0, 0.0], run="dpr")
    lines = block("mini")
    assert "| Other questions | NQ |" in lines
    assert "| DPR | 75.0 |" in lines
    assert "- Other questions: Shared, once; Lost; SQuAD (column)." in lines


def test_a_chain_that_does_not_fit_is_shown_not_hidden(block, work):
    work.system("shared", "dpr", [1.0, 0.0])
    assert "| Shared | FAIL |" in block("mini")


def test_what_was_recorded_at_the_papers_scale_stands_there(block, work):
    ours = {"paper": {"dpr": {"t1.nq": "49.96 UNDERTRAINED"}}, "mini": {"shared": {"t1.nq": 1.0}}}
    lines = block("mini", work.recorded(**ours))
    assert "| DPR | 50.0 | 50.0 UNDERTRAINED |" in lines
    assert "| Shared | 60.0* | NOT RUN |" in lines  # the small profile's own value is no value of the paper's


def test_the_papers_profile_shows_what_was_measured_now_and_its_verdict(block, work):
    work.system("dpr", "dpr", [1.0] * 9 + [0.0])
    work.system("shared", "dpr", [1.0, 0.0])
    lines = block("paper")
    assert "| DPR | 50.0 | 90.0 BETTER |" in lines
    assert "| Shared | 60.0* | FAIL |" in lines


def test_several_numbers_of_a_row_stand_in_the_order_of_the_columns(block, recipe, work):
    path = recipe / "expected.yaml"
    path.write_text(path.read_text().replace("{nq: {}, squad: 30.0}", "{nq: 80.0, squad: 30.0}"))
    work.system("dpr", "dpr", [1.0, 0.0])
    work.metrics("dpr.nq", [1.0, 1.0, 1.0, 0.0, 1.0], run="dpr")
    assert "| DPR | 80.0 | 30.0 | 80.0 · NOT RUN |" in block("paper")
