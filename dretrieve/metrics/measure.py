"""What a measure is: a definition (one a file) and a request (definition, cutoff, parameters) with its name.

Names follow ir_measures: ``nDCG@10``, ``P(rel=2)@5``, ``IPrec@0.1``, ``RBP(p=0.8)``. A name printed by
`Measure` parses to an equal `Measure`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dretrieve.errors import UsageError, quoted
from dretrieve.metrics.judged import Judged, Values

Cutoff = Literal["none", "optional", "required", "recall"]
Aggregate = Literal["mean", "sum", "geometric"]
GAINS = ("log2", "exp-log2")
HIGHEST = 1000  # grade of which 2^grade is still a number of 64 bits


def aggregated(kind: Aggregate, values: Values) -> float:
    """Return the one number of several queries, 0 for none: mean, sum (counts), geometric mean (above 0)."""
    if not len(values):
        return 0.0
    if kind == "geometric":
        return float(np.exp(np.log(values).mean()))
    return float(values.sum() if kind == "sum" else values.mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The settings of one request.

    Attributes:
        k: how many of the first hits count; None for all.
        recall: the recall level of ``IPrec``, 0 to 1.
        rel: the lowest grade that counts as relevant, at least 1.
        p: the persistence of ``RBP``, between 0 and 1.
        max: the largest grade of the scale, for ``ERR``.
        dcg: the gain of nDCG: the grade (``log2``) or 2^grade - 1 (``exp-log2``).
    """

    k: int | None = None
    recall: float = 0.0
    rel: int = 1
    p: float = 0.8
    max: int = 4
    dcg: str = "log2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One measure of retrieval; called with a run's judged hits and settings, it gives the values.

    Attributes:
        name: ir_measures' spelling.
        cutoff: what stands after ``@``: nothing, an optional or required k, or a recall level.
        parameters: which of ``rel``, ``p``, ``max`` and ``dcg`` it takes.
        compute: values of all queries, float64 [Q].
        aggregate: how the values of queries become one (see `aggregated`).
    """

    name: str
    cutoff: Cutoff
    parameters: tuple[str, ...]
    aggregate: Aggregate
    compute: Callable[[Judged, Parameters], Values]

    def __call__(self, judged: Judged, parameters: Parameters) -> Values:
        """Return the measure of every query: float64 [Q]."""
        return self.compute(judged, parameters)


def measure(
    name: str,
    *,
    cutoff: Cutoff = "none",
    parameters: tuple[str, ...] = ("rel",),
    aggregate: Aggregate = "mean",
) -> Callable[[Callable[[Judged, Parameters], Values]], Definition]:
    """Make a function that computes all queries' values the `Definition` of a measure."""
    return lambda compute: Definition(
        name=name,
        cutoff=cutoff,
        parameters=parameters,
        aggregate=aggregate,
        compute=compute,
    )


@dataclass(frozen=True, slots=True)
class Measure:
    """A requested measure; ``str`` of it is its canonical name."""

    definition: Definition
    parameters: Parameters = field(default_factory=Parameters)

    def __str__(self) -> str:
        values = {name: getattr(self.parameters, name) for name in self.definition.parameters}
        given = [
            f"{name}='{value}'" if isinstance(value, str) else f"{name}={value:g}"
            for name, value in values.items()
            if value != getattr(Parameters(), name)
        ]
        inside = f"({','.join(given)})" if given else ""
        after = ""
        if self.definition.cutoff == "recall":
            after = f"@{self.parameters.recall:g}"
        elif self.parameters.k is not None:
            after = f"@{self.parameters.k}"
        return f"{self.definition.name}{inside}{after}"

    @property
    def depth(self) -> int:
        """How many hits of a search it looks at: k, or a thousand where it counts all."""
        return self.parameters.k or 1000

    def values(self, judged: Judged) -> Values:
        """Return the measure of every query: float64 [Q]."""
        return self.definition(judged, self.parameters)

    def aggregate(self, values: Values) -> float:
        """Return the one number of several queries; 0 for none."""
        return aggregated(self.definition.aggregate, values)


def request(definition: Definition, inside: Mapping[str, str], after: str | None) -> Measure:
    """Return the measure with the settings written in its name.

    Raises:
        UsageError: an unknown parameter, or a value outside its range.
    """
    unknown = [name for name in inside if name not in definition.parameters]
    if unknown:
        legal = ", ".join(definition.parameters) or "none"
        raise UsageError(f"{definition.name} has no parameter {', '.join(unknown)} (it takes: {legal})")
    settings = {name: _setting(definition.name, name, text) for name, text in inside.items()}
    k, recall = None, 0.0
    if definition.cutoff == "recall":
        recall = _fraction(definition.name, "the recall level", _needed(definition, after, "0.1"))
    elif definition.cutoff == "required":
        k = _whole(definition.name, "the cutoff", _needed(definition, after, "10"))
    elif definition.cutoff == "optional" and after is not None:
        k = _whole(definition.name, "the cutoff", after)
    elif after is not None:
        raise UsageError(f"{definition.name} takes no cutoff; write {definition.name} without @{after}")
    return Measure(definition, Parameters(k=k, recall=recall, **settings))


def _setting(measure: str, name: str, text: str) -> Any:
    """Return the value of one of `Parameters` beside the cutoff."""
    if name == "dcg":
        gain = text.strip("'\"")
        if gain not in GAINS:
            raise UsageError(f"{measure}: dcg must be {' or '.join(GAINS)}, got {quoted(gain)}")
        return gain
    if name == "p":
        persistence = _fraction(measure, "p", text)
        if not 0 < persistence < 1:
            raise UsageError(f"{measure}: p must lie between 0 and 1, got {text}")
        return persistence
    value = _whole(measure, name, text)
    if name == "max" and value > 50:
        raise UsageError(f"{measure}: max must be at most 50, got {quoted(text)}")
    return value


def _needed(definition: Definition, after: str | None, example: str) -> str:
    if after is None:
        raise UsageError(f"{definition.name} needs a number after @, for example {definition.name}@{example}")
    return after


def _whole(measure: str, what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"{measure}: {what} must be a whole number from 1, got {quoted(text)}")
    return int(text)


def _fraction(measure: str, what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"{measure}: {what} must be a number from 0 to 1, got {quoted(text)}")
    return value
