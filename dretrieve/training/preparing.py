"""From options to a loop: device, phases, rhythm; nothing here names a method."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch

from dretrieve.encoding.numerics import resolve_device
from dretrieve.errors import UsageError
from dretrieve.models.base import Distillation, Method
from dretrieve.store.draws import fold
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.training.batches import Choosing, PositiveChoice, TrainingSet
from dretrieve.training.feed import Feed
from dretrieve.training.groups import CPU_OVERHEAD, GPU_OVERHEAD
from dretrieve.training.loop import PhasePlan, Rhythm
from dretrieve.training.optimizer import OptimizerOptions
from dretrieve.training.options import TrainOptions
from dretrieve.training.processes import Processes
from dretrieve.training.schedule import ScheduleName, warmup_steps
from dretrieve.training.step import StepOptions, packs_sides
from dretrieve.types import Side

Precision = Literal["fp32", "bf16"]


def training_device(name: str) -> torch.device:
    """Return the device; under torchrun ``auto`` and ``cuda`` are the process's own GPU."""
    resolved = resolve_device(name)
    local = os.environ.get("LOCAL_RANK", "")
    if resolved == "cuda" and local.isdigit():
        resolved = resolve_device(f"cuda:{local}")
    device = torch.device(resolved)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def training_precision(name: str, device: torch.device) -> Precision:
    """Return fp32 or bf16; ``auto`` is bf16 on a GPU and fp32 on a CPU."""
    if name == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    return cast(Precision, name)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Ask a GPU for sums in a fixed order; without it, resumed weights differ in their last bits."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


def save_activation_memory(method: Method) -> None:
    """Turn gradient checkpointing on in every transformers module of the method."""
    for part in method.modules():
        if not getattr(part, "supports_gradient_checkpointing", False):
            continue
        module: Any = part
        if hasattr(part, "activation_checkpointing_enable"):
            module.activation_checkpointing_enable({"use_reentrant": False})
        else:  # transformers before 5.20
            module.gradient_checkpointing_enable({"use_reentrant": False})


def plan_phases(
    method: Method,
    sets: Mapping[str, Sequence[TrainingSet]],
    tokenizers: Mapping[Side, SideTokenizer],
    options: TrainOptions,
    place: tuple[Processes, torch.device, Precision],
) -> list[PhasePlan]:
    """Return what each phase of the method does.

    Args:
        method: on its device.
        sets: phase's name to its sets; "" holds those of every phase.
        tokenizers: for padding.
        options: of the command.
        place: processes, device, precision.

    Raises:
        UsageError: a phase without data.
    """
    processes, device, precision = place
    names = [phase.name for phase in method.phases()]
    unknown = sorted(set(sets) - {"", *names})
    if unknown:
        raise UsageError(f"--data …,phase={unknown[0]}: {method.name} has the phases {', '.join(names)}")
    plans = []
    for index, phase in enumerate(method.phases()):
        chosen = [*sets.get("", ()), *sets.get(phase.name, ())]
        if not chosen:
            raise UsageError(f"phase {phase.name} has no data; give --data path=…,phase={phase.name}")
        seed = fold(options.seed, "phase", index)
        step_options = StepOptions(
            seed=seed,
            precision=precision,
            cache_tokens=options.grad_cache,
            overhead=CPU_OVERHEAD if device.type == "cpu" else GPU_OVERHEAD,
            pad={side: of.pad_id for side, of in tokenizers.items()},
            distillation=distillation_of(options),
        )
        choosing = Choosing(
            negatives=options.train_group_size - 1,
            positives=cast(PositiveChoice, options.positives),
            seed=seed,
        )
        batch = options.per_device_train_batch_size * processes.count
        feed = Feed(chosen, batch, choosing, step_options, processes, packed=packs_sides(method))
        steps = phase_steps(options, feed.plan.steps_per_epoch)
        plans.append(
            PhasePlan(
                feed=feed, steps=steps, step_options=step_options, optimizer=optimizer_options(options, steps)
            )
        )
    return plans


def distillation_of(options: TrainOptions) -> Distillation | None:
    """Return how a teacher teaches; None where none does."""
    if not options.distil_weight:
        return None
    return Distillation(
        weight=options.distil_weight,
        loss=options.distil_loss,
        temperature=options.distil_temperature,
        student_temperature=options.distil_student_temperature or options.distil_temperature,
    )


def phase_steps(options: TrainOptions, steps_per_epoch: int) -> int:
    """Return the steps of a phase."""
    return options.max_steps or max(1, round(options.num_train_epochs * steps_per_epoch))


def optimizer_options(options: TrainOptions, steps: int) -> OptimizerOptions:
    """Return AdamW's numbers for a phase of so many steps."""
    return OptimizerOptions(
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        adam_beta1=options.adam_beta1,
        adam_beta2=options.adam_beta2,
        adam_epsilon=options.adam_epsilon,
        max_grad_norm=options.max_grad_norm,
        schedule=cast(ScheduleName, options.lr_scheduler_type),
        warmup=warmup_steps(options.warmup_steps, options.warmup_ratio, steps),
        total=steps,
    )


def rhythm_of(options: TrainOptions, plans: Sequence[PhasePlan]) -> Rhythm:
    """Return when the loop does what; dev is looked at after each pass unless said otherwise."""
    return Rhythm(
        logging_steps=options.logging_steps,
        save_steps=options.save_steps,
        eval_steps=options.eval_steps or min(plan.feed.plan.steps_per_epoch for plan in plans),
        patience=options.patience,
    )
