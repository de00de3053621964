"""A toy method and a toy set: small enough to train in milliseconds, with dropout and an auxiliary term."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dretrieve.models.base import (
    Distillation,
    Encoded,
    Group,
    Loss,
    Method,
    Outcome,
    Step,
    Targets,
    TokenBatch,
)
from dretrieve.models.base import ParameterGroup as ParameterGroup
from dretrieve.models.config import Phase as Phase
from dretrieve.models.contrastive import in_batch_loss
from dretrieve.store.card import ModelCard
from dretrieve.store.interrupt import Signals
from dretrieve.training.batches import Choosing
from dretrieve.training.checkpoint import Checkpoints
from dretrieve.training.loop import Loop, Rhythm, Surroundings
from dretrieve.training.options import TrainOptions
from dretrieve.training.phases import PhasePlan
from dretrieve.training.pieces import Feed, StepOptions, cut_of
from dretrieve.training.processes import Processes
from dretrieve.training.sets import Ragged, TokenTable, TrainingSet
from dretrieve.training.step import Stepper
from dretrieve.types import Side, Silent, VectorSpec

WORDS = 40
RHYTHM = Rhythm(logging_steps=2, save_steps=3, eval_steps=4, patience=0)


@dataclass(frozen=True)
class ToyConfig:
    dropout: float = 0.1
    auxiliary: float = 0.0
    many: bool = False


class Toy(Method):
    """Embedding, dropout, a layer, the mean: one encoder for both sides, its temperature is learned."""

    name = "toy"
    config_class = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(WORDS, 16)
        self.layer = nn.Linear(16, 8)
        self.dropout = nn.Dropout(config.dropout)
        self.log_temperature = nn.Parameter(torch.tensor(0.0))

    @classmethod
    def build(cls, config: ToyConfig, backbone: str) -> Toy:
        torch.manual_seed(5)
        return cls(config)

    @classmethod
    def load(cls, folder: Path, card: ModelCard) -> Toy:
        raise AssertionError("never saved")

    def save(self, folder: Path) -> None:
        raise AssertionError("never saved")

    def card(self) -> ModelCard:
        raise AssertionError("never saved")

    @property
    def spec(self) -> VectorSpec:
        return VectorSpec(8, "many" if self.config.many else "one", "dot")

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        hidden = torch.tanh(self.layer(self.dropout(self.words(batch.input_ids))))
        real = batch.mask.unsqueeze(-1)
        mean = (hidden * real).sum(1) / real.sum(1)
        auxiliary = {"size": self.config.auxiliary * mean.square().sum(-1)} if self.config.auxiliary else {}
        if self.config.many:
            return Encoded(hidden * real, batch.mask, None, auxiliary)
        return Encoded(mean, auxiliary=auxiliary)

    def loss(self, query: Encoded, passage: Encoded, targets: Targets) -> Loss:
        if self.config.many:
            pairs = torch.einsum("qid,pjd->qpij", query.vectors, passage.vectors)
            pairs = pairs.masked_fill(~passage.mask[None, :, None, :], -1e4)
            scores = (pairs.amax(-1) * query.mask[:, None, :]).sum(-1)
        else:
            scores = query.vectors @ passage.vectors.T
        return in_batch_loss(scores * self.log_temperature.exp(), targets, temperature=0.5)


class Packed(Toy):
    """The same, both sides in one forward."""

    def encode_pair(self, query: TokenBatch, passage: TokenBatch) -> tuple[Encoded, Encoded]:
        width = max(query.input_ids.shape[1], passage.input_ids.shape[1])

        def wide(tensor: Tensor) -> Tensor:
            return nn.functional.pad(tensor, [0, width - tensor.shape[1]])

        both = TokenBatch(
            torch.cat([wide(query.input_ids), wide(passage.input_ids)]),
            torch.cat([wide(query.mask), wide(passage.mask)]),
        )
        found = self.encode_side(both, "query")
        cut = len(query)

        def part(rows: slice) -> Encoded:
            return Encoded(
                found.vectors[rows],
                None if found.mask is None else found.mask[rows],
                None,
                {name: value[rows] for name, value in found.auxiliary.items()},
            )

        return part(slice(0, cut)), part(slice(cut, None))


class Reads(Toy):
    """A step of its own: whole queries with their own passages, a term over the pairs beside the loss."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.reader = nn.Linear(8, 1)

    def training_step(self, step: Step) -> Loss:
        rows = torch.cat(step.gather([group.query_rows for group in step.groups]))
        columns = torch.cat(step.gather([group.passage_rows for group in step.groups]))
        order = columns.argsort(stable=True)
        first = order[columns[order].diff(prepend=torch.tensor([-1])) > 0]  # of a passage that stands twice

        def piece(group: Group) -> Callable[[], Outcome]:
            def forward() -> Outcome:
                query = self.encode_side(group.queries, "query").vectors
                passage = self.encode_side(group.passages, "passage").vectors
                read = self.reader(query[group.owners] * passage).square().sum()
                return Outcome((query, passage), read / step.num_queries)

            return forward

        def loss(leaves: list[tuple[Tensor, ...]]) -> Loss:
            query, passage = (torch.cat(step.gather(list(part))) for part in zip(*leaves, strict=True))
            return self.loss(Encoded(query[rows.argsort()]), Encoded(passage[first]), step.targets)

        return step.backward([piece(group) for group in step.groups], loss)


def toy_table(rows: list[list[int]], name: str) -> TokenTable:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    ids = np.asarray([token for row in rows for token in row], dtype=np.int32)
    return TokenTable(ids, offsets, [f"{name}-{row}" for row in range(len(rows))])


def toy_set(taught: bool = False) -> TrainingSet:
    """48 queries that repeat some words of their passage; each example has two hard negatives."""
    examples, random = 48, np.random.default_rng(0)
    passages = [random.integers(2, WORDS, random.integers(4, 24)).tolist() for _ in range(examples)]
    queries = [random.permutation(passage)[:4].tolist() for passage in passages]
    negatives = [[(row + 1) % examples, (row + 5) % examples] for row in range(examples)]
    return TrainingSet(
        name="toy",
        positives=Ragged.of([[row] for row in range(examples)]),
        negatives=Ragged.of(negatives),
        queries=toy_table(queries, "toy"),
        passages=toy_table(passages, "passage"),
        teacher=tuple(random.normal(size=examples * of).astype(np.float32) for of in (1, 2))
        if taught
        else None,
    )


def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    """Names of the weights, or gradients, that differ."""
    return {name for name in one if not torch.equal(one[name], other[name])}


def step_options(cache_tokens: int = 0, seed: int = 3, distil: str = "") -> StepOptions:
    pad = {"query": 0, "passage": 0}
    how = Distillation(weight=0.7, loss=distil, temperature=0.5) if distil else None
    return StepOptions(
        seed=seed, precision="fp32", cache_tokens=cache_tokens, overhead=20, pad=pad, distillation=how
    )


def feed_of(
    method: Method, sets: list[TrainingSet], batch: int, options: StepOptions, processes: Processes
) -> Feed:
    choosing = Choosing(negatives=1, positives="sample", seed=options.seed)
    return Feed(sets, batch, choosing, options, processes, cut=cut_of(method))


def gradient(
    method: Method, options: StepOptions, cut_by: StepOptions | None = None, taught: bool = False
) -> tuple[float, dict[str, Tensor]]:
    """Return loss and gradient of the first batch, cut as ``cut_by`` says."""
    feed = feed_of(method, [toy_set(taught)], 16, cut_by or options, Processes())
    method.train()
    method.zero_grad()
    value = Stepper(method, Processes(), options, torch.device("cpu")).run(feed.make(0))
    return float(value.loss), {name: of.grad.clone() for name, of in method.named_parameters()}


@dataclass
class ToyRun:
    """A whole training on toy data in a folder; every argument can be another."""

    folder: Path
    method: Callable[[], Method] = lambda: Packed.build(ToyConfig(), "")
    steps: int | tuple[int, ...] = 12  # of each phase
    rhythm: Rhythm = RHYTHM
    dev: Callable[[Method], float] | None = None
    signals: Signals | None = None
    deadline: float | None = None
    cache_tokens: int = 0
    options: dict[str, object] | None = None
    rate: float | tuple[float, ...] = 0.01
    keep: int = 2

    def go(self, progress: object = None) -> tuple[Method, object, list[str]]:
        method = self.method()
        notes: list[str] = []

        class Notes(Silent):
            def note(self, text: str) -> None:
                notes.append(text)

        checkpoints = Checkpoints(
            self.folder / "checkpoints",
            self.options or {"method": "toy"},
            {},
            keep=self.keep,
            note=notes.append,
        )
        options = step_options(self.cache_tokens)
        steps = self.steps if isinstance(self.steps, tuple) else (self.steps,)
        rates = self.rate if isinstance(self.rate, tuple) else (self.rate,)
        plans = [
            PhasePlan(
                phase=phase,
                feed=feed_of(method, [toy_set()], 8, options, Processes()),
                steps=length,
                step_options=options,
                options=TrainOptions(learning_rate=rate, weight_decay=0.01, warmup_steps=2),
            )
            for phase, length, rate in zip(method.phases(), steps, rates, strict=True)
        ]
        around = Surroundings(
            device=torch.device("cpu"),
            processes=Processes(),
            checkpoints=checkpoints,
            dev=self.dev,
            dev_name="nDCG@10",
            progress=progress or Notes(),
            signals=self.signals or Signals(),
            deadline=self.deadline,
        )
        state = Loop(method, plans, self.rhythm, around).run()
        return method, state, notes


@pytest.fixture
def toys():
    """Everything above, for tests (modules of a test folder cannot import each other)."""
    return types.SimpleNamespace(
        **{name: value for name, value in globals().items() if not name.startswith("_")}
    )
