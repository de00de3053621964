from __future__ import annotations

import math
import signal
import time
from dataclasses import replace

import pytest
import torch

from dretrieve.errors import DretrieveError, Interrupted
from dretrieve.store.interrupt import Signals
from dretrieve.types import Silent


class Stop(Silent):
    """Sends a signal after some steps; after none where 0 is said."""

    def __init__(self, after, number=signal.SIGTERM):
        self.left, self.number, self.signals = after, number, Signals()

    def advance(self, _):
        self.left -= 1
        if self.left == 0:
            self.signals.set(self.number)


def test_the_loss_falls_and_the_curve_says_so(toys, tmp_path):
    _, state, notes = toys.ToyRun(tmp_path, steps=200, rate=0.03).go()
    losses = [point["loss"] for point in state.curve]
    assert len(losses) == 100
    assert losses[-1] < 0.5 * losses[0]
    assert state.curve[-1]["step"] == 200
    assert {"rate", "norm", "accuracy", "phase"} <= state.curve[-1].keys()
    assert any("examples/s" in note and "data wait" in note for note in notes)


def test_the_best_on_dev_is_chosen_not_the_last(toys, tmp_path):
    seen = []

    def dev(method):
        seen.append({name: tensor.clone() for name, tensor in method.state_dict().items()})
        return [0.9, 0.2, 0.7, 0.1][len(seen) - 1]

    method, state, notes = toys.ToyRun(tmp_path, dev=dev).go()
    assert len(seen) == 4  # before training, after 4, 8, 12 steps
    assert state.best == 0.7
    assert state.best_step == 8
    assert toys.changed(method.state_dict(), seen[2]) == set()
    assert any("dev nDCG@10 0.7000" in note for note in notes)
    assert not method.training


def test_weights_of_an_earlier_phase_are_never_chosen(toys, tmp_path):
    class TwoPhases(toys.Packed):
        def phases(self):
            return toys.Phase(name="first"), toys.Phase(name="second")

    values = iter([0.1, 0.9, 0.8, 0.2, 0.3])
    run = toys.ToyRun(
        tmp_path, method=lambda: TwoPhases.build(toys.ToyConfig(), ""), steps=(8, 8), rate=(0.01, 0.01)
    )
    run.dev = lambda method: next(values)
    _, state, _ = run.go()
    assert (state.best, state.best_step) == (0.3, 16)


def test_patience_ends_the_phase(toys, tmp_path):
    values = iter([0.1, 0.5, 0.4, 0.3, 0.6, 0.6, 0.6])
    run = toys.ToyRun(
        tmp_path, dev=lambda method: next(values), steps=24, rhythm=replace(toys.RHYTHM, patience=2)
    )
    _, state, notes = run.go()
    assert state.total == 12
    assert state.best_step == 4
    assert any("the phase ends here" in note for note in notes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_leaves_a_checkpoint_and_75(toys, tmp_path, number):
    stop = Stop(1, number)
    unbroken, _, _ = toys.ToyRun(tmp_path / "a").go()
    run = toys.ToyRun(tmp_path / "b", signals=stop.signals, rhythm=replace(toys.RHYTHM, save_steps=0))
    with pytest.raises(Interrupted, match=number.name) as caught:
        run.go(progress=stop)
    assert caught.value.exit_code == 75
    run.signals = Signals()
    method, state, notes = run.go()
    assert notes[0] == "resuming after step 1"
    assert state.total == 12
    assert toys.changed(method.state_dict(), unbroken.state_dict()) == set()


def test_a_deadline_in_the_past_still_gets_one_step_on(toys, tmp_path):
    """However late a call is, it moves; the last step stops nothing; the result is the unbroken one."""
    unbroken, _, _ = toys.ToyRun(tmp_path / "a", steps=4).go()
    for done in (1, 2, 3):
        late = toys.ToyRun(tmp_path / "b", steps=4, deadline=0.0, rhythm=replace(toys.RHYTHM, save_steps=0))
        with pytest.raises(Interrupted, match=f"--max-minutes are over, after step {done} of 4") as caught:
            late.go()
        assert caught.value.exit_code == 75
    method, state, notes = toys.ToyRun(tmp_path / "b", steps=4, deadline=0.0).go()
    assert notes[0] == "resuming after step 3"
    assert state.total == 4
    assert toys.changed(method.state_dict(), unbroken.state_dict()) == set()


def test_a_deadline_to_come_stops_nothing(toys, tmp_path):
    _, state, _ = toys.ToyRun(tmp_path, steps=4, deadline=time.monotonic() + 3600).go()
    assert state.total == 4


def test_a_loss_that_is_not_finite_names_the_queries_and_keeps_the_checkpoint(toys, tmp_path):
    class Breaks(toys.Packed):
        calls = 0

        def loss(self, query, passage, targets):
            found = super().loss(query, passage, targets)
            type(self).calls += 1
            if self.calls == 8:
                return toys.Loss(found.total * math.nan, found.parts)
            return found

    run = toys.ToyRun(tmp_path, method=lambda: Breaks.build(toys.ToyConfig(), ""))
    with pytest.raises(
        DretrieveError, match=r"the loss is nan at step 8, set toy, queries toy-\d+, toy-\d+"
    ) as caught:
        run.go()
    assert caught.value.exit_code == 1
    assert "last good checkpoint is step-00000006" in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir())[-1] == "step-00000006"


def test_a_gradient_that_is_not_finite_is_no_step(toys, tmp_path):
    class Explodes(toys.Packed):
        def loss(self, query, passage, targets):
            found = super().loss(query, passage, targets)
            zero = (query.vectors * 0).sum()
            return toys.Loss(found.total + torch.sqrt(zero.abs()), found.parts)

    run = toys.ToyRun(tmp_path, method=lambda: Explodes.build(toys.ToyConfig(), ""))
    with pytest.raises(
        DretrieveError, match=r"the gradient is not finite at step 1.*no checkpoint was written yet"
    ):
        run.go()


def test_a_corrupt_newest_checkpoint_resumes_from_the_one_before(toys, tmp_path):
    unbroken, _, _ = toys.ToyRun(tmp_path / "a").go()
    stop = Stop(8)
    run = toys.ToyRun(tmp_path / "b", signals=stop.signals, keep=3)
    with pytest.raises(Interrupted):
        run.go(progress=stop)
    newest = tmp_path / "b" / "checkpoints" / "step-00000008" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    run.signals = Signals()
    method, _, notes = run.go()
    assert "step-00000008 is damaged" in notes[0]
    assert notes[1] == "resuming after step 6"
    assert toys.changed(method.state_dict(), unbroken.state_dict()) == set()


def test_phases_of_other_lengths_and_rates_train_their_groups_and_resume_anywhere(toys, tmp_path):
    class TwoPhases(toys.Packed):
        def phases(self):
            return toys.Phase(name="words"), toys.Phase(name="layer")

        def parameter_groups(self, phase):
            part = self.words if phase.name == "words" else self.layer
            return [toys.ParameterGroup(name=phase.name, parameters=tuple(part.parameters()))]

    built, weights = [], []

    def build():
        built.append(TwoPhases.build(toys.ToyConfig(), ""))
        return built[-1]

    class Keep(Stop):
        """Keeps the weights that stood after each step."""

        def advance(self, units):
            weights.append({name: of.clone() for name, of in built[-1].state_dict().items()})
            super().advance(units)

    def train(name, stop_after=0):
        stop = Keep(stop_after)
        run = toys.ToyRun(
            tmp_path / name,
            method=build,
            steps=(4, 7),
            rate=(0.01, 0.002),
            rhythm=replace(toys.RHYTHM, save_steps=0),
        )
        run.signals = stop.signals
        return run.go(progress=stop)

    method, state, _ = train("unbroken")
    start = toys.Packed.build(toys.ToyConfig(), "").state_dict()
    assert toys.changed(start, weights[3]) == {"words.weight"}
    assert toys.changed(weights[3], method.state_dict()) == {"layer.weight", "layer.bias"}
    assert state.total == 11
    assert [point["phase"] for point in state.curve] == ["words", "words", "layer", "layer", "layer"]
    assert method.frozen() == {"log_temperature"}
    for stop in (2, 4, 6, 10):
        with pytest.raises(Interrupted):
            train(f"stopped {stop}", stop)
        again, resumed, _ = train(f"stopped {stop}")
        assert toys.changed(again.state_dict(), method.state_dict()) == set()
        assert resumed.curve == state.curve
