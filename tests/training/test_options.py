"""Options of one phase: from the command, from all phases' options, from the method, in that order."""

from __future__ import annotations

import pytest

from dretrieve.errors import UsageError
from dretrieve.models.config import Phase
from dretrieve.training.options import TrainOptions

GENERAL = Phase(name="general", options={"max_steps": 40, "learning_rate": 7e-3})


def test_a_method_with_one_phase_trains_with_the_options_as_they_are():
    options = TrainOptions(max_steps=7, learning_rate=1e-3, warmup_steps=2)
    assert options.within(Phase(name="train")) == options
    assert "phase" not in options.recorded()
    assert "phases" not in options.recorded()


def test_the_command_wins_over_all_phases_and_these_over_the_methods_defaults():
    assert TrainOptions().within(GENERAL).learning_rate == 7e-3
    assert TrainOptions().within(Phase(name="domain")).rate == 2e-5
    assert TrainOptions(learning_rate=2e-5).within(GENERAL).rate == 2e-5
    assert TrainOptions(learning_rate=1e-3).within(GENERAL).learning_rate == 1e-3
    word = "name=general,learning_rate=5e-4,lr-scheduler-type=constant,per_device_train_batch_size=4"
    options = TrainOptions(learning_rate=1e-3, phase=(word,))
    own = options.within(GENERAL)
    assert (own.learning_rate, own.lr_scheduler_type, own.per_device_train_batch_size) == (
        5e-4,
        "constant",
        4,
    )
    assert options.within(Phase(name="domain")).learning_rate == 1e-3
    assert options.recorded()["phases"] == {
        "general": {"learning_rate": 5e-4, "lr_scheduler_type": "constant", "per_device_train_batch_size": 4}
    }


def test_steps_and_passes_take_each_others_place():
    assert TrainOptions().within(GENERAL).max_steps == 40
    own = TrainOptions(phase=("name=general,num_train_epochs=2",)).within(GENERAL)
    assert (own.max_steps, own.num_train_epochs) == (0, 2.0)
    own = TrainOptions(max_steps=9, phase=("name=domain,num_train_epochs=.5",)).within(Phase(name="domain"))
    assert (own.max_steps, own.num_train_epochs) == (0, 0.5)
    assert TrainOptions(num_train_epochs=1.0).within(GENERAL).max_steps == 0


def test_a_phases_part_of_the_rise_wins_over_the_steps_of_all():
    options = TrainOptions(warmup_steps=100, phase=("name=joint,warmup_ratio=0.5",))
    joint = options.within(Phase(name="joint"))
    assert (joint.warmup_steps, joint.warmup_ratio) == (0, 0.5)
    assert options.within(Phase(name="other")).warmup_steps == 100


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("general,max_steps=4", "'general' is not KEY=VALUE"),
        ("name=general", "write name=PHASE,OPTION=VALUE"),
        ("name=general,seed=4", "'seed=4' is not KEY=VALUE; keys are name, max_steps, "),
        ("name=general,max_steps=many", "max_steps=many: expected a whole number from 0"),
        ("name=general,max_steps=-1", "max_steps=-1: expected a whole number from 0"),
        ("name=general,lr_scheduler_type=steep", "lr_scheduler_type=steep: expected linear or cosine"),
    ],
)
def test_words_of_a_phase_that_make_no_sense(word, message):
    with pytest.raises(UsageError, match=message):
        TrainOptions(phase=(word,)).within(GENERAL)


def test_a_phase_twice():
    with pytest.raises(UsageError, match="once for each phase"):
        TrainOptions(phase=("name=a,max_steps=1", "name=a,max_steps=2"))
