"""The loop: step, log, look at dev, checkpoint, stop when told; nothing here knows a method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from dretrieve.errors import DretrieveError, Interrupted
from dretrieve.models.base import Method
from dretrieve.store.atomic import write_bytes
from dretrieve.store.interrupt import Signals
from dretrieve.training.checkpoint import Checkpoints, Point, Progressed, load_weights
from dretrieve.training.optimizer import Optimizer, learn_only
from dretrieve.training.phases import PhasePlan
from dretrieve.training.pieces import Prepared
from dretrieve.training.processes import Processes
from dretrieve.training.step import Stepper, StepValue
from dretrieve.training.trackers import Tracker
from dretrieve.types import Progress

SHOWN_IDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """When the loop does what, in steps; 0 means never."""

    logging_steps: int  # a point of the curve
    save_steps: int  # a checkpoint
    eval_steps: int  # a look at dev; the end of a phase is always one
    patience: int  # looks without a better value before the phase ends; 0 goes on to the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the loop talks to."""

    device: torch.device  # where the method is
    processes: Processes  # who takes part
    checkpoints: Checkpoints  # where state goes and comes from
    dev: Callable[[Method], float] | None  # higher is better; None chooses the last weights
    dev_name: str  # for the log
    progress: Progress  # for the user; silent but in the first process
    signals: Signals  # looked at after every step
    deadline: float | None = None  # of `time.monotonic`: no step begins after it, but the first always does
    trackers: Sequence[Tracker] = ()  # get every point of the curve; none but in the first process


@dataclass(slots=True)
class Clock:
    """Times since the last point of the curve; they are shown, never saved."""

    began: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    examples: int = 0


class Loop:
    """Trains a method through its phases, from wherever the newest checkpoint stands."""

    def __init__(
        self, method: Method, phases: Sequence[PhasePlan], rhythm: Rhythm, around: Surroundings
    ) -> None:
        """Prepare; nothing runs yet. ``phases`` are those of ``method.phases()``, in order."""
        self._method, self._phases, self._rhythm, self._around = method, phases, rhythm, around
        # asked for before anything is frozen: a method may give what it finds trainable
        self._groups = [method.parameter_groups(plan.phase) for plan in phases]
        self._frozen = method.frozen()
        self._state = Progressed()
        self._clock = Clock()

    def run(self) -> Progressed:
        """Train to the end; afterwards the method holds the chosen weights.

        Returns:
            The state with the whole curve.

        Raises:
            Interrupted: a signal came or the time is up; a checkpoint was written.
            DretrieveError: the loss is not finite.
        """
        found = self._around.checkpoints.newest()
        restored: dict[str, Tensor] = {}
        if found is not None:
            self._state, restored = found.state, dict(found.optimizer)
            self._load(found.model, self._around.checkpoints.folder)
            self._around.progress.note(f"resuming after step {self._state.total:,}")
        elif self._around.dev is not None:
            self._look(before=True)
        for index in range(self._state.phase, len(self._phases)):
            self._run_phase(index, restored)
            restored = {}
            self._state.phase, self._state.step, self._state.stopped = index + 1, 0, False
            self._state.worse = 0
            if index + 1 < len(self._phases):  # weights of this phase are not the model: the last one's are
                self._state.best = None
        if self._around.dev is not None and self._state.best is not None:
            self._load(load_file(self._best_file), self._best_file)
        self._method.eval()
        return self._state

    def _run_phase(self, index: int, restored: dict[str, Tensor]) -> None:
        """Run the phase from ``state.step``; ``restored`` is the optimizer's state there."""
        plan, groups = self._phases[index], self._groups[index]
        learn_only(self._method, groups)
        optimizer = Optimizer(groups, plan.options, plan.steps)
        if restored:
            optimizer.restore(restored)
        stepper = Stepper(self._method, self._around.processes, plan.step_options, self._around.device)
        self._method.train()
        self._around.progress.start(f"train ({plan.phase.name})", plan.steps, "steps", self._state.step)
        self._clock = Clock()
        if not self._state.stopped:
            for prepared, waited in plan.feed.between(self._state.step, plan.steps):
                self._clock.waited += waited
                self._step(prepared, stepper, optimizer, plan.phase.name)
                if self._after_step(plan, optimizer):
                    break
        self._around.progress.finish()

    def _step(self, prepared: Prepared, stepper: Stepper, optimizer: Optimizer, phase: str) -> None:
        """Do one step and, when it is time, write the curve."""
        value = stepper.run(prepared)
        loss = float(value.loss)
        norm, rate = optimizer.apply(self._state.step) if math.isfinite(loss) else (math.nan, 0.0)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._not_finite(prepared, loss)
        self._state.step += 1
        self._state.total += 1
        self._state.window.append(loss)
        self._clock.examples += len(prepared.batch.query_rows)
        self._around.progress.advance(1)
        if self._state.step == 1:
            self._begun(phase, value)
        every = self._rhythm.logging_steps
        if every and self._state.total % every == 0:
            self._log(phase, value, norm, rate)

    def _after_step(self, plan: PhasePlan, optimizer: Optimizer) -> bool:
        """Look at dev, save, obey signals; return whether the phase is over early."""
        state, rhythm = self._state, self._rhythm
        last = state.step == plan.steps
        if self._around.dev is not None and (_due(state.step, rhythm.eval_steps) or last):
            self._look()
            state.stopped = rhythm.patience > 0 and state.worse >= rhythm.patience
            if state.stopped:
                self._around.progress.note(
                    f"no better {self._around.dev_name} in {state.worse} looks: the phase ends here"
                )
        received = self._around.processes.any(self._around.signals.received is not None)
        late = self._is_late() and not self._is_over(plan)
        if received or late or last or state.stopped or _due(state.step, rhythm.save_steps):
            self._save(optimizer)
        if received:
            self._around.signals.check()
            raise Interrupted("another process was stopped; run the same command again to continue")
        if late:
            steps = sum(phase.steps for phase in self._phases)
            raise Interrupted(
                f"the minutes of --max-minutes are over, after step {state.total:,} of {steps:,}; "
                "run the same command again to continue"
            )
        return state.stopped

    def _is_late(self) -> bool:
        """Return whether the time is up for any process; they agree, or one would wait for the others."""
        end = self._around.deadline
        return end is not None and self._around.processes.any(time.monotonic() >= end)

    def _is_over(self, plan: PhasePlan) -> bool:
        """Return whether that was the last step of the last phase: then nothing is left to stop."""
        is_last = self._state.phase == len(self._phases) - 1
        return is_last and (self._state.stopped or self._state.step == plan.steps)

    def _log(self, phase: str, value: StepValue, norm: float, rate: float) -> None:
        """Add a point to the curve and say it with the speed and the share of time spent waiting for data."""
        state, clock = self._state, self._clock
        seconds = max(time.perf_counter() - clock.began, 1e-9)
        loss = math.fsum(state.window) / len(state.window)
        point: Point = {"step": state.total, "phase": phase, "loss": loss, "rate": rate, "norm": norm}
        point |= {name: float(part) for name, part in value.parts.items()}
        state.curve.append(point)
        state.window = []
        self._around.progress.note(
            f"step {state.total:,}: loss {loss:.4f}, rate {rate:.2e}, "
            f"{clock.examples / seconds:,.1f} examples/s, data wait {100 * clock.waited / seconds:.1f} %"
        )
        self._track({key: part for key, part in point.items() if isinstance(part, float)})
        self._clock = Clock()

    def _begun(self, phase: str, first: StepValue) -> None:
        """Keep in the curve what the method wants of the phase's first step, and say what it warns of."""
        if kept := self._method.begun({name: float(part) for name, part in first.parts.items()}):
            self._state.curve.append({"step": self._state.total, "phase": phase, **kept})
            if "warning" in kept:
                self._around.progress.note(f"warning: {kept['warning']}")

    def _look(self, *, before: bool = False) -> None:
        """Measure on dev; keep the weights when they are the best so far (never the untrained ones)."""
        dev, state = self._around.dev, self._state
        assert dev is not None, "asked only where there is a dev set"
        self._method.eval()
        value = self._around.processes.from_first(lambda: dev(self._method))
        self._method.train()
        state.curve.append({"step": state.total, "dev": value})
        self._track({"dev": value})
        self._around.progress.note(f"step {state.total:,}: dev {self._around.dev_name} {value:.4f}")
        if before:
            return
        if state.best is None or value > state.best:
            state.best, state.best_step, state.worse = value, state.total, 0
            if self._around.processes.first:
                write_bytes(self._best_file, save(self._weights()))
        else:
            state.worse += 1

    @property
    def _best_file(self) -> Path:
        return self._around.checkpoints.folder / "best.safetensors"

    def _save(self, optimizer: Optimizer) -> None:
        if self._around.processes.first:
            self._around.checkpoints.save(
                self._state.total, self._weights(), optimizer.tensors(), self._state
            )
        self._around.processes.wait()

    def _weights(self) -> dict[str, Tensor]:
        """Return what may have changed, on the CPU, each tensor with memory of its own."""
        return {
            name: tensor.detach().cpu().clone().contiguous()
            for name, tensor in self._method.state_dict().items()
            if name not in self._frozen
        }

    def _load(self, weights: Mapping[str, Tensor], where: Path) -> None:
        load_weights(self._method, weights, str(where), without=self._frozen)

    def _not_finite(self, prepared: Prepared, loss: float) -> DretrieveError:
        ids = prepared.batch.query_ids
        more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
        shown = ", ".join(ids[:SHOWN_IDS]) + more
        kept = self._around.checkpoints.found()
        last = f"the last good checkpoint is {kept[0].name}" if kept else "no checkpoint was written yet"
        what = f"the loss is {loss}" if not math.isfinite(loss) else "the gradient is not finite"
        return DretrieveError(
            f"{what} at step {self._state.total + 1:,}, set {prepared.batch.training_set.name}, queries "
            f"{shown}; {last}; lower --learning-rate, raise --temperature or use --precision fp32"
        )

    def _track(self, values: dict[str, float]) -> None:
        for tracker in self._around.trackers:
            tracker.log(self._state.total, values)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
