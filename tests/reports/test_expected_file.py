"""expected.yaml is read strictly: every mistake has a sentence with file and key."""

from __future__ import annotations

import re

import pytest

from dretrieve.errors import DataError, PreconditionError
from dretrieve.reports.expected_file import read_expected


def edited(recipe, old, new):
    path = recipe / "expected.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_what_it_says_is_what_is_read(recipe):
    expected = read_expected(recipe / "expected.yaml")
    assert (expected.paper, list(expected.profiles), expected.profiles["paper"].target) == (
        "TINY",
        ["mini", "paper"],
        "paper",
    )
    cell = expected.cell("t1.shared.nq")
    assert (cell.printed, cell.corrected, cell.paper) == (61.0, 60.0, 60.0)
    assert cell.tolerance == pytest.approx(2.0)  # a fraction of .02 in a table of percent
    assert cell.kind_tolerance == pytest.approx(2.0)
    assert cell.file == "metrics/{row}.json"
    assert cell.source == "Table 1, page 5"
    assert expected.cell("t1.xmoco.nq").kind == "cited"
    assert expected.cell("t1.xmoco.nq").source == "Yang et al. 2021"
    assert expected.cell("t1.dpr.tq") is None


def test_nearer_settings_win(recipe):
    path = edited(
        recipe, "cells: {nq: 50.0}", "tolerance: 3.0\n        cells: {nq: {paper: 50.0, measure: RR@10}}"
    )
    cell = read_expected(path).cell("t1.dpr.nq")
    assert (cell.tolerance, cell.measure) == (3.0, "RR@10")
    assert cell.kind_tolerance == pytest.approx(2.0)  # of a value that we recorded


def test_a_column_may_have_a_file_of_its_own(recipe):
    path = edited(recipe, "nq: {title: NQ}", "nq: {title: NQ, file: read.json}")
    expected = read_expected(path)
    assert (expected.cell("t1.dpr.nq").file, expected.cell("t1.xmoco.nq").file) == ("read.json",) * 2


AVERAGE = "nq: {title: NQ}\n      tq: TQ\n      mean: {title: Mean, average: [nq, tq]}"


@pytest.mark.parametrize(
    ("cells", "printed", "paper", "why"),
    [
        ("[50.0, 41.0]", None, 45.5, "this is the mean of what it prints"),
        ("[50.0, 41.0, ours]", None, 45.5, "this is the mean of what it prints"),
        ("[50.0, 41.0, 45.6]", 45.6, 45.6, ""),
        ("[50.0, 41.0, {paper: 46.0, corrected: 45.5, why: its rows}]", 46.0, 45.5, "its rows"),
        ("[50.0, ours]", None, None, ""),
    ],
)
def test_an_average_takes_the_papers_number_or_makes_it(recipe, cells, printed, paper, why):
    path = edited(recipe, "nq: {title: NQ}", AVERAGE)
    cell = read_expected(edited(recipe, "cells: {nq: 50.0}", f"cells: {cells}")).cell("t1.dpr.mean")
    assert (cell.printed, cell.paper, cell.why) == (printed, paper, why)
    assert [one.name for one in cell.average] == ["t1.dpr.nq", "t1.dpr.tq"]
    assert (cell.file, cell.measure, read_expected(path).cell("t1.shared.mean")) == ("", "", None)


@pytest.mark.parametrize("cells", ["{nq: 82.5, tq: 70.5}", "{mean: 76.5}"])
def test_a_cited_row_may_have_the_average_alone(recipe, cells):
    edited(recipe, "nq: {title: NQ}", AVERAGE)
    expected = read_expected(edited(recipe, "cells: {nq: 82.5}", f"cells: {cells}"))
    assert (expected.cell("t1.xmoco.mean").kind, expected.cell("t1.xmoco.mean").paper) == ("cited", 76.5)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "average: [nq, tq]",
            "average: [nq, mean]",
            "t1.columns.mean.average names 'mean', no column of this",
        ),
        ("average: [nq, tq]", "average: [nq, qt]", "t1.columns.mean.average names 'qt', no column of this"),
        ("{nq: 50.0}", "{nq: 50.0, mean: 50.0}", "cells.mean is the mean of nq, tq: the row has no tq"),
        ("{nq: 50.0}", "[50, 40, {paper: 45, file: a}]", "cells.mean.file is not a key that is known here"),
        ("{nq: 50.0}\n", "[50, 40]\n", "compares t1.shared.nq with t1.dpr.mean: an average is compared with"),
    ],
)
def test_an_average_that_cannot_be_is_refused(recipe, old, new, sentence):
    edited(recipe, "nq: {title: NQ}", AVERAGE)
    if "compares" in sentence:
        edited(recipe, "right: t1.dpr.nq", "right: t1.dpr.mean")
    with pytest.raises(DataError, match=sentence):
        read_expected(edited(recipe, old, new))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("paper: TINY", "papr: TINY", r"papr is not a key that is known here .*; did you mean paper\?"),
        ("paper: TINY\n", "", "paper is missing"),
        ("unit: percent", "unit: promille", "tables.t1.unit must be one of percent, fraction, number, not"),
        ("seeds: [1]", "seeds: 1", "profiles.mini.seeds must be a list of whole numbers, not the number '1'"),
        ("cells: {nq: 50.0}", "cells: {tq: 50.0}", r"tables.t1.rows.dpr.cells.tq is not a key .*\(nq\)"),
        ("cells: {nq: 50.0}", "cells: {nq: fifty}", "tables.t1.rows.dpr.cells.nq.paper must be a number"),
        ('why: "the appendix prints 60.0"', 'source: "p. 5"', "cells.nq.why is missing: say why"),
        ('file: "metrics/{row}.json"', 'file: "{rwo}.json"', r"file holds \{rwo\}; known are column"),
        (
            '    file: "metrics/{row}.json"\n',
            "",
            "cells.nq.file is missing here, in its row and in its table",
        ),
        ("    measure: Success@20\n", "", "cells.nq.measure is missing here, in its column"),
        ("cells: {nq: 82.5}", "cells: {nq: {}}", "cells.nq.paper is missing: a cited cell"),
        (
            "left: t1.shared.nq",
            "left: t1.shred.nq",
            "claims.shared-above-dpr speaks of 't1.shred.nq', which is no",
        ),
        (
            "relation: above",
            "relation: over",
            "claims.shared-above-dpr.relation must be one of above, not-below",
        ),
        ("relation: above", "relation: not-below", "margin must be above 0"),
        ("relation: above", "relation: at-most", "bound is missing"),
        ("    right: t1.dpr.nq\n", "", "right is missing: 'above' compares two cells"),
        ("relation: above", "relation: most", "others belongs to the relation 'most'"),
        (
            "relation: above",
            "profiles: [mini, big]\n    relation: above",
            r"claims.shared-above-dpr.profiles names 'big', no profile of this file \(mini, paper\)",
        ),
        ("columns:\n      nq: {title: NQ}", "columns: {}", "tables.t1.columns is missing: name at least one"),
        ("cells: {nq: 50.0}", "cells: [50.0, 51.0]", "rows.dpr.cells holds 2 cells for 1 columns"),
        ("claims:", "rows: {dpr: {method: dpr}}\nclaims:", "rows.dpr.method is not a key that is known here"),
        (
            "relation: above",
            "over: [tq]\n    relation: above",
            "over names 'tq', no column of the table of t1.shared.nq",
        ),
        ("claims:", "ours: {big: {}}\nclaims:", r"ours.big is no profile of this file \(mini, paper\)"),
    ],
)
def test_mistakes_are_named_with_file_and_key(recipe, old, new, sentence):
    path = edited(recipe, old, new)
    with pytest.raises(DataError, match=sentence) as caught:
        read_expected(path)
    assert str(path) in str(caught.value)


def test_recorded_values_must_be_of_cells_that_exist(recipe, work):
    path = recipe / "expected.yaml"
    text = path.read_text()
    for row, column, value, sentence in (
        ("dpr", "t1.tq", 1.0, "ours.mini records 't1.dpr.tq', which is no table.row.column"),
        ("dpr", "t1.nq", "fifty", "dpr.t1.nq must be NUMBER or NUMBER ± SPREAD, not 'fifty'"),
        ("dpr", "t1.nq", "50 ± inf", "dpr.t1.nq must be NUMBER or NUMBER ± SPREAD, not '50 ± inf'"),
    ):
        path.write_text(text + work.recorded(mini={row: {column: value}}))
        with pytest.raises(DataError, match=sentence):
            read_expected(path)
    path.write_text(f"{text}ours: {{mini: {{claims: {{better: HOLDS}}}}}}\n")
    with pytest.raises(DataError, match="records 'better', which is no claim of this file"):
        read_expected(path)


@pytest.mark.parametrize(
    "text", ["", "holds", "HOLDS.", "HOLDS (two seeds)", "HOLDSTILL: 1", "UNDECIDED (one seed"]
)
def test_a_recorded_outcome_edited_by_hand_is_refused_with_the_legal_words(recipe, text):
    path = recipe / "expected.yaml"
    path.write_text(f'{path.read_text()}ours: {{mini: {{claims: {{shared-above-dpr: "{text}"}}}}}}\n')
    words = "HOLDS, DOES NOT HOLD, UNDECIDED, NOT RUN, FAIL"
    place = (
        f"{path}: ours.mini.claims.shared-above-dpr must be one of {words}, as `report --record` writes it, "
    )
    with pytest.raises(DataError, match=re.escape(f"{place}not the text {text!r}")):
        read_expected(path)


def test_a_row_is_a_list_of_cells_with_what_the_file_says_of_all_tables(recipe):
    path = edited(recipe, "tables:\n", "rows: {new: {title: New, kind: exact}, dpr: Dual}\ntables:\n")
    edited(recipe, "{row}.json", "{row}.{seed}.json")
    edited(
        recipe,
        "      nq: {title: NQ}\n",
        "      nq: NQ\n      tq: {title: TQ, measure: R@5}\n    ours: [old]\n",
    )
    edited(recipe, "    rows:\n", "    rows:\n      new: [ours, 3.5]\n      late: [~, 2]\n")
    table = read_expected(path).tables["t1"]
    assert list(table.rows) == ["new", "dpr", "old", "late", "shared", "xmoco"]
    assert [row.title for row in table.rows.values()] == ["New", "DPR", "old", "late", "Shared", "xMoCo"]
    new, old, late = (table.rows[name].cells for name in ("new", "old", "late"))
    assert {key: (cell.paper, cell.measure) for key, cell in new.items()} == {
        "nq": (None, "Success@20"),
        "tq": (3.5, "R@5"),
    }
    assert (new["nq"].file, old["nq"].file) == ("metrics/{row}.json", "metrics/{row}.{seed}.json")
    assert (list(old), list(late)) == (["nq", "tq"], ["tq"])


def test_a_claim_over_columns_is_one_for_each(recipe):
    path = edited(recipe, "  shared-above-dpr:", "  above-{column}:\n    over: [nq]")
    text = path.read_text().replace("is above DPR\n", "is above DPR ({title})\n")
    path.write_text(
        text.replace("t1.shared.nq", '"t1.shared.{column}"').replace(
            "right: t1.dpr.nq", 'right: "t1.dpr.{column}"'
        )
    )
    (claim,) = read_expected(path).claims.values()
    assert (claim.name, claim.says) == ("above-nq", "The shared encoder is above DPR (NQ)")
    assert claim.cells() == ["t1.shared.nq", "t1.dpr.nq"]


def test_there_is_no_file(tmp_path):
    with pytest.raises(PreconditionError, match="expected.yaml does not exist"):
        read_expected(tmp_path / "expected.yaml")


def test_an_empty_file(tmp_path):
    (tmp_path / "expected.yaml").write_text("")
    with pytest.raises(DataError, match="the file must be a mapping, not nothing"):
        read_expected(tmp_path / "expected.yaml")
