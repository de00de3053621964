"""expected.yaml is read strictly: every mistake has a sentence with file and key."""

from __future__ import annotations

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
    assert expected.cell("t1.dpr.nq").chain == {
        "model": {"method": "dpr"},
        "train": {"seed": "{seed}"},
        "absent": ["fuse-bm25"],
    }
    assert expected.cell("t1.dpr.tq") is None


def test_nearer_settings_win(recipe):
    path = edited(
        recipe, "cells: {nq: 50.0}", "tolerance: 3.0\n        cells: {nq: {paper: 50.0, measure: RR@10}}"
    )
    cell = read_expected(path).cell("t1.dpr.nq")
    assert (cell.tolerance, cell.measure) == (3.0, "RR@10")
    assert cell.kind_tolerance == pytest.approx(2.0)  # of a value that we recorded


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("paper: TINY", "papr: TINY", r"papr is not a key that is known here .*; did you mean paper\?"),
        ("paper: TINY\n", "", "paper is missing"),
        ("paper: TINY", "paper: [TINY]", "paper must be text, not a list"),
        ("unit: percent", "unit: promille", "tables.t1.unit must be one of percent, fraction, number, not"),
        ("seeds: [1]", "seeds: 1", "profiles.mini.seeds must be a list of whole numbers, not the number '1'"),
        ("seeds: [1]", "seeds: []", "profiles.mini.seeds must be a list of whole numbers"),
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
            "profiles: []\n    relation: above",
            "profiles must be a list of profiles, not empty",
        ),
        (
            "relation: above",
            "profiles: mini\n    relation: above",
            "profiles must be a list, not the text 'mini'",
        ),
        (
            "relation: above",
            "profiles: [mini, big]\n    relation: above",
            r"claims.shared-above-dpr.profiles names 'big', no profile of this file \(mini, paper\)",
        ),
        ("relation: above", "others: [t1]\n    relation: most", "others must be a list of pairs"),
        (
            "chain: {model: {method: shared}",
            "chain: {model: shared",
            "chain.model must be a mapping: option to",
        ),
        ("absent: [fuse-bm25]", "absent: fuse-bm25", "chain.absent must be a list of stages"),
        (
            "absent: [fuse-bm25]",
            "absent: [fuse_bm25]",
            "chain.absent names 'fuse_bm25'; the stages are prepare",
        ),
        ("train: {seed", "trian: {seed", "chain.trian is no stage; the stages are prepare"),
        ('seed: "{seed}"', 'seed: "{sead}"', r"chain.train.seed holds \{sead\}"),
        (
            "chain: {model: {method: shared}",
            "chain: {profiles: {papper: {train: {}}, else: {}}, model: {method: shared}",
            r"tables.t1.rows.shared.chain.profiles names 'papper', no profile of this file \(mini, paper\)",
        ),
        (
            "chain: {model: {method: shared}",
            "chain: {before: {profiles: {papper: {}}}, model: {method: shared}",
            "tables.t1.rows.shared.chain.profiles names 'papper'",
        ),
        (
            "chain: {model: {method: shared}",
            "chain: {wherever: {before: {}}, model: {method: shared}",
            "chain.wherever.before is no stage",
        ),
        ("profiles:\n  mini", "profiles:\n  mini: {}\n  mini", r"line 8: the key 'mini' stands twice"),
        ("title: A small paper", "title: 'A small", "not YAML"),
        ("claims:", "ours: {big: {}}\nclaims:", r"ours.big is no profile of this file \(mini, paper\)"),
    ],
)
def test_mistakes_are_named_with_file_and_key(recipe, old, new, sentence):
    path = edited(recipe, old, new)
    with pytest.raises(DataError, match=sentence) as caught:
        read_expected(path)
    assert str(path) in str(caught.value)


def test_recorded_values_must_be_of_cells_that_exist(recipe):
    path = recipe / "expected.yaml"
    line = "{value: 1.0, hardware: CPU, commit: abc, date: 2026-11-20}"
    path.write_text(path.read_text() + f"ours: {{mini: {{t1.dpr.tq: {line}}}}}\n")
    with pytest.raises(DataError, match="records 't1.dpr.tq', which is no table.row.column"):
        read_expected(path)


def test_there_is_no_file(tmp_path):
    with pytest.raises(PreconditionError, match="expected.yaml does not exist"):
        read_expected(tmp_path / "expected.yaml")


def test_an_empty_file(tmp_path):
    (tmp_path / "expected.yaml").write_text("")
    with pytest.raises(DataError, match="the file must be a mapping, not nothing"):
        read_expected(tmp_path / "expected.yaml")
