"""From options to what each phase of a method does; nothing here names a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from dretrieve.errors import UsageError
from dretrieve.models.base import Distillation, Method
from dretrieve.models.config import Phase
from dretrieve.store.seeds import fold
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.training.batches import Choosing, Plan, PositiveChoice
from dretrieve.training.device import Place
from dretrieve.training.options import TrainOptions
from dretrieve.training.pieces import CPU_OVERHEAD, GPU_OVERHEAD, Feed, StepOptions, cut_of
from dretrieve.training.sets import TrainingSet
from dretrieve.types import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePlan:
    """What one phase does."""

    phase: Phase  # of the method
    feed: Feed  # its batches
    steps: int  # how many
    step_options: StepOptions  # how a step is computed
    options: TrainOptions  # of training, as this phase has them


def plan_phases(
    method: Method,
    sets: Mapping[str, Sequence[TrainingSet]],
    tokenizers: Mapping[Side, SideTokenizer],
    options: TrainOptions,
    place: Place,
) -> list[PhasePlan]:
    """Return what each phase of the method does.

    ``sets`` lead from a phase's name to its sets; "" holds those of every phase.

    Raises:
        UsageError: a phase without data, data or options for a phase that the method does not have.
    """
    names = [phase.name for phase in method.phases()]
    for flag, asked in (("data …", sets), ("phase name", options.of_phases())):
        unknown = sorted(set(asked) - {"", *names})
        if unknown:
            word = f"--{flag},phase={unknown[0]}" if flag == "data …" else f"--{flag}={unknown[0]}"
            raise UsageError(f"{word}: {method.name} has the phases {', '.join(names)}")
    plans = []
    for index, phase in enumerate(method.phases()):
        chosen = [*sets.get("", ()), *sets.get(phase.name, ())]
        if not chosen:
            raise UsageError(f"phase {phase.name} has no data; give --data path=…,phase={phase.name}")
        own = options.within(phase)
        seed = fold(options.seed, "phase", index)
        step_options = StepOptions(
            seed=seed,
            precision=place.precision,
            cache_tokens=own.grad_cache,
            overhead=CPU_OVERHEAD if place.device.type == "cpu" else GPU_OVERHEAD,
            pad={side: of.pad_id for side, of in tokenizers.items()},
            distillation=distillation_of(own),
            phase=phase.name,
        )
        choosing = Choosing(
            negatives=own.train_group_size - 1, positives=cast(PositiveChoice, own.positives), seed=seed
        )
        batch = own.per_device_train_batch_size * place.processes.count
        feed = Feed(chosen, batch, choosing, step_options, place.processes, cut=cut_of(method))
        steps = phase_steps(own, feed.plan)
        plans.append(PhasePlan(phase=phase, options=own, feed=feed, steps=steps, step_options=step_options))
    return plans


def phase_steps(options: TrainOptions, plan: Plan) -> int:
    """Return the steps of a phase with those options."""
    return options.max_steps or max(1, round(options.num_train_epochs * plan.steps_per_epoch))


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
