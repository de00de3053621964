import io
import json

import pytest
from rich.console import Console

from dretrieve.reports.tables import (
    Table,
    indented_json,
    latex_text,
    markdown_text,
    number,
    render,
)


@pytest.fixture
def table():
    return Table(
        columns=["run", "nDCG@10", "hits"],
        rows=[["bm25_a|b", 0.5, 12000], ["dense & 50%", 0.75, None]],
        title="Both",
        notes=["a note"],
        best=frozenset({1}),
        marks={(1, 1): "†"},
    )


def test_markdown(table):
    assert render([table], "markdown").splitlines() == [
        "**Both**",
        "",
        "| run         |     nDCG@10 |   hits |",
        "| ----------- | ----------: | -----: |",
        "| bm25_a\\|b   |      0.5000 | 12,000 |",
        "| dense & 50% | **0.7500**† |        |",
        "",
        "- a note",
    ]


def test_latex(table):
    assert render([table], "latex").splitlines() == [
        "% Both",
        "\\begin{tabular}{lrr}",
        "\\toprule",
        "run & nDCG@10 & hits \\\\",
        "\\midrule",
        "bm25\\_a\\textbar{}b & 0.5000 & 12,000 \\\\",
        "dense \\& 50\\% & \\textbf{0.7500}$^{\\dagger}$ &  \\\\",
        "\\bottomrule",
        "\\end{tabular}",
        "% a note",
    ]


HOSTILE = "\x1b[31mred\x1b]0;t\x07\x9b2J\u202e"
SEEN = "\\x1b[31mred\\x1b]0;t\\x07\\u009b2J\\u202e"
BROKEN = "a|b<script>alert(1)</script>\nc\td"


def everywhere(text):
    """A table that holds the text wherever a text can stand."""
    return Table(columns=["run", text], rows=[[text, 1.0]], title=text, notes=[text], marks={(0, 1): "†"})


@pytest.mark.parametrize("form", ["markdown", "latex", "tsv", "terminal"])
def test_no_form_carries_what_a_terminal_obeys(form):
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(render([everywhere(HOSTILE)], form), markup=False, highlight=False)
    drawn = console.file.getvalue()
    assert not set("\x1b\x07\x9b\u202e") & set(drawn)
    assert (latex_text(HOSTILE) if form == "latex" else SEEN) in drawn.replace("\\[", "[")


def test_a_cell_stays_a_cell_in_every_form_of_text():
    shown = render([everywhere(BROKEN)], "markdown")
    assert "<script" not in shown
    assert [line.count("|") - line.count("\\|") for line in shown.splitlines() if line.startswith("|")] == [
        3
    ] * 3
    assert "- a\\|b&lt;script>alert(1)&lt;/script> c d" in shown.splitlines()
    assert len(render([everywhere(BROKEN)], "tsv").splitlines()) == 2
    assert [line.count("\t") for line in render([everywhere(BROKEN)], "tsv").splitlines()] == [1, 1]
    assert all(
        line.startswith(("%", "\\", "run", "a"))
        for line in render([everywhere(BROKEN)], "latex").splitlines()
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a*b*c", "a\\*b\\*c"), ("24.5*", "24.5*"), ("* row, x", "\\* row, x"), ("bm25_a_b", "bm25_a_b"),
        ("__init__", "\\_\\_init\\_\\_"), ("`rm`", "\\`rm\\`"), ("[x](http://y)", "[x]\\(http://y)"),
        ("1. x", "1\\. x"), ("# x", "\\# x"), ("&lt;b>", "&amp;lt;b>"), ("p < 0.05, R&D", "p < 0.05, R&D"),
        ("<!-- x", "&lt;!-- x"), ("a\\|b", "a\\\\\\|b"), ("~~x~~", "\\~\\~x\\~\\~"), ("C:\\x", "C:\\x"),
    ],
)  # fmt: skip
def test_what_means_something_to_markdown_is_escaped_and_nothing_else(text, expected):
    assert markdown_text(text) == expected


def test_a_latex_row_cannot_begin_with_an_option_of_the_row_before():
    drawn = render([Table(columns=["a"], rows=[["x"], ["[2cm] y"], ["*z"]])], "latex").splitlines()
    assert drawn[5:7] == ["{[}2cm] y \\\\", "{*}z \\\\"]


def test_tsv_has_full_numbers():
    table = Table(columns=["run", "x"], rows=[["a\tb", 1 / 3], ["c", 5], ["d", None]])
    assert render([table], "tsv") == "run\tx\na b\t0.3333333333\nc\t5\nd\t"


def test_json(table):
    value = json.loads(render([table], "json"))
    assert value["rows"][0] == {"run": "bm25_a|b", "nDCG@10": 0.5, "hits": 12000}
    assert value["notes"] == ["a note"]
    assert len(json.loads(render([table, table], "json"))) == 2


def test_terminal(table):
    console = Console(file=io.StringIO(), width=80)
    console.print(render([table], "terminal"))
    drawn = console.file.getvalue()
    assert "0.7500†" in drawn
    assert "a note" in drawn
    assert "12,000" in drawn


def test_a_table_whose_numbers_do_not_fit_has_a_line_for_each_column():
    names = [f"measure_{number}" for number in range(24)]
    runs = (("bm25", 0.125), ("dense", 0.25))
    rows = [[f"work/runs/{run}-of-a-long-name.trec", *[value] * 24, 50] for run, value in runs]
    drawn = {}
    for width in (80, 400):
        console = Console(file=io.StringIO(), width=width)
        console.print(render([Table(columns=["run", *names, "queries"], rows=rows)], "terminal"))
        lines = console.file.getvalue().splitlines()
        drawn[width] = [line.split()[1::2] for line in lines if line.startswith("│")]
    assert drawn[80] == [*([name, "0.1250", "0.2500"] for name in names), ["queries", "50", "50"]]
    assert [line[1:] for line in drawn[400]] == [[*["0.1250"] * 24, "50"], [*["0.2500"] * 24, "50"]]


def test_brackets_are_text_not_markup():
    console = Console(file=io.StringIO(), width=80)
    console.print(render([Table(columns=["run"], rows=[["[red]x[/red]"]])], "terminal"))
    assert "[red]x[/red]" in console.file.getvalue()


def test_best_needs_a_rival():
    assert "**" not in render([Table(columns=["x"], rows=[[0.5]], best=frozenset({0}))], "markdown")


def test_json_is_indented_to_a_depth():
    value = {"a": [1, {"b": "é", "c": {}}], "d": None, "e": [[], 0.1]}
    assert json.loads(indented_json(value, 2)) == value
    assert indented_json(value, 1).splitlines() == [
        "{", ' "a": [1, {"b": "é", "c": {}}],', ' "d": null,', ' "e": [[], 0.1]', "}",
    ]  # fmt: skip
    assert indented_json(value, 0) == json.dumps(value, ensure_ascii=False)
    with pytest.raises(ValueError, match="not JSON compliant"):
        indented_json({"x": float("nan")}, 3)


def test_numbers():
    assert [number(None, 1), number(0.25, 1), number(2.0, 1, signed=True), number(1234.0, 0)] == [
        "",
        "0.2",
        "+2.0",
        "1,234",
    ]


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(-0.04, 1, "0.0"), (0.04, 1, "0.0"), (-0.06, 1, "-0.1"), (0.06, 1, "+0.1"), (-0.4, 0, "0"), (0, 0, "0")],
)
def test_what_rounds_to_zero_has_no_sign(value, decimals, text):
    assert number(value, decimals, signed=True) == text
