"""The spike that chose the loop: resume, the gradient cache, several processes."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dretrieve.training.loop import Rhythm
from dretrieve.training.processes import Processes

pytestmark = pytest.mark.usefixtures("generators")


HOW = ((False, ""), (True, ""), (False, "kl"), (True, "margin-mse"))
KINDS = [("Reads", False, ""), *((kind, *how) for kind in ("Toy", "Packed") for how in HOW)]


@pytest.mark.parametrize(("kind", "many", "distil"), KINDS)
def test_gradient_cache_equals_direct_gradient_with_dropout(toys, kind, many, distil):
    method = getattr(toys, kind).build(toys.ToyConfig(dropout=0.3, auxiliary=0.1, many=many), "")
    options, taught = toys.step_options(60, distil=distil), bool(distil)
    loss, cached = toys.gradient(method, options, taught=taught)
    # The direct run keeps every graph but cuts the same pieces, so that the same dropout falls on them.
    direct_loss, direct = toys.gradient(method, replace(options, cache_tokens=0), options, taught)
    assert direct_loss == loss
    assert toys.changed(direct, cached) == set()


def test_the_dropout_is_really_on(toys):
    """Otherwise the test above would prove nothing: another seed gives another gradient."""
    method = toys.Packed.build(toys.ToyConfig(dropout=0.3), "")
    cut = toys.step_options(60)
    losses = {toys.gradient(method, toys.step_options(60, seed=seed), cut)[0] for seed in (3, 4)}
    assert len(losses) == 2


@pytest.mark.parametrize("many", [False, True])
def test_pieces_equal_one_plain_backward(toys, many):
    """Against autograd through the whole batch at once: no pieces, no leaves, no code of ours."""
    method = toys.Toy.build(toys.ToyConfig(dropout=0.0, auxiliary=0.1, many=many), "")
    _, ours = toys.gradient(method, toys.step_options(60))
    training_set = toys.toy_set()
    options = toys.step_options()
    batch = toys.feed_of(method, [training_set], 16, options, Processes()).make(0).batch
    method.zero_grad()
    query = method.encode_side(training_set.queries.batch(batch.query_rows, pad=0), "query")
    passage = method.encode_side(training_set.passages.batch(batch.passage_rows, pad=0), "passage")
    targets = toys.Targets(torch.from_numpy(batch.positives), torch.from_numpy(batch.allowed))
    total = method.loss(query, passage, targets).total
    total = total + (query.auxiliary["size"].mean() + passage.auxiliary["size"].mean()) / 2
    total.backward()
    for name, parameter in method.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6)


class Killed(Exception):
    """Stands for a kill at a random moment: nothing of the loop runs after it."""


class KillAt:
    """A progress that kills the training at a given number of calls."""

    def __init__(self, calls):
        self.left = calls

    def _count(self, *_, **__):
        self.left -= 1
        if self.left == 0:
            raise Killed

    start = advance = note = finish = _count


@pytest.mark.parametrize("cache_tokens", [0, 60])
def test_killed_ten_times_gives_the_unbroken_bits(toys, tmp_path, cache_tokens):
    rhythm = Rhythm(logging_steps=3, save_steps=2, eval_steps=5, patience=0)
    rest = {"steps": 40, "rhythm": rhythm, "dev": lambda method: 0.5, "cache_tokens": cache_tokens}
    unbroken, expected, _ = toys.ToyRun(tmp_path / "a", **rest).go()
    draw = random.Random(7)
    kills = 0
    run = toys.ToyRun(tmp_path / "b", keep=1, **rest)
    while kills < 10:
        try:
            run.go(progress=KillAt(draw.randint(2, 9)))
        except Killed:
            kills += 1
    method, state, _ = run.go()
    assert toys.changed(method.state_dict(), unbroken.state_dict()) == set()
    assert state.curve == expected.curve


WORKER = """
import json, sys, torch
sys.path.insert(0, {folder!r})
import importlib.util
spec = importlib.util.spec_from_file_location("toys", {conftest!r})
toys = importlib.util.module_from_spec(spec)
sys.modules["toys"] = toys
spec.loader.exec_module(toys)
from dretrieve.training.processes import join_processes, leave_processes
from dretrieve.training.step import Stepper
processes = join_processes(torch.device("cpu"))
kind, many = sys.argv[1], sys.argv[2] == "many"
method = getattr(toys, kind).build(toys.ToyConfig(dropout=0.0, auxiliary=0.1, many=many), "")
options = toys.step_options(int(sys.argv[3]), distil=sys.argv[4])
feed = toys.feed_of(method, [toys.toy_set(taught=bool(sys.argv[4]))], 16, options, processes)
value = Stepper(method, processes, options, torch.device("cpu")).run(feed.make(0))
grads = {{name: of.grad.double().tolist() for name, of in method.named_parameters()}}
if processes.first:
    print(json.dumps({{"loss": float(value.loss), "gradient": grads}}))
leave_processes()
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run_workers(count, arguments):
    """Start that many processes of the worker; return what the first prints."""
    here = Path(__file__).parent
    code = WORKER.format(folder=str(here.parents[1]), conftest=str(here / "conftest.py"))
    port = str(free_port())
    workers = []
    for rank in range(count):
        environment = os.environ | {
            "WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(here.parents[1]),
        }  # fmt: skip
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE, text=True
            )
        )
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    return json.loads(outputs[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("Packed", "one", "0", "kl"), ("Toy", "many", "60", ""), ("Reads", "one", "60", "")]
)
def test_two_processes_equal_one(arguments):
    """1 x B = N x B/N: loss, every gradient, the learned temperature's too."""
    one, two = run_workers(1, arguments), run_workers(2, arguments)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)
    for name, gradient_of_one in one["gradient"].items():
        torch.testing.assert_close(
            torch.tensor(two["gradient"][name]), torch.tensor(gradient_of_one), rtol=1e-4, atol=1e-6
        )
