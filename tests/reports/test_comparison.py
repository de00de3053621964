"""Systems side by side: letters of significance, alignment of queries, mistakes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.reports.comparison import Comparison, System, compare_systems, comparison_table
from dretrieve.reports.metrics_file import Measured
from dretrieve.reports.tables import latex, markdown


def system(title, values, ids=None, measure="nDCG@10"):
    values = np.asarray(values, dtype=np.float64)
    ids = ids or [f"q{number}" for number in range(len(values))]
    measured = Measured(name=title, means={measure: values.mean()}, query_ids=ids, values={measure: values})
    return System(title=title, measured=measured)


def noisy(mean, seed, queries=200):
    return np.clip(np.random.default_rng(seed).normal(mean, 0.2, queries), 0, 1)


def test_letters_say_what_a_row_is_significantly_above():
    systems = [system("low", noisy(0.3, 0)), system("high", noisy(0.6, 1)), system("as high", noisy(0.6, 2))]
    compared = compare_systems(systems)
    assert compared.better == {"nDCG@10": {(1, 0), (2, 0)}}
    table = comparison_table(compared)
    assert table.marks == {(0, 2): " ", (1, 2): "ᵃ", (2, 2): "ᵃ"}
    assert "ᵃ" in markdown(table)
    assert "$^{a}$" in latex(table)
    assert "$^{" not in latex(table).splitlines()[4]  # the row without letters


def test_rows_are_aligned_by_query_not_by_place():
    values = noisy(0.5, 3)
    ids = [f"q{number}" for number in range(len(values))]
    turned = system("same", values[::-1], ids[::-1])
    compared = compare_systems([system("one", values, ids), turned])
    assert compared.better["nDCG@10"] == set()
    np.testing.assert_allclose(compared.intervals["nDCG@10"][0], compared.intervals["nDCG@10"][1])


def test_an_interval_holds_the_mean():
    compared = compare_systems([system("one", noisy(0.5, 4))])
    (low, high), mean = compared.intervals["nDCG@10"][0], compared.systems[0].measured.means["nDCG@10"]
    assert low < mean < high
    assert "raised letter" not in comparison_table(compared).notes[0]


def test_correction_is_over_all_pairs_of_rows():
    """One pair alone is significant; among ten rows the same difference is not."""
    base = noisy(0.5, 5)
    shift = np.random.default_rng(6).normal(0.03, 0.2, len(base))
    pair = [system("a", base), system("b", base + shift)]
    assert compare_systems(pair).better["nDCG@10"] == {(1, 0)}
    many = [*pair, *(system(f"c{number}", base) for number in range(8))]
    assert (1, 0) not in compare_systems(many).better["nDCG@10"]


def test_more_rows_than_letters():
    systems = [system(f"s{number}", [0.5, 0.25]) for number in range(60)]
    better = {"nDCG@10": {(29, 0), (29, 25), (29, 26), (29, 27), (59, 52)}}
    compared = Comparison(systems=systems, measures=["nDCG@10"], better=better, intervals={})
    table = comparison_table(compared)
    assert [row[0] for row in table.rows][24:29] == ["y", "z", "a2", "b2", "c2"]
    assert [table.rows[row][0] for row in (51, 52)] == ["z2", "a3"]
    assert table.marks[29, 2].strip() == "ᵃᶻᵃ²ᵇ²"  # a, z, a2, b2
    assert table.marks[59, 2].strip() == "ᵃ³"
    assert "$^{aza2b2}$" in latex(table)


def counted(title, **measures):
    one = system(title, [0.5, 0.25], measure="AP")
    values = dict(one.measured.values) | {name: np.asarray(each) for name, (_, each) in measures.items()}
    means = dict(one.measured.means) | {name: number for name, (number, _) in measures.items()}
    return replace(one, measured=replace(one.measured, means=means, values=values))


def test_counts_and_geometric_means_are_left_out_and_named():
    more = {"NumRet": (3.0, [2.0, 1.0]), "GMAP": (0.125**0.5, [0.5, 0.25]), "RR": (0.75, [0.5, 1.0])}
    compared = compare_systems([counted("a", **more), counted("b", **more)])
    assert compared.measures == ["AP", "RR"]
    table = comparison_table(compared)
    assert table.columns == ["", "system", "AP", "RR"]
    assert table.notes[1:] == ["NumRet, GMAP: not compared, only means over queries are"]


def test_counts_alone_are_refused():
    one = system("a", [2, 1], measure="NumRet")
    measured = replace(one.measured, means={"NumRet": 3.0})
    with pytest.raises(
        DataError, match="NumRet: no means over queries, which alone are compared; evaluate all"
    ):
        compare_systems([replace(one, measured=measured)])


def test_mistakes():
    with pytest.raises(UsageError, match="there is nothing to compare"):
        compare_systems([])
    with pytest.raises(UsageError, match="two rows are called 'a'; give each its own name"):
        compare_systems([system("a", [1, 0]), system("a", [1, 0])])
    with pytest.raises(DataError, match=r"'b' was measured on other queries than 'a' \(3 against 2\)"):
        compare_systems([system("a", [1, 0]), system("b", [1, 0, 1])])
    with pytest.raises(DataError, match="no measure in common"):
        compare_systems([system("a", [1, 0]), system("b", [1, 0], measure="AP")])
