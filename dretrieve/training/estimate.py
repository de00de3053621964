"""What a training will cost, from a few short steps on texts of its own: time and memory.

Measured are steps of `TIMED` queries at most, forward, backward and update, with the options given.
Time grows with a step's padded tokens, and so do the activations (what the backward pass reads, counted where
autograd saves it); weights, gradients and AdamW's two averages do not. Not in it: tokenising, looks at dev,
checkpoints, what a larger step gains on a GPU, waiting for other processes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dretrieve.encoding.estimate import duration
from dretrieve.models.base import Method
from dretrieve.models.config import Phase
from dretrieve.store.atomic import scratch_folder
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.training.batches import TrainingSet
from dretrieve.training.data import ExampleSet
from dretrieve.training.feed import Feed
from dretrieve.training.loop import PhasePlan
from dretrieve.training.optimizer import Optimizer
from dretrieve.training.options import TrainOptions
from dretrieve.training.plan import Plan, SetShare
from dretrieve.training.preparing import Precision, phase_steps, plan_phases, save_activation_memory
from dretrieve.training.processes import Processes
from dretrieve.training.sets import tokenised
from dretrieve.training.step import Prepared, Stepper
from dretrieve.types import Side, Silent

SAMPLE_EXAMPLES = 512
SAMPLE_STEPS = 4
TIMED, FEWEST = 8, 2  # queries of the steps that are done
Place = tuple[Processes, torch.device, Precision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of a training.

    Attributes:
        steps: of all phases.
        queries: in a step, over all processes.
        tokens: in a step of one process, with padding, on average.
        seconds: expected, at the speed of the measured step.
        timed_queries: in the measured step.
        weights_bytes: of the model, in one process (like the rest).
        gradients_bytes: of the parameters that learn; the most of any phase.
        optimizer_bytes: AdamW's averages of them.
        activations_bytes: kept for the backward pass in the largest step looked at.
        recomputed: whether gradient checkpointing makes the activations less than that.
    """

    steps: int
    queries: int
    tokens: int
    seconds: float
    timed_queries: int
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    recomputed: bool

    @property
    def memory_bytes(self) -> int:
        """All of it, without what Python and its libraries take themselves."""
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.activations_bytes

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {**asdict(self), "seconds": round(self.seconds, 1), "memory_bytes": self.memory_bytes}

    def lines(self) -> list[str]:
        """Return the cost in lines for people."""
        weights, gradients, optimizer, activations, whole = (
            f"{number / 1e6:,.0f} MB"
            for number in (
                self.weights_bytes,
                self.gradients_bytes,
                self.optimizer_bytes,
                self.activations_bytes,
                self.memory_bytes,
            )
        )
        most = "at most " if self.recomputed else ""
        return [
            f"  steps    {self.steps:,} of {self.queries:,} queries, about {self.tokens:,} tokens a process",
            f"  time     about {duration(self.seconds)}, at the speed of a step of {self.timed_queries} "
            "queries; tokenising and looks at dev come to it",
            f"  memory   about {whole} a process: weights {weights}, gradients {gradients}, "
            f"AdamW {optimizer}, activations {most}{activations}",
        ]


def estimate(
    method: Method,
    sets: Sequence[ExampleSet],
    tokenizers: Mapping[Side, SideTokenizer],
    options: TrainOptions,
    place: Place,
) -> Cost:
    """Return the expected cost of a training; trains the method a few steps, which is then of no use.

    Args:
        method: newly built, on its device, without gradient checkpointing.
        sets: whole, by id.
        tokenizers: of both sides.
        options: of the command.
        place: processes, device, precision.

    Raises:
        UsageError: a phase without data.
        DataError: a set smaller than a batch.
    """
    processes, device, precision = place
    batch = options.per_device_train_batch_size * processes.count
    steps = [_steps(sets, phase, options, batch) for phase in method.phases()]
    alone = (Processes(), device, precision)
    timed = replace(options, per_device_train_batch_size=min(TIMED, options.per_device_train_batch_size))
    with scratch_folder() as folder:
        rows = _in_rows(sets, tokenizers, folder, max(SAMPLE_EXAMPLES, batch))
        tokens = [_step_tokens(plan.feed) for plan in plan_phases(method, rows, tokenizers, options, place)]
        kept = [min(max(at), options.grad_cache or max(at)) for at in tokens]
        counted = replace(timed, grad_cache=0)
        least = replace(counted, per_device_train_batch_size=FEWEST)
        sizes = [plan_phases(method, rows, tokenizers, of, alone) for of in (least, counted)]
        activations = _activations(method, sizes[0], sizes[1], kept, device)
        if options.gradient_checkpointing:
            save_activation_memory(method)
        plans = plan_phases(method, rows, tokenizers, timed, alone)
        seconds = sum(
            number * _step_seconds(method, phase, plan, device, float(np.mean(at)))
            for number, phase, plan, at in zip(steps, method.phases(), plans, tokens, strict=True)
        )
    trained = max(_trained_bytes(method, phase) for phase in method.phases())
    return Cost(
        steps=sum(steps),
        queries=batch,
        tokens=round(float(np.mean(tokens))),
        seconds=seconds,
        timed_queries=timed.per_device_train_batch_size,
        weights_bytes=sum(parameter.nbytes for parameter in method.parameters()),
        gradients_bytes=trained,
        optimizer_bytes=2 * trained,
        activations_bytes=activations,
        recomputed=options.gradient_checkpointing,
    )


def _steps(sets: Sequence[ExampleSet], phase: Phase, options: TrainOptions, batch: int) -> int:
    """Return the steps of a phase over the whole sets."""
    shares = [
        SetShare(name=of.spec.name, examples=len(of.examples), weight=of.spec.weight)
        for of in sets
        if of.spec.phase in ("", phase.name)
    ]
    return phase_steps(options, Plan(shares, batch, options.seed).steps_per_epoch)


def _in_rows(
    sets: Sequence[ExampleSet], tokenizers: Mapping[Side, SideTokenizer], folder: Path, count: int
) -> dict[str, list[TrainingSet]]:
    """Return, by phase, up to ``count`` examples of each set, evenly spread, with their tokens."""
    rows: dict[str, list[TrainingSet]] = {}
    for of in sets:
        places = np.unique(np.linspace(0, len(of.examples) - 1, min(count, len(of.examples))).astype(int))
        sample = replace(of, examples=[of.examples[place] for place in places.tolist()])
        found = tokenised(sample, tokenizers, (folder, "sample"), Processes(), Silent())
        rows.setdefault(of.spec.phase, []).append(found)
    return rows


def _step_tokens(feed: Feed) -> list[int]:
    """Return the padded tokens of this process in some steps."""
    return [_tokens(feed.make(step)) for step in range(SAMPLE_STEPS)]


def _tokens(prepared: Prepared) -> int:
    return sum(of.input_ids.numel() for piece in prepared.pieces for of in piece if of is not None)


def _ready(method: Method, phase: Phase, plan: PhasePlan, device: torch.device) -> tuple[Stepper, Optimizer]:
    """Return what a step of that phase takes, with the phase's parameters, and only they, to learn."""
    groups = method.parameter_groups(phase)
    trained = {id(parameter) for group in groups for parameter in group.parameters}
    for parameter in method.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    method.train()
    return Stepper(method, Processes(), plan.step_options, device), Optimizer(groups, plan.optimizer)


def _step_seconds(
    method: Method, phase: Phase, plan: PhasePlan, device: torch.device, tokens: float
) -> float:
    """Return the seconds of a step of so many tokens: the second of two, the update apart."""
    stepper, optimizer = _ready(method, phase, plan, device)
    prepared = plan.feed.make(0)
    seconds = update = 0.0
    for step in (0, 1):
        began = _now(device)
        stepper.run(prepared)
        between = _now(device)
        optimizer.apply(step)
        seconds, update = between - began, _now(device) - between
    return seconds * tokens / _tokens(prepared) + update


def _activations(
    method: Method,
    smaller: Sequence[PhasePlan],
    larger: Sequence[PhasePlan],
    tokens: Sequence[int],
    device: torch.device,
) -> int:
    """Return the most bytes that a step of so many ``tokens`` keeps for the backward pass, of all phases.

    A line through two steps of different size: what no token adds (bf16 copies of weights) is in both.
    """
    most = 0.0
    for phase, *plans, at in zip(method.phases(), smaller, larger, tokens, strict=True):
        (few, low), (many, high) = (_kept(method, phase, plan, device) for plan in plans)
        each = (high - low) / (many - few) if many > few else high / many
        most = max(most, high + each * (at - many))
    return round(most)


def _kept(method: Method, phase: Phase, plan: PhasePlan, device: torch.device) -> tuple[int, int]:
    """Return the padded tokens of a step, and the bytes that it keeps for the backward pass."""
    stepper, _ = _ready(method, phase, plan, device)
    prepared, saved = plan.feed.make(0), _Saved(method)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        stepper.run(prepared)
    method.zero_grad(set_to_none=True)
    return _tokens(prepared), saved.total


class _Saved:
    """Adds up the memory that autograd keeps for the backward pass; the weights themselves are no part."""

    def __init__(self, method: Method) -> None:
        self._own = {of.untyped_storage().data_ptr() for of in (*method.parameters(), *method.buffers())}
        self._found: dict[int, int] = {}

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self._found.values())

    def pack(self, tensor: Tensor) -> Tensor:
        """Count the tensor's memory once, and keep it as it is."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own:
            self._found[storage.data_ptr()] = storage.nbytes()
        return tensor


def _trained_bytes(method: Method, phase: Phase) -> int:
    return sum(parameter.nbytes for group in method.parameter_groups(phase) for parameter in group.parameters)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
