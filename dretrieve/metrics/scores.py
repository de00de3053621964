"""The values of one run in several measures, per query, and how they become one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dretrieve.metrics.measure import Aggregate, aggregated


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What one run is worth.

    Attributes:
        query_ids: [Q] the queries measured.
        values: measure to float64 [Q].
        aggregates: how a measure's values become one number, where it is not their mean.
        groups: [Q] each query's group when values are also wanted by a field, else empty.
        notes: what a reader must know: queries left out, counted as 0, hits dropped.
    """

    name: str
    query_ids: Sequence[str]
    values: Mapping[str, NDArray[np.float64]]
    aggregates: Mapping[str, Aggregate] = field(default_factory=dict)
    groups: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=list)

    def total(self, measure: str, rows: NDArray[np.int64] | None = None) -> float:
        """Return the one number of all queries, or of ``rows``; 0 for none."""
        values = self.values[measure] if rows is None else self.values[measure][rows]
        return aggregated(self.aggregates.get(measure, "mean"), values)

    def is_count(self, measure: str) -> bool:
        """Return whether the values are whole numbers, of which the sum is shown."""
        return self.aggregates.get(measure) == "sum"

    def means(self) -> dict[str, float]:
        """Return measure to value over all queries (with groups: the micro average)."""
        return {measure: self.total(measure) for measure in self.values}

    def by_group(self) -> dict[str, dict[str, float]]:
        """Return group to measure to value, groups sorted; empty without groups."""
        labels = np.asarray(self.groups, dtype=object)
        found = {}
        for group in sorted(set(self.groups)):
            rows = np.flatnonzero(labels == group)
            found[group] = {measure: self.total(measure, rows) for measure in self.values}
        return found

    def macro(self) -> dict[str, float]:
        """Return the mean over groups of each group's value; empty without groups."""
        groups = list(self.by_group().values())
        if not groups:
            return {}
        return {measure: sum(group[measure] for group in groups) / len(groups) for measure in self.values}

    def per_query(self) -> dict[str, dict[str, float]]:
        """Return query to measure to value."""
        columns = {measure: values.tolist() for measure, values in self.values.items()}
        return {
            query_id: {measure: column[row] for measure, column in columns.items()}
            for row, query_id in enumerate(self.query_ids)
        }
