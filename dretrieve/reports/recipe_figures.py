"""The curves of a recipe's page: accuracy at k and against parameters, the search for alpha, dev over steps.

All come out of the chains behind its cells: nothing is drawn that no checked file says.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dretrieve.reports.expected import Expected, PaperTable
from dretrieve.reports.html import Figure
from dretrieve.reports.plots import Axes, Dot, Line, dots, panels, recall_points
from dretrieve.reports.readings import Reading
from dretrieve.reports.trained import DevCurve, dev_curve
from dretrieve.reports.verdicts import Judged

AT_K = {"top": "questions answered", "Success": "questions answered", "R": "recall"}
FEWEST_ROWS = 2


def recipe_figures(expected: Expected, judged: Mapping[str, Judged]) -> list[Figure]:
    """Return every figure that the measured cells allow."""
    found: list[Figure] = []
    for column in _columns(expected, judged):
        found += [*_at_k(*column), *_against_parameters(*column)]
    return [*found, *_alphas(judged, expected), *_trainings(judged, expected)]


def _columns(
    expected: Expected, judged: Mapping[str, Judged]
) -> Iterator[tuple[PaperTable, str, dict[str, Judged]]]:
    """Yield table, column, row title to measured cell; tables over the same metrics files only once."""
    seen: list[set[str]] = []
    for table in expected.tables.values():
        for key in table.columns:
            rows = {
                row.title: judged[row.cells[key].name]
                for row in table.rows.values()
                if key in row.cells and _measured(judged[row.cells[key].name])
            }
            files = {str(reading.file) for one in rows.values() for reading in one.readings}
            if len(rows) >= FEWEST_ROWS and not any(files <= before for before in seen):
                seen.append(files)
                yield table, key, rows


def _measured(one: Judged) -> bool:
    return one.value is not None and any(reading.measured is not None for reading in one.readings)


def _at_k(table: PaperTable, key: str, rows: Mapping[str, Judged]) -> Iterator[Figure]:
    """Yield the curves over k, for every family of measures that has three cutoffs in all rows."""
    means = {title: _means(one.readings) for title, one in rows.items()}
    shared = [name for name in next(iter(means.values())) if all(name in found for found in means.values())]
    for family, points in recall_points(shared).items():
        curves = [
            Line(name=title, x=[k for k, _ in points], y=[found[measure] for _, measure in points])
            for title, found in means.items()
        ]
        word, column = AT_K.get(family, family), table.columns[key].title
        axes = Axes(title=f"{column}, {word} at k", x="k: passages looked at", y=f"{word} at k", log_x=True)
        caption = f"{column}: share of {word} among the first k passages." if family in AT_K else f"{column}."
        yield Figure(
            name=f"at-k-{table.name}-{key}-{family.lower()}", svg=panels(curves, axes), caption=caption
        )


def _means(readings: Sequence[Reading]) -> dict[str, float]:
    """Return measure to its mean over seeds."""
    measured = [reading.measured.means for reading in readings if reading.measured is not None]
    names = [name for name in measured[0] if all(name in means for means in measured)]
    return {name: statistics.fmean(means[name] for means in measured) for name in names}


def _against_parameters(table: PaperTable, key: str, rows: Mapping[str, Judged]) -> Iterator[Figure]:
    """Yield accuracy over the parameters that the trainings behind it counted."""
    points = []
    for title, one in rows.items():
        counted = _parameters(one)
        if counted is not None and one.value is not None:
            points.append(Dot(name=title, x=counted / 1e6, y=one.value, spread=one.spread))
    if len({point.x for point in points}) < FEWEST_ROWS:
        return
    column = table.columns[key].title
    unit = {"percent": ", percent", "fraction": "", "number": ""}[table.unit]
    axes = Axes(title=f"{column} against parameters", x="parameters, millions", y=f"{column}{unit}")
    caption = f"{table.title}, {column}, against the number of parameters; whiskers: spread between seeds."
    yield Figure(name=f"parameters-{table.name}-{key}", svg=dots(points, axes), caption=caption)


def _parameters(one: Judged) -> float | None:
    """Return how many parameters the one model behind a cell has; None if there is none, or are several."""
    for reading in one.readings:
        trainings = [item.manifest for item in reading.near if item.manifest.stage == "train"]
        counts = {manifest.counts.get("parameters") for manifest in trainings}
        if len(counts) == 1 and (count := counts.pop()) is not None:
            return float(count)
    return None


def _alphas(judged: Mapping[str, Judged], expected: Expected) -> Iterator[Figure]:
    """Yield what tuning tried: the mean over dev sets for every alpha, a line for each search."""
    curves: dict[str, Line] = {}
    said: dict[str, str] = {}
    measures: dict[str, None] = {}
    for title, reading in _first_readings(judged, expected):
        for item in reading.near:
            tuned = item.manifest.extra.get("tuned")
            if not isinstance(tuned, Mapping) or len(tuned.get("alphas", ())) < 2:
                continue
            key = json.dumps([title, tuned["alphas"], tuned["means"]])
            if key not in curves:
                curves[key] = Line(name=title, x=tuned["alphas"], y=tuned["means"])
                said[key] = f"{title} {tuned['best']:g}"
                measures[str(tuned["measure"])] = None
    if curves:
        measure = ", ".join(measures)
        axes = Axes(title="alpha", x="alpha: weight of BM25", y=f"{measure}, mean over dev sets")
        caption = f"The search for alpha on dev; taken: {'; '.join(said.values())}."
        yield Figure(name="alpha", svg=panels(list(curves.values()), axes), caption=caption)


def _first_readings(judged: Mapping[str, Judged], expected: Expected) -> Iterator[tuple[str, Reading]]:
    """Yield row title and the first seed's reading of every filled cell."""
    for name, cell in expected.cells().items():
        if judged[name].value is not None and judged[name].readings:
            yield expected.tables[cell.table].rows[cell.row].title, judged[name].readings[0]


def _trainings(judged: Mapping[str, Judged], expected: Expected) -> Iterator[Figure]:
    """Yield dev over steps: a line for each row that a training of its own stands behind, for each metric."""
    taken: set[str] = set()
    lines: dict[str, list[Line]] = {}
    for name, cell in expected.cells().items():
        curves = [curve for curve in _curves_of(judged[name]) if curve.name not in taken]
        if curves:
            taken |= {curve.name for curve in curves}
            metric, title = curves[0].metric, expected.tables[cell.table].rows[cell.row].title
            alike = [curve for curve in curves if curve.metric == metric]
            lines.setdefault(metric, []).append(_over_seeds(title, alike))
    for number, (metric, drawn) in enumerate(lines.items()):
        axes = Axes(title="training", x="step", y=f"{metric} on dev")
        caption = f"{metric} on dev during training; a band spans the seeds from the lowest to the highest."
        name = "training" if number == 0 else f"training-{number + 1}"
        yield Figure(name=name, svg=panels(drawn, axes), caption=caption)


def _curves_of(one: Judged) -> list[DevCurve]:
    """Return the dev curves of the trainings behind a cell, one for each seed and model."""
    if one.value is None or not _measured(one):
        return []
    found = {}
    for reading in one.readings:
        for item in reading.near:
            curve = dev_curve(item) if item.manifest.stage == "train" else None
            if curve is not None and len(curve.values) > 1:
                found[curve.name] = curve
    return list(found.values())


def _over_seeds(title: str, curves: Sequence[DevCurve]) -> Line:
    """Return the mean of curves over the same steps with its band; of others the first alone."""
    alike = [curve for curve in curves if list(curve.steps) == list(curves[0].steps)]
    values = np.array([curve.values for curve in alike], dtype=np.float64)
    band = np.stack([values.min(axis=0), values.max(axis=0)], axis=1) if len(alike) > 1 else None
    return Line(name=title, x=list(alike[0].steps), y=values.mean(axis=0).tolist(), interval=band)
