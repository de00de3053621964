"""What a work folder says about one cell: its value for every seed, and whether the chain behind it fits."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dretrieve.errors import DretrieveError
from dretrieve.reports.expected import Cell, Profile
from dretrieve.reports.metrics_file import Measured, one_run, split_name
from dretrieve.reports.plan import Artefact, Behind
from dretrieve.reports.trained import training_notes
from dretrieve.store.manifest import manifest_path, provenance_path, read_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One cell for one seed.

    Attributes:
        value: as measured (a fraction for a measure), the median of repeats; None where it may not fill the
            cell.
        repeats: all numbers of a manifest's list, one for each round; empty where there is only one.
        measured: the run, for per-query values; None for a number of a manifest.
        undertrained: sentences about trainings behind it that were over too early.
        near: the artefacts from the file to the models and their trainings.
        members: of an average, what it is the mean of.
    """

    seed: int
    file: Path
    value: float | None = None
    repeats: tuple[float, ...] = ()
    measured: Measured | None = None
    problems: tuple[str, ...] = ()
    hardware: str = ""
    undertrained: tuple[str, ...] = ()
    near: Sequence[Artefact] = ()
    members: Sequence[Reading] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a recipe ran.

    Attributes:
        behind: says of a file what stands behind it (`dretrieve.reports.plan.Plan.behind`).
    """

    work: Path
    profile: Profile
    behind: Callable[[Path], Behind]


def read_cell(cell: Cell, place: Place) -> list[Reading]:
    """Return a reading for every seed of the profile whose file stands there; none for what has no file.

    Nor for a number of which its manifest says that there is none (null).
    """
    if cell.kind == "cited" or cell.average:
        return []
    readings = []
    for seed in place.profile.seeds if cell.is_trained else place.profile.seeds[:1]:
        names = {"table": cell.table, "row": cell.row, "column": cell.column, "seed": seed}
        file, run_name = split_name(cell.file.format(**names, profile=place.profile.name))
        path = place.work / file
        if path.exists():
            readings.append(_read(cell, place, (path, run_name), seed))
    return [one for one in readings if one.value is not None or one.problems]


def averaged(cell: Cell, profile: Profile, read: Mapping[str, Sequence[Reading]]) -> list[Reading]:
    """Return a reading of an average for every seed that all its cells have been run with.

    What no seed makes stands beside every seed.
    """
    found = []
    for seed in profile.seeds if cell.is_trained else profile.seeds[:1]:
        members = [
            next((one for one in read[of.name] if one.seed == seed or not of.is_trained), None)
            for of in cell.average
        ]
        there = [replace(one, seed=seed) for one in members if one is not None]
        if there and len(there) == len(members):
            found.append(_mean(seed, there))
    return found


def _mean(seed: int, members: Sequence[Reading]) -> Reading:
    values = [one.value for one in members if one.value is not None]
    return Reading(
        seed=seed,
        file=members[0].file,
        value=statistics.fmean(values) if len(values) == len(members) else None,
        problems=tuple(dict.fromkeys(text for one in members for text in one.problems)),
        hardware=members[0].hardware,
        undertrained=tuple(dict.fromkeys(text for one in members for text in one.undertrained)),
        members=members,
    )


def _read(cell: Cell, place: Place, where: tuple[Path, str], seed: int) -> Reading:
    path, run_name = where
    try:
        behind = place.behind(path)
        if behind.problems:
            return Reading(seed=seed, file=path, problems=behind.problems)
        measured = None if cell.key else one_run(path, run_name)
        value, repeats, has_none = _value(cell, path, measured)
        undertrained = training_notes(behind.near) if measured is not None else ()
    except DretrieveError as error:
        return Reading(seed=seed, file=path, problems=(str(error),))
    return Reading(
        seed=seed,
        file=path,
        value=value,
        repeats=repeats,
        measured=measured,
        problems=() if value is not None or has_none else (f"{path} has no {cell.key or cell.measure}",),
        hardware=next(filter(None, map(made_on, behind.near)), ""),
        undertrained=undertrained,
        near=behind.near,
    )


def made_on(item: Artefact) -> str:
    """Return the device and precision of vectors as their provenance says, which no manifest vouches for."""
    if item.manifest.stage != "encode":
        return ""
    try:
        numerics = json.loads(provenance_path(item.path).read_bytes())["details"]["numerics"]
        return f"{numerics['device']}, {numerics['precision']}"
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _value(cell: Cell, path: Path, measured: Measured | None) -> tuple[float | None, tuple[float, ...], bool]:
    """Return the cell's number; where a manifest lists several rounds', their median and all of them.

    And whether the manifest says that there is none.
    """
    if measured is not None:
        return measured.means.get(cell.measure), (), False
    found: Any = asdict(read_manifest(manifest_path(path)))
    has_none = False
    for part in cell.key.format(row=cell.row, column=cell.column).split("."):
        has_none = isinstance(found, Mapping) and part in found and found[part] is None
        found = found.get(part) if isinstance(found, Mapping) else None
    several = found if isinstance(found, list) else [found]
    if not several or not all(type(number) in (int, float) for number in several):
        return None, (), has_none
    return statistics.median(map(float, several)), tuple(map(float, found)) if several is found else (), False


def mean_by_query(readings: list[Reading], measure: str) -> tuple[list[str], np.ndarray]:
    """Return the queries and their values [seeds, Q]; the order is the first seed's.

    Raises:
        ValueError: the seeds were measured on different queries, or not per query.
    """
    columns = [reading.measured.by_query(measure) for reading in readings if reading.measured is not None]
    if not columns or not columns[0]:
        raise ValueError("there are no values by query")
    ids = list(columns[0])
    if any(set(column) != set(ids) for column in columns):
        raise ValueError("the seeds were measured on different queries")
    return ids, np.array([[column[query_id] for query_id in ids] for column in columns])
