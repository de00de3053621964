import numpy as np
import pytest

from dretrieve.metrics.scores import Scores
from dretrieve.metrics.significance import compare
from dretrieve.reports.evaluation import (
    comparison_table,
    evaluation_tables,
    means_table,
    p_text,
    queries_table,
)


def scores(name, values, **fields):
    ids = [f"q{row}" for row in range(len(values))]
    return Scores(name=name, query_ids=ids, values={"RR": np.asarray(values)}, **fields)


def test_one_row_for_each_run_with_its_notes():
    table = means_table([scores("a", [1.0, 0.0], notes=["left out"]), scores("b", [1.0, 1.0])])
    assert table.columns == ["run", "RR", "queries"]
    assert table.rows == [["a", 0.5, 2], ["b", 1.0, 2]]
    assert table.notes == ["a: left out"]


def test_a_single_runs_notes_need_no_name():
    assert means_table([scores("a", [1.0], notes=["left out"])]).notes == ["left out"]


def test_counts_are_whole_numbers():
    one = Scores(
        name="a", query_ids=["q"], values={"NumRet": np.asarray([3.0])}, aggregates={"NumRet": "sum"}
    )
    assert means_table([one]).rows == [["a", 3, 1]]
    assert queries_table([one]).rows == [["a", "q", 3]]


def test_groups_give_micro_and_macro_and_a_table():
    tables = evaluation_tables([scores("a", [1.0, 0.0, 0.0], groups=["x", "y", "y"])])
    assert tables[0].columns == ["run", "RR micro", "RR macro", "queries"]
    assert tables[0].rows[0][1:] == [pytest.approx(1 / 3), 0.5, 3]
    assert tables[1].rows == [["a", "x", 1.0, 1], ["a", "y", 0.0, 2]]


def test_significant_differences_are_marked():
    rng = np.random.default_rng(0)
    base = rng.random(80) / 2
    first, second = scores("base", base), scores("new", base + 0.2 + rng.random(80) / 10)
    comparisons = compare([("base", first.values), ("new", second.values)])
    table = means_table([first, second], comparisons)
    assert table.marks == {(1, 1): "†"}
    assert table.notes[-1] == "† differs from base: randomisation test, Holm-corrected p < 0.05"
    row = comparison_table(comparisons).rows[0]
    assert row[:3] == ["RR", "new", "base"]
    assert row[3].startswith("+0.2")
    assert row[7] == "80/0/0"


def test_every_query_when_asked():
    tables = evaluation_tables([scores("a", [1.0, 0.5])], per_query=True)
    assert tables[-1].rows == [["a", "q0", 1.0], ["a", "q1", 0.5]]


def test_small_p_values():
    assert p_text(0.00001) == "<0.0001"
    assert p_text(0.04567) == "0.0457"
