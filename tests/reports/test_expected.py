"""The records of expected.yaml."""

from __future__ import annotations

from dataclasses import replace

from dretrieve.reports.expected_file import read_expected


def test_cells_are_found_by_name(recipe):
    expected = read_expected(recipe / "expected.yaml")
    cell = expected.cell("t1.dpr.nq")
    assert (cell.name, cell.paper) == ("t1.dpr.nq", 50.0)
    assert [expected.cell(name) for name in ("", "t1", "t1.dpr", "t1.dpr.x", "x.dpr.nq")] == [None] * 5


def test_a_claim_names_its_cells_once(recipe):
    assert read_expected(recipe / "expected.yaml").claims["shared-above-dpr"].cells() == [
        "t1.shared.nq",
        "t1.dpr.nq",
    ]


def test_a_claim_is_shown_at_its_profiles_and_without_any_at_all(recipe):
    claim = read_expected(recipe / "expected.yaml").claims["shared-above-dpr"]
    assert [claim.shown_at(name) for name in ("mini", "paper")] == [True, True]
    small = replace(claim, profiles=("mini",))
    assert [small.shown_at(name) for name in ("mini", "paper")] == [True, False]


def test_units(recipe):
    table = read_expected(recipe / "expected.yaml").tables["t1"]
    assert (table.scale, table.decimals) == (100.0, 1)
