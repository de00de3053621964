"""What a claim compares: cells query by query and seed by seed, averages, gains, the rounds of two times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dretrieve.reports.readings import mean_by_query
from dretrieve.reports.verdicts import Judged

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Differences whose mean one test asks about, in the table's unit.

    Attributes:
        values: [N], for each query the mean of the differences over the common seeds (of several query sets:
            see `combined`; of times: see `rounds`).
        layouts: for each query set, seed to the differences of that seed's models by query ([Q]); only seeds
            that both sides were run with.
        trained: whether a side has seeds at all.
        paired: whether the values are differences of both sides on one set of queries.
        queries: [N] their ids, where they are one set.
    """

    values: Floats
    layouts: Sequence[Mapping[int, Floats]] = ()
    trained: bool = False
    paired: bool = True
    queries: Sequence[str] = ()


class NoCommonSeedError(ValueError):
    """Both sides were trained, and never with the same seed."""

    def __init__(self, left: Judged, right: Judged) -> None:
        super().__init__(
            f"{left.cell.name} was run with the seeds {seeds_text(left)}, {right.cell.name} with "
            f"{seeds_text(right)}: none is common"
        )


def difference(left: Judged, right: Judged, measure: str, scale: float) -> Sample:
    """Return left minus right by query, seed by seed: a seed draws both sides' training questions alike.

    Args:
        left: a cell with a value.
        right: another one.
        measure: compared per query; empty takes the left cell's, of an average each of its cells' own.
        scale: what a measured value is multiplied with to be in the table's unit.

    Raises:
        NoCommonSeedError: says the seeds of both sides.
        ValueError: the measure was not measured per query, or on different queries.
    """
    if left.cell.average:
        pairs = zip(_members(left), _members(right), strict=True)
        sets = [difference(one, two, measure, scale) for one, two in pairs]
        return combined(sets, [1 / len(sets)] * len(sets))
    measure = measure or left.cell.measure
    try:
        left_ids, ours = mean_by_query(list(left.readings), measure)
        right_ids, theirs = mean_by_query(list(right.readings), measure)
    except KeyError:
        raise ValueError(f"{measure} was not measured for {left.cell.name} and {right.cell.name}") from None
    if set(left_ids) != set(right_ids):
        raise ValueError(f"{left.cell.name} and {right.cell.name} were measured on different queries")
    place = {query_id: number for number, query_id in enumerate(right_ids)}
    ours, theirs = scale * ours, scale * theirs[:, [place[query_id] for query_id in left_ids]]
    seeded = dict(zip(seeds_of(left), ours, strict=True)), dict(zip(seeds_of(right), theirs, strict=True))
    found = _less(*seeded, (left.cell.is_trained, right.cell.is_trained), left_ids)
    if found is None:
        raise NoCommonSeedError(left, right)
    return found


def _less(
    ours: Mapping[int, Floats],
    theirs: Mapping[int, Floats],
    trained: tuple[bool, bool],
    queries: Sequence[str],
) -> Sample | None:
    """Return ours less theirs by seed and query; None where no seed is common.

    A side that is not trained stands beside every seed of the other.
    """
    if not trained[0]:
        ours = dict.fromkeys(theirs, next(iter(ours.values())))
    elif not trained[1]:
        theirs = dict.fromkeys(ours, next(iter(theirs.values())))
    layout = {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}
    if not layout:
        return None
    values = np.mean(list(layout.values()), axis=0)
    return Sample(values=values, layouts=(layout,), trained=any(trained), queries=queries)


def _members(one: Judged) -> list[Judged]:
    """Return an average's cells, each with its readings for the average's seeds."""
    return [
        replace(one, cell=cell, readings=[reading.members[place] for reading in one.readings])
        for place, cell in enumerate(one.cell.average)
    ]


def seeds_of(one: Judged) -> list[int]:
    """Return the seeds of which the cell has values by query or by round."""
    return [
        reading.seed
        for reading in one.readings
        if reading.measured is not None or reading.members or reading.repeats
    ]


def seeds_text(one: Judged) -> str:
    """Return those seeds in words."""
    return ", ".join(map(str, seeds_of(one)))


def combined(samples: Sequence[Sample], weights: Sequence[float]) -> Sample:
    """Return the weighted sum of means over different query sets, as values around it.

    An average over S sets has the weights 1 / S, a gain minus another one 1 and -1. The values are each
    sample's deviations from its own mean, scaled so that the standard error of their mean is that of a sum of
    independent means with unequal variances, the root of Σ w² s² / n (of two: Welch's).
    """
    sides = [weight * sample.values for sample, weight in zip(samples, weights, strict=True)]
    total = sum(map(len, sides))
    parts = [
        (side - side.mean()) * np.sqrt(total * (total - 1) / (len(side) * max(len(side) - 1, 1)))
        for side in sides
    ]
    return Sample(
        values=np.concatenate(parts) + sum(side.mean() for side in sides),
        layouts=[
            {seed: weight * values for seed, values in layout.items()}
            for sample, weight in zip(samples, weights, strict=True)
            for layout in sample.layouts
        ],
        trained=any(sample.trained for sample in samples),
        paired=False,
    )


def excess(gain: Sample, other: Sample) -> Sample:
    """Return how much larger a gain is than another one, by query where both are of the same queries.

    Of other queries, and where no seed is common, it is a difference of independent means (`combined`).
    """
    place = {query_id: number for number, query_id in enumerate(other.queries)}
    if place and place.keys() == set(gain.queries):
        order = [place[query_id] for query_id in gain.queries]
        theirs = {seed: values[order] for seed, values in other.layouts[0].items()}
        found = _less(gain.layouts[0], theirs, (gain.trained, other.trained), gain.queries)
        if found is not None:
            return found
    return combined([gain, other], [1, -1])


def rounds(left: Judged, right: Judged | None, bound: float) -> Sample | None:
    """Return log(left / right) - log(bound) of every round of two measured times; None for single numbers.

    Args:
        left: a cell of a table in the unit ``number`` that was measured in several rounds.
        right: the cell measured in turn with it; None where left alone is held against the bound.
        bound: of the ratio.

    Raises:
        NoCommonSeedError: as `difference`; of two trained sides the rounds of common seeds are compared.
        ValueError: the rounds of both sides are not pairs, or something is not above 0.
    """
    if right is not None and all(one.cell.is_trained and len(_repeats(one)) for one in (left, right)):
        left, right = _of_common_seeds(left, right)
    ours = _repeats(left)
    theirs = np.ones(len(ours)) if right is None else _repeats(right)
    if not len(ours) and not len(theirs):
        return None
    if len(ours) != len(theirs):
        name = right.cell.name if right else ""
        raise ValueError(
            f"{left.cell.name} and {name} were measured {len(ours)} and {len(theirs)} times, not in turn"
        )
    if bound <= 0 or min(ours.min(), theirs.min()) <= 0:
        raise ValueError("a ratio of times needs times and a bound above 0")
    return Sample(values=np.log(ours / theirs) - np.log(bound))


def _of_common_seeds(left: Judged, right: Judged) -> tuple[Judged, Judged]:
    """Return both sides without the readings of seeds that the other lacks."""
    ours, theirs = seeds_of(left), seeds_of(right)
    if not set(ours) & set(theirs):
        raise NoCommonSeedError(left, right)
    return (
        replace(left, readings=[one for one in left.readings if one.seed in theirs]),
        replace(right, readings=[one for one in right.readings if one.seed in ours]),
    )


def _repeats(one: Judged) -> Floats:
    """Return the rounds' numbers ([0] where a single one was measured)."""
    return np.array([value for reading in one.readings for value in reading.repeats], dtype=np.float64)
