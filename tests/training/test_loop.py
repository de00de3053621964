from __future__ import annotations

import math
import signal
import time

import pytest
import torch

from dretrieve.errors import DretrieveError, Interrupted
from dretrieve.store.interrupt import Signals
from dretrieve.training.loop import Rhythm


def rhythm(**changes):
    return Rhythm(**({"logging_steps": 2, "save_steps": 3, "eval_steps": 4, "patience": 0} | changes))


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
    for name, tensor in method.state_dict().items():
        assert torch.equal(tensor, seen[2][name])
    assert any("dev nDCG@10 0.7000" in note for note in notes)
    assert not method.training


def test_patience_ends_the_phase(toys, tmp_path):
    values = iter([0.1, 0.5, 0.4, 0.3, 0.6, 0.6, 0.6])
    run = toys.ToyRun(tmp_path, dev=lambda method: next(values), steps=24, rhythm=rhythm(patience=2))
    _, state, notes = run.go()
    assert state.total == 12
    assert state.best_step == 4
    assert any("the phase ends here" in note for note in notes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_leaves_a_checkpoint_and_75(toys, tmp_path, number):
    signals = Signals()

    class Stop:
        def start(self, *_):
            pass

        note = finish = start

        def advance(self, _):
            signals.set(number)

    unbroken, _, _ = toys.ToyRun(tmp_path / "a").go()
    run = toys.ToyRun(tmp_path / "b", signals=signals, rhythm=rhythm(save_steps=0))
    with pytest.raises(Interrupted, match=number.name) as caught:
        run.go(progress=Stop())
    assert caught.value.exit_code == 75
    run.signals = Signals()
    method, state, notes = run.go()
    assert notes[0] == "resuming after step 1"
    assert state.total == 12
    for name, tensor in method.state_dict().items():
        assert torch.equal(tensor, unbroken.state_dict()[name])


def test_a_deadline_in_the_past_still_gets_one_step_on(toys, tmp_path):
    """However late a call is, it moves; the last step stops nothing; the result is the unbroken one."""
    unbroken, _, _ = toys.ToyRun(tmp_path / "a", steps=4).go()
    for done in (1, 2, 3):
        late = toys.ToyRun(tmp_path / "b", steps=4, deadline=0.0, rhythm=rhythm(save_steps=0))
        with pytest.raises(Interrupted, match=f"--max-minutes are over, after step {done} of 4") as caught:
            late.go()
        assert caught.value.exit_code == 75
    method, state, notes = toys.ToyRun(tmp_path / "b", steps=4, deadline=0.0).go()
    assert notes[0] == "resuming after step 3"
    assert state.total == 4
    for name, tensor in method.state_dict().items():
        assert torch.equal(tensor, unbroken.state_dict()[name])


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
    signals = Signals()

    class StopLate:
        left = 8

        def start(self, *_):
            pass

        note = finish = start

        def advance(self, _):
            self.left -= 1
            if self.left == 0:
                signals.set(signal.SIGTERM)

    run = toys.ToyRun(tmp_path / "b", signals=signals, keep=3)
    with pytest.raises(Interrupted):
        run.go(progress=StopLate())
    newest = tmp_path / "b" / "checkpoints" / "step-00000008" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    run.signals = Signals()
    method, _, notes = run.go()
    assert "step-00000008 is damaged" in notes[0]
    assert notes[1] == "resuming after step 6"
    for name, tensor in method.state_dict().items():
        assert torch.equal(tensor, unbroken.state_dict()[name])


def test_phases_train_only_their_groups_and_resume_between_them(toys, tmp_path):
    class TwoPhases(toys.Packed):
        def phases(self):
            return toys.Phase(name="words"), toys.Phase(name="layer")

        def parameter_groups(self, phase):
            part = self.words if phase.name == "words" else self.layer
            return [toys.ParameterGroup(name=phase.name, parameters=tuple(part.parameters()))]

    from dretrieve.training.checkpoint import Checkpoints
    from dretrieve.training.loop import Loop, PhasePlan, Surroundings
    from dretrieve.training.optimizer import OptimizerOptions
    from dretrieve.training.processes import Processes
    from dretrieve.types import Silent

    def train(folder, stop_after=None):
        method = TwoPhases.build(toys.ToyConfig(), "")
        before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
        options = toys.step_options()
        numbers = {"weight_decay": 0.0, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8}
        plan = PhasePlan(
            feed=toys.feed_of(method, [toys.toy_set()], 8, options, Processes()),
            steps=4,
            step_options=options,
            optimizer=OptimizerOptions(
                learning_rate=0.01, max_grad_norm=1.0, schedule="linear", warmup=0, total=4, **numbers
            ),
        )
        signals = Signals()

        class Count(Silent):
            done = 0

            def advance(self, units):
                self.done += 1
                after = {name: tensor.clone() for name, tensor in method.state_dict().items()}
                if self.done == 4:
                    changed = {name for name in after if not torch.equal(after[name], before[name])}
                    assert changed <= {"words.weight"} or stop_after is None
                if self.done == stop_after:
                    signals.set(signal.SIGTERM)

        around = Surroundings(
            device=torch.device("cpu"),
            processes=Processes(),
            checkpoints=Checkpoints(folder, {}, {}, keep=2, note=lambda text: None),
            dev=None,
            dev_name="",
            progress=Count(),
            signals=signals,
        )
        Loop(method, [plan, plan], rhythm(save_steps=0), around).run()
        changed = {
            name for name, tensor in method.state_dict().items() if not torch.equal(tensor, before[name])
        }
        assert changed == {"words.weight", "layer.weight", "layer.bias"}
        return method

    expected = train(tmp_path / "a")
    for stop in (4, 6):
        with pytest.raises(Interrupted):
            train(tmp_path / f"b{stop}", stop)
        method = train(tmp_path / f"b{stop}")
        for name, tensor in method.state_dict().items():
            assert torch.equal(tensor, expected.state_dict()[name])
