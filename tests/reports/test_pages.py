"""A page in every form, and what is written where."""

from __future__ import annotations

import io
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.reports.html import Figure, Page, Section, css_class, html
from dretrieve.reports.pages import form_of, latex_page, markdown_page, shown, write_page
from dretrieve.reports.tables import Table

SVG = '<svg role="img"><g/></svg>'


def page(text="a < b & c"):
    table = Table(
        columns=["row", "ours", "verdict"],
        rows=[[text, 0.5, "OK"], ["two", 0.25, "NOT RUN"], ["three", 0.1, "FAIL · UNDERTRAINED"]],
        title="T_1 & more",
        notes=["5 % of it"],
        best=frozenset({1}),
        marks={(0, 1): "ᵇ ", (1, 1): "  "},
    )
    figure = Figure(name="plot", svg=SVG, caption="what it shows")
    return Page(
        title="Title <x>",
        lead=["lead"],
        tally={"OK": 1},
        sections=[Section(title="S", tables=[table], figures=[figure])],
    )


class Checker(HTMLParser):
    """Collects texts and holds that every element is closed in order."""

    VOID = ("meta", "br", "link")

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_html_is_closed_escaped_and_fetches_nothing():
    text = html(page())
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert "a < b & c" in checker.texts
    assert "a < b & c" not in text
    assert SVG in text
    assert not any(word in text for word in ("http://", "https://", "<script", "@import", "url("))


def test_html_sets_verdicts_best_values_and_marks():
    text = html(page())
    assert '<span class="verdict v-not-run">NOT RUN</span>' in text
    assert '<span class="verdict v-fail">FAIL</span> UNDERTRAINED' in text
    assert "<strong>0.5000</strong><sup>b<i>a</i></sup>" in text
    assert css_class("DOES NOT HOLD") == "v-does-not-hold"
    assert ".v-does-not-hold" in text


def test_html_of_equal_pages_is_equal():
    assert html(page()) == html(page())


def test_markdown_links_its_figures_only_where_they_stand():
    assert "![what it shows](plot.svg)" in markdown_page(page(), linked=True)
    assert "plot.svg" not in markdown_page(page())
    assert "| three" in markdown_page(page())


def test_latex_has_one_float_for_each_table_and_escapes_its_caption():
    text = latex_page(page())
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert r"\caption{T\_1 \& more}" in text
    assert r"\footnotesize 5 \% of it" in text, "a note is text, not a comment"


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "html"])
def test_no_page_carries_what_a_terminal_or_a_browser_obeys(form):
    hostile = "\x1b]0;t\x07<script>x</script>"
    one = page(hostile)
    one = replace(
        one, title=hostile, lead=[hostile], sections=[replace(one.sections[0], title=hostile, text=[hostile])]
    )
    console = Console(file=io.StringIO(), width=200)
    console.print(shown(one, form), markup=False, highlight=False)
    drawn = console.file.getvalue()
    assert not set("\x1b\x07") & set(drawn)
    assert form in ("terminal", "latex") or "<script" not in drawn


def test_a_folder_gets_every_form_and_the_figures(tmp_path):
    written = write_page(page(), tmp_path / "report")
    assert sorted(path.name for path in written) == ["plot.svg", "report.html", "report.md", "report.tex"]
    assert write_page(page("again"), tmp_path / "report") == written
    assert "again" in (tmp_path / "report" / "report.md").read_text()


def test_a_file_gets_the_form_of_its_ending(tmp_path):
    write_page(page(), tmp_path / "x.md")
    assert (tmp_path / "x.md").read_text().startswith("# Title &lt;x>")
    with pytest.raises(UsageError, match=r"x.pdf: give a folder, or a file that ends in .md, .html"):
        form_of(tmp_path / "x.pdf")


def test_a_file_of_someone_else_is_not_replaced(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("precious")
    with pytest.raises(PreconditionError, match="was not written by `dretrieve report`; use --force"):
        write_page(page(), path)
    assert path.read_text() == "precious"
    write_page(page(), path, force=True)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").mkdir()
    with pytest.raises(PreconditionError, match="is a folder; give --output another name"):
        write_page(page(), tmp_path / "report")
    assert not (tmp_path / "report" / "report.md").exists()
