"""What a measure is: a definition (one a file) and a request (definition, cutoff, parameters) with its name.

Names follow ir_measures: ``nDCG@10``, ``P(rel=2)@5``, ``IPrec@0.1``, ``RBP(p=0.8)``. A name printed by
`Measure` parses to an equal `Measure`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import UsageError
from dretrieve.metrics.judged import Judged

Cutoff = Literal["none", "optional", "required", "recall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The settings of one request.

    Attributes:
        k: how many of the first hits count; None for all.
        recall: the recall level of ``IPrec``, 0 to 1.
        rel: the lowest grade that counts as relevant, at least 1.
        p: the persistence of ``RBP``, between 0 and 1.
    """

    k: int | None = None
    recall: float = 0.0
    rel: int = 1
    p: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One measure of retrieval.

    Attributes:
        name: ir_measures' spelling.
        summary: one line for help pages.
        cutoff: what stands after ``@``: nothing, an optional or required k, or a recall level.
        parameters: which of ``rel`` and ``p`` it takes.
        aggregate: how the values of queries become one: their mean, or for counts their sum.
        compute: values of all queries, float64 [Q].
    """

    name: str
    summary: str
    cutoff: Cutoff
    compute: Callable[[Judged, Parameters], NDArray[np.float64]]
    parameters: tuple[str, ...] = ("rel",)
    aggregate: Literal["mean", "sum"] = "mean"


@dataclass(frozen=True, slots=True)
class Measure:
    """A requested measure; ``str`` of it is its canonical name."""

    definition: Definition
    parameters: Parameters = field(default_factory=Parameters)

    def __str__(self) -> str:
        given = [
            f"{name}={getattr(self.parameters, name):g}"
            for name in self.definition.parameters
            if getattr(self.parameters, name) != getattr(Parameters(), name)
        ]
        inside = f"({','.join(given)})" if given else ""
        after = ""
        if self.definition.cutoff == "recall":
            after = f"@{self.parameters.recall:g}"
        elif self.parameters.k is not None:
            after = f"@{self.parameters.k}"
        return f"{self.definition.name}{inside}{after}"

    def values(self, judged: Judged) -> NDArray[np.float64]:
        """Return the measure of every query: float64 [Q]."""
        return self.definition.compute(judged, self.parameters)

    def aggregate(self, values: NDArray[np.float64]) -> float:
        """Return the one number of several queries; 0 for none."""
        if not len(values):
            return 0.0
        return float(values.sum() if self.definition.aggregate == "sum" else values.mean())


def request(definition: Definition, inside: Mapping[str, str], after: str | None) -> Measure:
    """Return the measure with the settings written in its name.

    Args:
        definition: which measure.
        inside: what stood in parentheses.
        after: what stood after ``@``, None if nothing.

    Raises:
        UsageError: an unknown parameter, or a value outside its range.
    """
    unknown = [name for name in inside if name not in definition.parameters]
    if unknown:
        legal = ", ".join(definition.parameters) or "none"
        raise UsageError(f"{definition.name} has no parameter {', '.join(unknown)} (it takes: {legal})")
    rel = _whole(definition.name, "rel", inside.get("rel", "1"))
    p = _fraction(definition.name, "p", inside.get("p", "0.8"))
    if not 0 < p < 1:
        raise UsageError(f"{definition.name}: p must lie between 0 and 1, got {inside['p']}")
    k, recall = None, 0.0
    if definition.cutoff == "recall":
        recall = _fraction(definition.name, "the recall level", _needed(definition, after, "0.1"))
    elif definition.cutoff == "required":
        k = _whole(definition.name, "the cutoff", _needed(definition, after, "10"))
    elif definition.cutoff == "optional" and after is not None:
        k = _whole(definition.name, "the cutoff", after)
    elif after is not None:
        raise UsageError(f"{definition.name} takes no cutoff; write {definition.name} without @{after}")
    return Measure(definition, Parameters(k=k, recall=recall, rel=rel, p=p))


def _needed(definition: Definition, after: str | None, example: str) -> str:
    if after is None:
        raise UsageError(f"{definition.name} needs a number after @, for example {definition.name}@{example}")
    return after


def _whole(measure: str, what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"{measure}: {what} must be a whole number from 1, got '{text}'")
    return int(text)


def _fraction(measure: str, what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"{measure}: {what} must be a number from 0 to 1, got '{text}'")
    return value
