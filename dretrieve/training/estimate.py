"""What a training will cost, from a few short steps on texts of its own: time and memory.

Time grows with a step's padded tokens, and so do the activations (what the backward pass reads, counted where
autograd saves it); weights, gradients and AdamW's two averages do not. Not in it: tokenising, looks at dev,
checkpoints, what a larger step gains on a GPU, waiting for other processes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import gettempdir
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dretrieve.encoding.estimate import duration, spread
from dretrieve.models.base import Method, ParameterGroup
from dretrieve.store.atomic import folder_beside
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.training.batches import Plan, SetShare
from dretrieve.training.data import ExampleSet
from dretrieve.training.device import Place, save_activation_memory
from dretrieve.training.optimizer import Optimizer, learn_only
from dretrieve.training.options import TrainOptions
from dretrieve.training.phases import PhasePlan, phase_steps, plan_phases
from dretrieve.training.pieces import Prepared
from dretrieve.training.processes import Processes
from dretrieve.training.sets import TokenCache, TrainingSet, in_rows
from dretrieve.training.step import Stepper
from dretrieve.types import SILENT, Side

SAMPLE_EXAMPLES = 512
SAMPLE_STEPS = 4
TIMED, FEWEST = 8, 2  # queries of the steps that are done


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of a training; bytes are those of one process."""

    steps: int  # of all phases
    queries: int  # in a step of the largest phase, over all processes
    tokens: int  # in a step of one process, with padding, on average
    seconds: float  # expected, at the speed of the measured step
    timed_queries: int  # in the measured step
    weights_bytes: int  # of the model, in one process (like the rest)
    gradients_bytes: int  # of the parameters that learn; the most of any phase
    optimizer_bytes: int  # AdamW's averages of them
    activations_bytes: int  # kept for the backward pass in the largest step looked at
    recomputed: bool  # whether gradient checkpointing makes the activations less than that

    @property
    def memory_bytes(self) -> int:
        """All of it, without what Python and its libraries take themselves."""
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.activations_bytes

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {**asdict(self), "seconds": round(self.seconds, 1), "memory_bytes": self.memory_bytes}

    def lines(self) -> list[str]:
        """Return the cost in lines for people."""
        size = {name: f"{value / 1e6:,.0f} MB" for name, value in self.as_json().items() if "_bytes" in name}
        most = "at most " if self.recomputed else ""
        return [
            f"  steps    {self.steps:,} of {self.queries:,} queries, about {self.tokens:,} tokens a process",
            f"  time     about {duration(self.seconds)}, at the speed of a step of {self.timed_queries} "
            "queries; tokenising and looks at dev come to it",
            f"  memory   about {size['memory_bytes']} a process: weights {size['weights_bytes']}, gradients "
            f"{size['gradients_bytes']}, AdamW {size['optimizer_bytes']}, activations "
            f"{most}{size['activations_bytes']}",
        ]


def estimate(
    method: Method,
    sets: Sequence[ExampleSet],
    tokenizers: Mapping[Side, SideTokenizer],
    options: TrainOptions,
    place: Place,
) -> Cost:
    """Return the expected cost of a training; trains the method a few steps, which is then of no use.

    The method is newly built, on its device, without gradient checkpointing; the sets are whole, by id.

    Raises:
        UsageError: a phase without data.
        DataError: a set smaller than a batch.
    """
    own = [options.within(phase) for phase in method.phases()]
    batches = [of.per_device_train_batch_size * place.processes.count for of in own]
    steps = [
        _steps(sets, phase.name, of, batch)
        for phase, of, batch in zip(method.phases(), own, batches, strict=True)
    ]
    with folder_beside(Path(gettempdir()) / "dretrieve") as folder:
        rows: dict[str, list[TrainingSet]] = {}
        for of in sets:
            some = spread(0, len(of.examples), max(SAMPLE_EXAMPLES, *batches))
            sample = replace(of, examples=[of.examples[row] for row in some])
            cache = TokenCache(folder, "sample", Processes())
            rows.setdefault(of.spec.phase, []).append(in_rows(sample, tokenizers, cache, SILENT))
        plans = plan_phases(method, rows, tokenizers, options, place)
        tokens = [[plan.feed.make(step).tokens for step in range(SAMPLE_STEPS)] for plan in plans]
        trials = [_Trial(method, plan, method.parameter_groups(plan.phase), place.device) for plan in plans]
        timed = min(TIMED, max(of.per_device_train_batch_size for of in own))
        kept = [
            trial.kept(min(max(at), options.grad_cache or max(at)), timed)
            for trial, at in zip(trials, tokens, strict=True)
        ]
        if options.gradient_checkpointing:
            save_activation_memory(method)
        seconds = [trial.seconds(fmean(at), timed) for trial, at in zip(trials, tokens, strict=True)]
    trained = max(sum(of.nbytes for group in trial.groups for of in group.parameters) for trial in trials)
    return Cost(
        steps=sum(steps),
        queries=max(batches),
        tokens=round(fmean(number for at in tokens for number in at)),
        seconds=float(np.dot(steps, seconds)),
        timed_queries=timed,
        weights_bytes=sum(parameter.nbytes for parameter in method.parameters()),
        gradients_bytes=trained,
        optimizer_bytes=2 * trained,
        activations_bytes=max(kept),
        recomputed=options.gradient_checkpointing,
    )


def _steps(sets: Sequence[ExampleSet], phase: str, options: TrainOptions, batch: int) -> int:
    """Return the steps of a phase over the whole sets."""
    shares = [
        SetShare(name=of.spec.name, examples=len(of.examples), weight=of.spec.weight)
        for of in sets
        if of.spec.phase in ("", phase)
    ]
    return phase_steps(options, Plan(shares, batch, options.seed))


@dataclass(frozen=True, slots=True)
class _Trial:
    """Short steps of one phase, by this process alone."""

    method: Method
    plan: PhasePlan
    groups: list[ParameterGroup]
    device: torch.device

    def _ready(self, queries: int, *, cached: bool) -> tuple[Stepper, Prepared]:
        learn_only(self.method, self.groups)
        self.method.train()
        options = self.plan.step_options if cached else replace(self.plan.step_options, cache_tokens=0)
        prepared = self.plan.feed.resized(queries, options, Processes()).make(0)
        return Stepper(self.method, Processes(), options, self.device), prepared

    def seconds(self, tokens: float, queries: int) -> float:
        """Return the seconds of a step of so many tokens: the second of two, the update apart."""
        stepper, prepared = self._ready(queries, cached=True)
        optimizer = Optimizer(self.groups, self.plan.options, self.plan.steps)
        run = update = 0.0
        for step in (0, 1):
            began = _now(self.device)
            stepper.run(prepared)
            between = _now(self.device)
            optimizer.apply(step)
            run, update = between - began, _now(self.device) - between
        return run * tokens / prepared.tokens + update

    def kept(self, tokens: int, queries: int) -> int:
        """Return the bytes that a step of so many tokens keeps for the backward pass.

        A line through two steps of different size: what no token adds (bf16 copies of weights) is in both.
        """
        points = []
        for size in (FEWEST, queries):
            stepper, prepared = self._ready(size, cached=False)
            saved: dict[int, int] = {}

            def pack(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
                saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                stepper.run(prepared)
            self.method.zero_grad(set_to_none=True)
            for of in (*self.method.parameters(), *self.method.buffers()):
                saved.pop(of.untyped_storage().data_ptr(), None)  # weights are counted elsewhere
            points.append((prepared.tokens, sum(saved.values())))
        (few, low), (many, high) = points
        each = (high - low) / (many - few) if many > few else high / many
        return round(high + each * (tokens - many))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
