"""The page of a plain comparison: one table, and the plots that its measures allow."""

from __future__ import annotations

from dretrieve.reports.comparison import Comparison, comparison_table
from dretrieve.reports.html import Figure, Page, Section
from dretrieve.reports.plots import Axes, Line, bars, lines, recall_points

NAMES = {"R": "recall", "Success": "share of queries answered", "top": "share of questions answered"}


def compared_page(comparison: Comparison, title: str) -> Page:
    """Return the page: the table, bars of the first measure, R@k curves where there are three cutoffs."""
    figures = [_bars(comparison)]
    figures += [
        _curves(comparison, family, points) for family, points in recall_points(comparison.measures).items()
    ]
    section = Section(tables=[comparison_table(comparison)], figures=figures)
    return Page(title=title, sections=[section])


def _bars(comparison: Comparison) -> Figure:
    measure = comparison.measures[0]
    names = [system.title for system in comparison.systems]
    values = [system.measured.means[measure] for system in comparison.systems]
    svg = bars(names, values, Axes(x=measure), comparison.intervals[measure])
    about = (
        f"{measure} of every system; the whiskers are 95 % intervals over {comparison.num_queries:,} queries."
    )
    return Figure(name=_file_name(measure), svg=svg, caption=about)


def _curves(comparison: Comparison, family: str, points: list[tuple[int, str]]) -> Figure:
    cutoffs = [k for k, _ in points]
    curves = [
        Line(
            name=system.title,
            x=cutoffs,
            y=[system.measured.means[measure] for _, measure in points],
        )
        for system in comparison.systems
    ]
    label = NAMES.get(family, family)
    axes = Axes(x="k: passages looked at", y=f"{label} at k", log_x=True)
    caption = f"{label.capitalize()} against the number of passages looked at (logarithmic)."
    return Figure(name=_file_name(f"{family}-curves"), svg=lines(curves, axes), caption=caption)


def _file_name(text: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in text)
    return kept.strip("-").lower()
