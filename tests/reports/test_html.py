"""Pieces of the HTML page; whole pages are in test_pages.py."""

from __future__ import annotations

from dretrieve.reports.html import VERDICT_WORDS, Page, Section, css_class, html
from dretrieve.reports.tables import Table


def test_every_verdict_has_its_style():
    table = Table(columns=["verdict"], rows=[[word] for word in VERDICT_WORDS])
    text = html(Page(title="t", sections=[Section(tables=[table])]))
    for word in VERDICT_WORDS:
        assert f'<span class="verdict {css_class(word)}">{word}</span>' in text
        assert f".{css_class(word)}" in text


def test_a_cell_that_only_begins_like_a_verdict_is_text():
    table = Table(columns=["row"], rows=[["OKAPI"], ["FAILURES"]])
    assert "<span" not in html(Page(title="t", sections=[Section(tables=[table])])).partition("<body>")[2]


def test_an_empty_page_is_a_page():
    assert "<h1>t</h1>" in html(Page(title="t"))
