"""What a training will cost: counted where it can be, measured where it must be."""

from __future__ import annotations

import pytest
import torch

from dretrieve.jobs.train import open_tokenizers
from dretrieve.models.registry import find
from dretrieve.training import estimate as module
from dretrieve.training.data import open_set, parse_data
from dretrieve.training.device import Place
from dretrieve.training.estimate import Cost, estimate
from dretrieve.training.options import TrainOptions
from dretrieve.training.processes import Processes
from dretrieve.types import Silent


@pytest.fixture
def cost_of(tiny_collection, tiny_model):
    """Return the cost of a training of the tiny model with those options; ``own`` are the method's."""

    def cost(own=None, place=None, **changes) -> Cost:
        torch.manual_seed(1)
        settings = {"pooling": "mean", "normalize": "yes"} | (own or {})
        method = find("shared").method().build(find("shared").config()(**settings), str(tiny_model))
        options = TrainOptions(**({"per_device_train_batch_size": 3, "max_steps": 10} | changes))
        sets = [open_set(parse_data(f"{tiny_collection}:train"), options.seed, Silent())]
        tokenizers = open_tokenizers(str(tiny_model), method)
        return estimate(method, sets, tokenizers, options, place or alone)

    alone = Place(Processes(), torch.device("cpu"), "fp32")
    return cost


def test_activations_follow_the_tokens_of_the_step(cost_of, monkeypatch):
    """A batch twice as large as any measured is foreseen as if it had been measured."""
    measured = cost_of(per_device_train_batch_size=6)
    assert measured.timed_queries == 6
    monkeypatch.setattr(module, "TIMED", 3)
    foreseen = cost_of(per_device_train_batch_size=6)
    assert foreseen.timed_queries == 3
    assert foreseen.tokens == measured.tokens
    assert abs(foreseen.activations_bytes / measured.activations_bytes - 1) < 0.15
    assert measured.activations_bytes > 1.5 * cost_of(per_device_train_batch_size=3).activations_bytes


def test_the_gradient_cache_keeps_a_piece(cost_of):
    whole, pieces = (
        cost_of(per_device_train_batch_size=6),
        cost_of(per_device_train_batch_size=6, grad_cache=30),
    )
    assert pieces.activations_bytes < 0.7 * whole.activations_bytes
    assert pieces.weights_bytes == whole.weights_bytes


def test_frozen_weights_need_no_gradient_and_no_state(cost_of):
    cost = cost_of(own={"lora": True, "lora_r": 4})
    assert 0 < cost.gradients_bytes < cost.weights_bytes / 4
    assert cost.optimizer_bytes == 2 * cost.gradients_bytes


def test_time_grows_with_the_steps_and_two_processes_share_a_batch(cost_of):
    few, many = cost_of(max_steps=10), cost_of(max_steps=100_000)
    assert many.steps == 100_000
    assert many.seconds > 100 * few.seconds
    half = cost_of(place=Place(Processes(rank=1, count=2), torch.device("cpu"), "fp32"))
    assert half.queries == 6
    assert half.timed_queries == 3


def test_lower_precision_keeps_less(cost_of):
    lower = cost_of(place=Place(Processes(), torch.device("cpu"), "bf16"), per_device_train_batch_size=6)
    assert lower.activations_bytes < cost_of(per_device_train_batch_size=6).activations_bytes
    assert lower.seconds > 0


def test_recomputed_activations_are_said_to_be_fewer(cost_of):
    assert "activations at most " in cost_of(gradient_checkpointing=True).lines()[2]
    assert "at most" not in cost_of().lines()[2]


def test_the_lines_add_up():
    cost = Cost(
        steps=1200, queries=64, tokens=9000, seconds=7200.0, timed_queries=8, weights_bytes=100 * 10**6,
        gradients_bytes=50 * 10**6, optimizer_bytes=100 * 10**6, activations_bytes=10**9, recomputed=False,
    )  # fmt: skip
    assert cost.lines() == [
        "  steps    1,200 of 64 queries, about 9,000 tokens a process",
        "  time     about 2.0 h, at the speed of a step of 8 queries; tokenising and looks at dev come to it",
        "  memory   about 1,250 MB a process: weights 100 MB, gradients 50 MB, AdamW 100 MB, "
        "activations 1,000 MB",
    ]
    assert cost.as_json()["memory_bytes"] == 1250 * 10**6
