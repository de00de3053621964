"""What a work folder says about one cell: its value for every seed, and whether the chain behind it fits."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dretrieve.errors import DretrieveError
from dretrieve.reports.artefacts import Artefact, Library
from dretrieve.reports.chain import Chain, walk
from dretrieve.reports.conditions import MISSING, joined, lookup
from dretrieve.reports.expected import Cell, Profile
from dretrieve.reports.metrics_file import Measured, one_run, split_name
from dretrieve.reports.trained import training_notes
from dretrieve.store.manifest import manifest_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One cell for one seed.

    Attributes:
        seed: which.
        file: where it was looked for.
        value: as measured (a fraction for a measure), the median of repeats; None where it may not fill the
            cell.
        repeats: all numbers of a manifest's list, one for each round; empty where there is only one.
        measured: the run, for per-query values; None for a number of a manifest.
        problems: why it may not fill the cell.
        hardware: what the vectors were made on.
        undertrained: sentences about trainings behind it that were over too early.
        near: the artefacts from the file to the models and their trainings.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a recipe ran.

    Attributes:
        work: its work folder.
        profile: at which size.
        library: the artefacts of the folder.
        full: hash every file again.
        chains: chains walked before, by file and run.
    """

    work: Path
    profile: Profile
    library: Library
    full: bool = False
    chains: dict[tuple[Path, str], Chain] = field(default_factory=dict)

    def chain(self, file: Path, role: str = "") -> Chain:
        """Return the chain behind the file, walked once."""
        if (file, role) not in self.chains:
            self.chains[file, role] = walk(self.library, file, role=role or None, full=self.full)
        return self.chains[file, role]


def read_cell(cell: Cell, place: Place) -> list[Reading]:
    """Return a reading for every seed of the profile whose file stands there; none for a cited cell."""
    if cell.kind == "cited":
        return []
    readings = []
    for seed in place.profile.seeds if "{seed}" in cell.file else place.profile.seeds[:1]:
        names = _names(cell, place.profile, seed)
        file, run_name = split_name(cell.file.format(**names))
        path = place.work / file
        if path.exists():
            readings.append(_read(cell, place, (path, run_name), names))
    return readings


def _names(cell: Cell, profile: Profile, seed: int) -> dict[str, object]:
    return {
        "table": cell.table,
        "row": cell.row,
        "column": cell.column,
        "seed": seed,
        "profile": profile.name,
    }


def _read(cell: Cell, place: Place, where: tuple[Path, str], names: Mapping[str, object]) -> Reading:
    path, run_name = where
    seed = int(str(names["seed"]))
    conditions = joined(place.profile.chain, cell.chain)
    try:
        if reasons := unread(place, path):
            return Reading(seed=seed, file=path, problems=reasons)
        measured = None if cell.key else one_run(path, run_name)
        chain = place.chain(path, measured.role if measured else "")
        problems = chain.problems(conditions, names)
        value, repeats = _value(cell, place, path, measured) if not problems else (None, ())
        undertrained = training_notes(chain.near) if measured is not None and not problems else ()
    except DretrieveError as error:
        return Reading(seed=seed, file=path, problems=(str(error),))
    if not problems and value is None:
        problems = [f"{path} has no {cell.key or cell.measure}"]
    return Reading(
        seed=seed,
        file=path,
        value=value,
        repeats=repeats,
        measured=measured,
        problems=tuple(problems),
        hardware=chain.hardware,
        undertrained=undertrained,
        near=tuple(chain.near),
    )


def unread(place: Place, path: Path) -> tuple[str, ...]:
    """Return why the file itself must not even be read: no manifest, or other bytes than it says."""
    manifest = manifest_path(path)
    artefact = place.library.by_path.get(manifest)
    if artefact is None:
        absent = f"{path} has no manifest: it was not made by dretrieve"
        return (place.library.unreadable.get(manifest, absent),)
    try:
        artefact.check(full=place.full)
    except DretrieveError as error:
        return (str(error),)
    return ()


def _value(
    cell: Cell, place: Place, path: Path, measured: Measured | None
) -> tuple[float | None, tuple[float, ...]]:
    """Return the cell's number and, where a manifest lists several rounds', their median and all of them."""
    if measured is not None:
        return measured.means.get(cell.measure), ()
    artefact = place.library.by_path.get(manifest_path(path))
    found: Any = MISSING if artefact is None else lookup(artefact.facts, cell.key)
    several = found if isinstance(found, list) else [found]
    if not several or not all(type(number) in (int, float) for number in several):
        return None, ()
    return statistics.median(map(float, several)), tuple(map(float, found)) if several is found else ()


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
