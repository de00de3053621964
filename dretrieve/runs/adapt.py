"""Choosing one of several strategies by a few labelled queries, fold by fold; the file that holds a choice.

Source: Qian et al., Multi-Vector Retrieval as Sparse Alignment (ALIGNER), 2022, section 4.2: labelled queries
are split into folds of 8; the best strategy of a fold is measured on all queries outside it, and the mean and
standard deviation over folds are reported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, PreconditionError
from dretrieve.store.seeds import generator

ENDING = ".json"


@dataclass(frozen=True, slots=True)
class Adapted:
    """What each fold of examples chose.

    Attributes:
        folds: [F] arrays of queries, the examples of each.
        chosen: [F] strategies.
        outside: [F] float64, the mean of the chosen strategy over the queries outside; NaN: none are.
        by_query: [Q] float64, the mean over the folds that a query was no example of; NaN: none are.
    """

    folds: Sequence[NDArray[np.int64]]
    chosen: NDArray[np.int64]
    outside: NDArray[np.float64]
    by_query: NDArray[np.float64]


def best_of(values: NDArray[np.float64], costs: NDArray[np.float64]) -> int:
    """Return the strategy of [S, Q] values that is worth most; of equal ones the cheapest, then the first."""
    worth = np.array([math.fsum(of) for of in values.tolist()])  # the same in any order of the queries
    return int(np.lexsort((np.arange(len(costs)), costs, -worth))[0])


def adapted(values: NDArray[np.float64], costs: NDArray[np.float64], size: int, seed: int) -> Adapted:
    """Return the choices of folds of that many queries, drawn by the seed; queries left over are in no fold.

    Args:
        values: [S, Q] what each strategy is worth for each query; Q is at least ``size``.
        costs: [S]; see `best_of`.
        size: of a fold.
        seed: of the draw.
    """
    queries = values.shape[1]
    drawn = generator(seed, "folds of examples").permutation(queries)
    folds = [np.sort(drawn[start : start + size]) for start in range(0, queries - size + 1, size)]
    sums, counts = np.zeros(queries), np.zeros(queries)
    chosen, outside = [], []
    for fold in folds:
        best = best_of(values[:, fold], costs)
        rest = np.ones(queries, dtype=bool)
        rest[fold] = False
        sums += np.where(rest, values[best], 0.0)
        counts += rest
        chosen.append(best)
        outside.append(values[best, rest].mean() if rest.any() else np.nan)
    by_query = np.divide(sums, counts, out=np.full(queries, np.nan), where=counts > 0)
    return Adapted(folds, np.array(chosen), np.array(outside), by_query)


def read_adapted(path: Path) -> tuple[str, str]:
    """Return the alignment that ``adapt`` chose, and the passage side that it chose it for.

    Raises:
        PreconditionError: there is no such file.
        DataError: it is another file.
    """
    try:
        found = json.loads(path.read_bytes())
        return str(found["alignment"]), str(found["passage_model"])
    except FileNotFoundError:
        raise PreconditionError(
            f"{path} does not exist; make it with `dretrieve adapt … --output {path}`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not what `dretrieve adapt` writes: {error!r}") from error
