"""ReAtt's tables: the numbers that the paper prints, the invented world, the plan."""

from __future__ import annotations

from pathlib import Path

from dretrieve.reports.expected_file import read_expected

ROOT = Path(__file__).parents[2]
# The numbers that the paper prints, and is legible in: of each table, and of parameters.
PRINTED = {
    "table1": 45,
    "table2": 12,
    "table3": 74,
    "table4": 25,
    "table5": 30,
    "table6": 34,
    "parameters1": 13,
    "parameters2": 12,
    "study": 2,
    "heads": 4,
}


def test_every_number_that_the_paper_prints_is_there():
    expected = read_expected(ROOT / "recipes/reatt/expected.yaml")
    counts = {
        name: sum(cell.printed is not None for cell in table.cells())
        for name, table in expected.tables.items()
    }
    assert {name: count for name, count in counts.items() if count} == PRINTED
    unknown = [cell.name for cell in expected.cells().values() if cell.kind == "unknown"]
    assert unknown == ["table3.full.r1"]
    claims = {claim.says.partition(")")[0].removeprefix("(") for claim in expected.claims.values()}
    assert {str(number) for number in range(1, 14)} <= claims
