"""The table between a README's markers."""

from __future__ import annotations

import pytest

from dretrieve.errors import DataError, PreconditionError
from dretrieve.reports.claims_table import outcome_text
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.readme import picture, readme_block, write_block
from dretrieve.reports.verdicts import judge_all

TEXT = "# Title\n\n<!-- report tiny -->\nold\n<!-- /report tiny -->\n\nrest\n"


def test_only_what_stands_between_the_markers_changes(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    write_block(path, "tiny", "| new |\n")
    assert path.read_text() == "# Title\n\n<!-- report tiny -->\n\n| new |\n\n<!-- /report tiny -->\n\nrest\n"
    write_block(path, "tiny", "| new |\n")
    assert path.read_text().count("new") == 1


def test_markers_must_be_there_in_order(tmp_path):
    path = tmp_path / "README.md"
    with pytest.raises(PreconditionError, match="does not exist"):
        write_block(path, "tiny", "x")
    for text in ("# Title\n", "<!-- /report tiny --><!-- report tiny -->", TEXT.replace("tiny", "other")):
        path.write_text(text)
        with pytest.raises(
            DataError, match="lacks the two lines .*: <!-- report tiny --> and <!-- /report tiny -->"
        ):
            write_block(path, "tiny", "x")
        assert path.read_text() == text


def test_the_claims_stand_before_what_was_measured_and_that_before_the_papers_scale(recipe, work):
    work.system("dpr", "dpr", [1.0] * 9 + [0.0])
    work.system("shared", "dpr", [1.0, 0.0])
    expected, profile, judged, findings = work.found(recipe, "mini")
    outcomes = {name: outcome_text(expected, one) for name, one in findings.items()}
    block = readme_block(expected, profile, judged, outcomes)
    lines = [" ".join(line.split()) for line in block.splitlines()]
    assert lines[0] == "Profile `mini`: small."
    shown = (
        "| The shared encoder is above DPR | FAIL |",
        "| DPR | 90.0 |",
        "| Shared | FAIL |",
        "| DPR | 50.0 | NOT RUN |",
    )
    places = [lines.index(line) for line in shown]
    assert places == sorted(places)


def test_the_picture_is_of_the_first_table_that_was_run(recipe, work, tmp_path):
    expected = read_expected(recipe / "expected.yaml")
    place = work.place(expected, "mini")
    assert picture(expected, judge_all(expected, place)) is None
    work.system("dpr", "dpr", [1.0, 0.0])
    judged = judge_all(expected, place)
    shown = picture(expected, judged)
    assert (shown.name, shown.caption) == ("t1", "Table 1")
    assert "Shared" not in shown.svg  # it was not run
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    write_block(path, "tiny", readme_block(expected, place.profile, judged, {}), shown)
    assert "![Table 1](picture.svg)" in path.read_text()
    assert path.with_name("picture.svg").read_text() == shown.svg
