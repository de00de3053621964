"""The JSON file that ``evaluate --output`` writes, as reports read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, PreconditionError, UsageError, quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run of a metrics file.

    Attributes:
        means: measure to value; ``macro:<measure>`` to the mean over groups, where there are groups.
        query_ids: [Q], in the file's order.
        values: measure to float64 [Q].
    """

    name: str
    means: Mapping[str, float]
    query_ids: Sequence[str]
    values: Mapping[str, NDArray[np.float64]]

    def by_query(self, measure: str) -> dict[str, float]:
        """Return query to value."""
        return dict(zip(self.query_ids, self.values[measure].tolist(), strict=True))


def split_name(text: str) -> tuple[str, str]:
    """Return file and run of ``file#run``; the run is empty where none is named."""
    file, _, run = text.partition("#")
    return file, run


def read_metrics(path: Path) -> list[Measured]:
    """Return all runs of the file, in its order.

    Raises:
        PreconditionError: there is no such file.
        DataError: it is not what ``evaluate`` writes.
    """
    try:
        value = json.loads(path.read_bytes())
        return [_measured(entry) for entry in value["runs"]]
    except FileNotFoundError:
        raise PreconditionError(
            f"{path} does not exist; make it with `dretrieve evaluate … --output {quote(str(path))}`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a metrics file of `dretrieve evaluate`: {quoted(error)}") from error


def one_run(path: Path, run: str = "") -> Measured:
    """Return the run of that name; without a name the only one.

    Raises:
        UsageError: no such run, or several and none was named.
    """
    found = read_metrics(path)
    names = ", ".join(entry.name for entry in found) or "none"
    if run:
        chosen = [entry for entry in found if entry.name == run]
        if not chosen:
            raise UsageError(f"{path} has no run '{run}'; it has: {names}")
        return chosen[0]
    if len(found) != 1:
        raise UsageError(f"{path} holds {len(found)} runs ({names}); name one: {path}#RUN")
    return found[0]


def _measured(entry: Mapping[str, Any]) -> Measured:
    per_query = entry.get("per_query", {})
    ids = list(per_query)
    means = {str(name): float(value) for name, value in entry["mean"].items()}
    means |= {f"macro:{name}": float(value) for name, value in entry.get("macro", {}).items()}
    measures = list(entry["mean"]) if ids else []
    return Measured(
        name=str(entry["name"]),
        means=means,
        query_ids=ids,
        values={name: np.array([per_query[one][name] for one in ids], dtype=np.float64) for name in measures},
    )
