"""Training `taser`: what the gates learn, the gradient cache, gradient checkpointing, the command line.

The released code has three faults in learned routing; a test each shows that they are absent: its gate gets
no gradient from the task; the paper's sign of the entropy term rewards collapse; what its encoder returns as
the entropy is the output of the embeddings.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dretrieve.models.base import Targets
from dretrieve.models.loading import load_model
from dretrieve.models.taser import Taser
from dretrieve.models.taser_config import TaserConfig
from dretrieve.training.batches import Choosing
from dretrieve.training.device import save_activation_memory
from dretrieve.training.pieces import Feed, StepOptions
from dretrieve.training.processes import Processes
from dretrieve.training.sets import Ragged, TokenTable, TrainingSet
from dretrieve.training.step import Stepper
from tests.common import num_resumed, token_batch, training

LEARNED = [
    {"router": "seq"},
    {"router": "tok"},
    {"router": "tok", "num_experts": 3, "share_router": False, "router_gradient": "all"},
]
IDS = ["seq", "tok", "tok all"]


pytestmark = pytest.mark.usefixtures("generators")


def build(folder, *, sharp=0.0, **options):
    torch.manual_seed(1)
    values = {"every": 2, "pooling": "mean", "normalize": "yes"} | options
    method = Taser.build(TaserConfig(**values), str(folder)).train()
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if "experts" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            if "gates" in name:
                parameter.add_(torch.randn_like(parameter) * sharp)
    return method


def texts(lengths, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(5, 60, length).tolist() for length in lengths]


QUERIES, PASSAGES = token_batch(texts([4, 3, 6])), token_batch(texts([9, 12, 5, 9], seed=1))
TARGETS = Targets(torch.arange(3), torch.ones(3, 4, dtype=torch.bool))


@pytest.mark.parametrize("options", LEARNED, ids=IDS)
def test_the_gate_learns_from_the_task(deep_model, options):
    method = build(deep_model, entropy_weight=0.0, **options)
    query, passage = method.encode_pair(QUERIES, PASSAGES)
    assert query.auxiliary == {}
    method.loss(query, passage, TARGETS).total.backward()
    for gate in method.router.gates:
        assert gate.weight.grad.abs().sum() > 1e-6


@pytest.mark.parametrize("unit", ["seq", "tok"])
def test_the_entropy_term_raises_the_entropy(deep_model, unit):
    method = build(deep_model, router=unit, sharp=0.5)
    optimizer = torch.optim.Adam(method.router.parameters(), lr=0.05)
    course = []
    for _ in range(60):
        term = method.encode_side(PASSAGES, "passage").auxiliary["entropy"].mean()
        course.append(-float(term.detach()) / 0.01)
        optimizer.zero_grad()
        (term / 0.01).backward()
        optimizer.step()
    assert course[0] < 0.5
    assert course[-1] > course[0] + 0.15
    assert max(course) < 0.6932, "ln 2 is the most"


@pytest.mark.parametrize("unit", ["seq", "tok"])
def test_the_entropy_is_that_of_the_routing_and_u_is_the_feed_forward_input(deep_model, unit):
    method = build(deep_model, router=unit, entropy_weight=1.0, sharp=0.5)
    read, attended = [], []
    method.router.register_forward_pre_hook(lambda module, inputs: read.append(inputs[1].detach()))
    for layer in method.layers:
        method.encoder.backbone.encoder.layer[layer].attention.register_forward_hook(
            lambda module, inputs, output: attended.append(output[0].detach())
        )
    term = method.encode_side(PASSAGES, "passage").auxiliary["entropy"]
    assert [torch.equal(*of) for of in zip(read, attended, strict=True)] == [True, True]
    gate = method.router.gates[0]
    for row in range(len(PASSAGES)):
        by_hand = []
        for states in read:
            tokens = states[row][PASSAGES.mask[row]][: 1 if unit == "seq" else None]
            p = torch.softmax(tokens @ gate.weight.T + gate.bias, -1)
            by_hand.append(-(p * p.log()).sum(-1).mean())
        assert float(term[row].detach()) == pytest.approx(-float(sum(by_hand).detach()) / 2, abs=1e-6)


def training_set():
    """Eight queries, sixteen passages of unlike lengths."""

    def table(rows):
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return TokenTable(np.concatenate(rows).astype(np.int32), offsets)

    return TrainingSet(
        name="tiny",
        positives=Ragged.of([[row] for row in range(8)]),
        negatives=Ragged.of([[8 + row] for row in range(8)]),
        queries=table(texts(range(3, 11))),
        passages=table(texts([5, 21, 9, 14, 7, 7, 30, 11] * 2, seed=1)),
    )


def gradient(method, *, recompute, precision="fp32"):
    """Return loss and gradient of a batch that is cut into the same pieces either way."""
    pad = {"query": 0, "passage": 0}
    options = StepOptions(seed=3, precision=precision, cache_tokens=60, overhead=10, pad=pad)
    choosing = Choosing(negatives=1, positives="first", seed=3)
    made = Feed([training_set()], 8, choosing, options, Processes(), cut="both").make(0)
    assert len(made.pieces) > 3
    assert any(query is not None and passage is not None for query, passage in made.pieces)
    options = options if recompute else replace(options, cache_tokens=0)
    method.zero_grad()
    value = Stepper(method, Processes(), options, torch.device("cpu")).run(made)
    return float(value.loss), {name: of.grad.clone() for name, of in method.named_parameters()}


@pytest.mark.parametrize("options", [{"router": "det"}, *LEARNED], ids=["det", *IDS])
def test_gradient_cache_is_the_direct_gradient_to_the_bit(deep_model, options):
    """With dropout, with the gates' noise, with the entropy term."""
    method = build(deep_model, sharp=0.2, **options)
    loss, direct = gradient(method, recompute=False)
    again, cached = gradient(method, recompute=True)
    assert loss == again
    for name, of in direct.items():
        assert torch.equal(of, cached[name]), name
        assert of.any(), name


@pytest.mark.parametrize("options", [{"router": "det"}, *LEARNED], ids=["det", *IDS])
def test_gradient_checkpointing_repeats_the_route(deep_model, options):
    plain = gradient(build(deep_model, sharp=0.2, **options), recompute=False)
    saving = build(deep_model, sharp=0.2, **options)
    save_activation_memory(saving)
    calls = []
    saving.encoder.backbone.encoder.layer[1].attention.register_forward_hook(lambda *of: calls.append(1))
    found = gradient(saving, recompute=False)
    assert found[0] == plain[0]
    for name, of in plain[1].items():
        torch.testing.assert_close(found[1][name], of, atol=1e-6, rtol=1e-5)
    assert len(calls) % 2 == 0, "each piece twice"
    with torch.no_grad():
        saving.eval().encode_side(QUERIES, "query")


@pytest.mark.parametrize("options", [{"router": "det"}, *LEARNED], ids=["det", *IDS])
def test_bfloat16_gives_nearly_the_loss_and_the_gradient_cache_its_gradient(deep_model, options):
    method = build(deep_model, sharp=0.2, **options)
    exact, _ = gradient(method, recompute=False)
    loss, direct = gradient(method, recompute=False, precision="bf16")
    again, cached = gradient(method, recompute=True, precision="bf16")
    assert loss == again
    assert loss == pytest.approx(exact, rel=0.1)
    assert all(torch.equal(of, cached[name]) for name, of in direct.items())
    assert all(of.dtype == torch.float32 for of in direct.values())


def test_noise_is_of_training_only(deep_model):
    method = build(deep_model, router="tok", sharp=0.2)
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for layer in method.encoder.backbone.encoder.layer:
        layer.attention.self.dropout.p = 0.0
    method.encoder.backbone.config.attention_probs_dropout_prob = 0.0

    def twice():
        return [method.encode_side(PASSAGES, "passage").vectors for _ in range(2)]

    assert not torch.equal(*twice())
    method.eval()
    assert torch.equal(*twice())


def config(deep_model, tiny_collection, output, **own):
    options = {"max_steps": 4, "per_device_train_batch_size": 3, "learning_rate": 1e-3}
    options |= {"logging_steps": 2, "save_steps": 2}
    own = {"every": 2, "pooling": "mean", "normalize": "yes", "temperature": 0.1} | own
    return training("taser", own, deep_model, f"{tiny_collection}:train", output, **options)


@pytest.mark.parametrize("own", [{"router": "det", "layer_decay": 0.8}, {"router": "tok", "num_experts": 3}])
def test_interrupted_and_resumed_is_the_unbroken_model(deep_model, tiny_collection, tmp_path, own):
    assert num_resumed(lambda output: config(deep_model, tiny_collection, output, **own), tmp_path) >= 2


@pytest.mark.parametrize(
    "router", ["det", "tok", *(pytest.param(of, marks=pytest.mark.slow) for of in ("seq", "none"))]
)
def test_train_from_the_command_line(cli_here, tiny_collection, deep_model, tmp_path, router):
    done = cli_here(
        "train", "taser", "--backbone", deep_model, "--data", f"{tiny_collection}:train", "--router", router,
        "--every", 2, "--pooling", "mean", "--normalize", "yes", "--dev", f"{tiny_collection}:train",
        "--output", tmp_path / "model", "--batch-size", 6, "--max-steps", 24, "--eval-steps", 8,
        "--learning-rate", "3e-3", "--logging-steps", 4, "--device", "cpu", "--grad-cache", 64, "--json",
    )  # fmt: skip
    result = json.loads(done.out)
    losses = [point["loss"] for point in result["curve"] if "loss" in point]
    assert losses[-1] < 0.7 * losses[0]
    assert result["best"] > next(point["dev"] for point in result["curve"] if "dev" in point)
    model = load_model(str(tmp_path / "model"))
    assert model.card.method_config["router"] == router
    assert model.engine.name == "packed"


def test_the_help_shows_its_options(cli_here):
    out = cli_here("train", "taser", "--help").out
    assert "Method taser:" in out
    for flag in (
        "--router ",
        "--num-experts",
        "--every",
        "--share-router",
        "--entropy-weight",
        "--layer-decay",
    ):
        assert flag in out
    assert "--router-gradient" in out


def test_mistakes_are_told_before_anything_is_read(cli_here, tmp_path):
    base = ["train", "taser", "--backbone", tmp_path, "--data", "x:train", "--output", tmp_path / "m"]
    err = cli_here(*base, "--num-experts", "4", code=2).err
    assert "--router det has one expert for queries and one for passages, not 4" in err
    assert (
        "--router-gradient half: expected chosen or all"
        in cli_here(*base, "--router-gradient", "half", code=2).err
    )


def test_a_pattern_that_fits_no_layer_ends_with_code_2(cli_here, tiny_collection, deep_model, tmp_path):
    words = ["train", "taser", "--backbone", deep_model, "--data", f"{tiny_collection}:train"]
    done = cli_here(*words, "--every", "6", "--output", Path(tmp_path) / "m", "--device", "cpu", code=2)
    assert "--every 6 fits no layer: this backbone has 4 layers; give 1 to 4" in done.err
