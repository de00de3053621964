"""A step of a method's own, and what travels into a step beside the tokens."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from dretrieve.errors import DretrieveError
from dretrieve.store.seeds import fold
from dretrieve.training.processes import Processes
from dretrieve.training.step import Stepper

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("generators")


def test_whole_queries_equal_one_plain_backward(toys):
    """Against autograd through the whole batch at once, pairs taken by hand."""
    method = toys.Reads.build(toys.ToyConfig(dropout=0.0), "")
    loss, ours = toys.gradient(method, toys.step_options(90))
    training_set = toys.toy_set()
    batch = toys.feed_of(method, [training_set], 16, toys.step_options(), Processes()).make(0).batch
    assert all(len(own) == 2 for own in batch.own)
    method.zero_grad()
    query = method.encode_side(training_set.queries.batch(batch.query_rows, pad=0), "query")
    passage = method.encode_side(training_set.passages.batch(batch.passage_rows, pad=0), "passage")
    targets = toys.Targets(torch.from_numpy(batch.positives), torch.from_numpy(batch.allowed))
    pairs = [method.reader(query.vectors[row] * passage.vectors[own]) for row, own in enumerate(batch.own)]
    total = method.loss(query, passage, targets).total + torch.cat(pairs).square().sum() / 16
    total.backward()
    assert loss == pytest.approx(float(total.detach()), rel=1e-5)
    for name, parameter in method.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_groups_name_their_texts_and_places(toys):
    training_set = toys.toy_set()
    method = toys.Reads.build(toys.ToyConfig(), "")
    prepared = toys.feed_of(method, [training_set], 16, toys.step_options(90), Processes()).make(3)
    batch = prepared.batch
    assert sorted(row for group in prepared.groups for row in group.query_rows.tolist()) == list(range(16))
    for group in prepared.groups:
        for place, row in enumerate(group.query_rows.tolist()):
            assert group.queries.text_ids[place] == batch.query_ids[row]
            own = [int(of) for of in group.passage_rows[group.owners == place]]
            assert own == batch.own[row]
            texts = [group.passages.text_ids[of] for of in (group.owners == place).nonzero().flatten()]
            assert texts == [f"passage-{int(batch.passage_rows[column])}" for column in own]


def test_randomness_by_text_does_not_depend_on_the_pieces(toys):
    """Noise seeded with a text's id is the same however the batch is cut, and another for another text."""

    class Noisy(toys.Toy):
        def encode_side(self, batch, side):
            found = super().encode_side(batch, side)
            noise = [
                torch.randn(8, generator=torch.Generator().manual_seed(fold(1, side, name)))
                for name in batch.text_ids
            ]
            assert len(noise) == len(batch)
            return toys.Encoded(found.vectors * torch.stack(noise))

    method = Noisy.build(toys.ToyConfig(dropout=0.0), "")
    (one, whole), (other, pieces) = (toys.gradient(method, toys.step_options(of)) for of in (0, 60))
    assert one == pytest.approx(other, rel=1e-6)
    for name, of in whole.items():
        torch.testing.assert_close(of, pieces[name], rtol=1e-4, atol=1e-6)


def test_fields_of_the_data_stand_beside_the_tokens(toys):
    seen = {}

    class Labelled(toys.Toy):
        def encode_side(self, batch, side):
            if side == "query":
                seen.update(zip(batch.text_ids, batch.columns["domain"], strict=True))
            else:
                assert batch.columns == {}
            return super().encode_side(batch, side)

    method = Labelled.build(toys.ToyConfig(), "")
    labels = [f"of {row % 3}" for row in range(48)]
    made = toys.toy_set()
    labelled = replace(made, queries=replace(made.queries, columns={"domain": labels}))
    options = toys.step_options(10_000)
    prepared = toys.feed_of(method, [labelled], 16, options, Processes()).make(0)
    Stepper(method.train(), Processes(), options, CPU).run(prepared)
    assert len(seen) == 16
    assert all(label == f"of {int(name.removeprefix('toy-')) % 3}" for name, label in seen.items())


def test_a_gradient_that_no_process_has_stays_away(monkeypatch):
    """An optimizer leaves such a parameter; with zeros its momentum would move it."""

    def from_the_others(tensor):
        if tensor.dtype == torch.int32:  # which gradients there are: another process has the second
            tensor[1] += 1

    monkeypatch.setattr("torch.distributed.all_reduce", from_the_others)
    monkeypatch.setattr("dretrieve.training.processes._wire", lambda: torch.device("cpu"))
    three = [torch.nn.Parameter(torch.ones(2)) for _ in range(3)]
    three[0].grad = torch.full((2,), 3.0)
    Processes(rank=0, count=2).sum_gradients(three)
    assert [None if of.grad is None else of.grad.tolist() for of in three] == [[3.0, 3.0], [0.0, 0.0], None]


def test_what_ends_the_others_is_a_sentence_here(monkeypatch):
    def barrier():
        raise RuntimeError(said)

    monkeypatch.setattr("torch.distributed.barrier", barrier)
    said = "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:30082. This is typically"
    with pytest.raises(DretrieveError, match="another process of this training has ended"):
        Processes(rank=1, count=2).wait()
    said = "CUDA out of memory"
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        Processes(rank=1, count=2).wait()


STEPS = """
import resource, torch
from dretrieve.training.device import keeping_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(12 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min(pages() for _ in range(9)))
with keeping_memory(torch.device("cpu")):
    print(min(pages() for _ in range(9)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_what_a_step_frees_stays_for_the_next():
    """48 MiB are 12,288 pages, or 24 large ones: else the system is asked for them each time.

    The first few times also within, where something small was taken from the place that was free. In a
    process of its own: a thread's arena beside the first gives whole heaps back in any case.
    """
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    before, within = map(int, done.stdout.split())
    assert within < 20 < before
