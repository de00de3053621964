"""The interface that every method implements, and the batches that travel through it.

Training and encoding know only this file.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from dretrieve.models.config import ONE_PHASE, MethodConfig, Phase
from dretrieve.options import NoChoices
from dretrieve.store.card import ModelCard
from dretrieve.types import Side, VectorSpec

Columns = Mapping[str, "tuple[Any, ...] | Tensor"]


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Tokenised texts, padded to the longest of them.

    Attributes:
        input_ids: [B, T] int64.
        mask: [B, T] bool, True = real token. The real tokens of a row are contiguous, at its left end when
            padding stands right, at its right end when padding stands left.
        text_ids: the texts' ids, for randomness that is seeded per text; empty where there are none.
        columns: what else is known of the texts, by name, one value a text: those of the data's fields that
            the method asks for (`Method.columns`).
        vectors: [B, D] float32, what the backbone gives for the texts, where that was computed before
            (`Method.takes_vectors`); there are no tokens then.
    """

    input_ids: Tensor
    mask: Tensor
    text_ids: tuple[str, ...] = ()
    columns: Columns = field(default_factory=dict)
    vectors: Tensor | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device) -> TokenBatch:
        """Return the batch on that device (without waiting for the copy when memory is pinned)."""
        return TokenBatch(
            self.input_ids.to(device, non_blocking=True),
            self.mask.to(device, non_blocking=True),
            self.text_ids,
            {
                name: of.to(device, non_blocking=True) if isinstance(of, Tensor) else of
                for name, of in self.columns.items()
            },
            None if self.vectors is None else self.vectors.to(device, non_blocking=True),
        )

    def rows(self, start: int, stop: int) -> TokenBatch:
        """Return some rows, cut to the columns in which they have a real token."""
        mask = self.mask[start:stop]
        used = torch.nonzero(mask.any(dim=0)).flatten()
        left, right = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        return TokenBatch(
            self.input_ids[start:stop, left:right],
            mask[:, left:right],
            self.text_ids[start:stop],
            {name: of[start:stop] for name, of in self.columns.items()},
            None if self.vectors is None else self.vectors[start:stop],
        )


@dataclass(frozen=True, slots=True)
class Encoded:
    """What one side's encoder gives for a batch.

    Attributes:
        vectors: [B, D] for one vector a text, [B, T, D] for many.
        mask: [B, T] bool for many (True = the token takes part in the score), None for one.
        salience: [B, T] ≥ 0, a weight per token, where the method has one.
        auxiliary: loss terms by name, each [B], one number per text, so that a mean over the batch does not
            depend on how the batch was cut into chunks. They get their gradient chunk by chunk.
        tokens: [B, T] int64, the vocabulary's number of each vector; None: of many, the batch's own.
    """

    vectors: Tensor
    mask: Tensor | None = None
    salience: Tensor | None = None
    auxiliary: Mapping[str, Tensor] = field(default_factory=dict)
    tokens: Tensor | None = None

    def cached(self) -> tuple[Tensor, ...]:
        """Return the tensors whose gradients the gradient cache stores."""
        return (self.vectors,) if self.salience is None else (self.vectors, self.salience)

    def replace_cached(self, tensors: Iterable[Tensor]) -> Encoded:
        """Return the same with other tensors in the places of `cached`."""
        values = tuple(tensors)
        salience = values[1] if self.salience is not None else None
        return dataclasses.replace(self, vectors=values[0], salience=salience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distillation:
    """How a teacher's scores teach, beside the labels.

    Attributes:
        weight: of the teacher's loss, above 0 and at most 1; the labels' loss has the rest.
        loss: ``kl`` or ``margin-mse`` (`models.contrastive.distillation_loss`).
        temperature: divides the teacher's scores (``kl``).
        student_temperature: divides the model's own scores (``kl``).
    """

    weight: float
    loss: str = "kl"
    temperature: float = 1.0
    student_temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Targets:
    """What the loss compares with.

    Attributes:
        positives: [Q] int64, the column (row of the passage batch) of each query's positive; -1 where none of
            its close passages is judged relevant (`Method.reads_close`).
        allowed: [Q, P] bool, False where a passage is another positive of the query and is left out; where
            passages are close ones, another judged relevant.
        teacher_scores: [Q, P], NaN where the teacher gave none (it scores a query's own passages, its
            positive among them); None without a teacher.
        distillation: how they teach, where there are any.
    """

    positives: Tensor
    allowed: Tensor
    teacher_scores: Tensor | None = None
    distillation: Distillation | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """``total`` is what is minimised (a scalar); ``parts`` are the detached scalars that are logged."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Whole queries of a batch, each with its own passages: a piece of a step that reads them together.

    Attributes:
        queries: [q] texts.
        passages: [p] query by query: the positive, then the hard negatives; or its close passages.
        owners: [p] int64, the row of ``queries`` that the passage belongs to.
        query_rows: [q] int64, the rows of these queries in `Targets`.
        passage_rows: [p] int64, the columns of these passages in `Targets`; equal for a passage twice.
    """

    queries: TokenBatch
    passages: TokenBatch
    owners: Tensor
    query_rows: Tensor
    passage_rows: Tensor


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a piece of a step gives: ``cached`` tensors that the loss reads, and an additive loss ``term``."""

    cached: tuple[Tensor, ...]
    term: Tensor | None = None


class Step(Protocol):
    """What a training step of a method's own is given.

    Attributes:
        number: of the step in that phase, from 0.
        num_queries: of the whole batch, over all processes.
        groups: this process's part of the batch, on the method's device, each within the token budget.
    """

    phase: str
    number: int
    seed: int
    num_queries: int
    groups: Sequence[Group]
    targets: Targets

    def backward(
        self, pieces: Sequence[Callable[[], Outcome]], loss: Callable[[list[tuple[Tensor, ...]]], Loss]
    ) -> Loss:
        """Add the gradient of ``loss + Σ terms`` to the parameters; return both together, detached.

        With the gradient cache a piece is called twice, with the same dropout; without, once.

        Args:
            pieces: forwards, one for each of the groups.
            loss: of the pieces' cached tensors, in order; of the whole batch, see `gather`.
        """
        ...

    def gather(self, parts: list[Tensor]) -> list[Tensor]:
        """Return the rows of all processes, in parts: alone as they are, else joined in the order of ranks.

        Only own rows carry gradient.
        """
        ...


@runtime_checkable
class Compared(Protocol):
    """What is trained by the contrastive step, over `Method.encode_pair` and a loss."""

    def loss(self, query: Encoded, passage: Encoded, targets: Targets) -> Loss:
        """Return the loss of a batch; ``passage`` may hold gathered rows of other processes."""
        ...


@runtime_checkable
class Stepped(Protocol):
    """What has a training step of its own: it gets whole queries with their own passages."""

    def training_step(self, step: Step) -> Loss:
        """Add a batch's gradient in the method's own way and return what `Step.backward` does."""
        ...


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate.

    Attributes:
        parameters: trainable ones only; a parameter stands in one group at most.
        learning_rate: absolute; None takes the command line's.
        scale: multiplies the rate (layer-wise decay).
        weight_decay: None takes the command line's.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    learning_rate: float | None = None
    scale: float = 1.0
    weight_decay: float | None = None


class Method(nn.Module, ABC):
    """A retrieval model that can be built, trained, saved and asked for vectors.

    A subclass sets the class attributes and implements the abstract methods; the rest has a default that
    fits a bi-encoder. It is trained by its loss (`Compared`) or by a step of its own (`Stepped`).
    """

    name: ClassVar[str]
    config_class: ClassVar[type]
    columns: ClassVar[tuple[str, ...]] = ()  # fields of queries that training puts into `TokenBatch.columns`
    own_rate: ClassVar[bool] = False  # its phases have a learning rate of their own where none is given
    # its own step takes the passages of a run in the place of judged ones
    reads_close: ClassVar[bool] = False
    # Raised where a training computes something else than an earlier release: none goes on across the two.
    revision: ClassVar[int] = 1

    config: MethodConfig
    choices: Any  # the inference choices in force

    @classmethod
    @abstractmethod
    def build(cls, config: Any, backbone: str) -> Self:
        """Return a fresh model on top of a plain Hugging Face or sentence-transformers folder or name."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, card: ModelCard) -> Self:
        """Return the model that `save` wrote into ``folder``."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights, backbone configuration and tokenizer into ``folder``; the caller writes the card."""

    @abstractmethod
    def card(self) -> ModelCard:
        """Return the card that belongs to `save`: everything that decides a vector's meaning."""

    @property
    @abstractmethod
    def spec(self) -> VectorSpec:
        """Return dim, kind and score of the vectors."""

    @classmethod
    def takes_vectors(cls, config: Any, side: Side) -> bool:
        """Return whether vectors may stand in the place of a side's texts: what gives them is frozen."""
        return False

    @classmethod
    def load_block(cls, folder: Path, card: ModelCard) -> Self:
        """Return the model that `save` wrote, for batches of vectors alone: its encoder need not be read."""
        return cls.load(folder, card)

    @property
    def compares_passages(self) -> bool:
        """Whether the loss of a method that reads close passages needs some of each question."""
        return False

    def check_fields(self, name: str, fields: Mapping[str, Sequence[Any]]) -> str:
        """Return what is to be said of a set's `columns` before training; nothing by default.

        Raises:
            UsageError: a value that the method cannot use.
        """
        return ""

    @abstractmethod
    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return the vectors of one side's texts."""

    def encode_pair(self, query: TokenBatch, passage: TokenBatch) -> tuple[Encoded, Encoded]:
        """Return both sides' vectors; a method with one encoder for both packs them into one forward."""
        return self.encode_side(query, "query"), self.encode_side(passage, "passage")

    def begun(self, parts: Mapping[str, float]) -> Mapping[str, float | str]:
        """Return what the curve keeps of a phase's first step, nothing by default; a ``warning`` is said."""
        return {}

    def summary(self, curve: Sequence[Mapping[str, Any]]) -> Mapping[str, float | None]:
        """Return what the manifest says of a finished training besides its dev measure; else nothing."""
        return {}

    def phases(self) -> tuple[Phase, ...]:
        """Return the parts of training in order."""
        return ONE_PHASE

    def parameter_groups(self, phase: Phase) -> list[ParameterGroup]:
        """Return the groups trained in that phase; what is in no group is frozen."""
        trained = tuple(parameter for parameter in self.parameters() if parameter.requires_grad)
        return [ParameterGroup(name="all", parameters=trained)]

    def frozen(self) -> frozenset[str]:
        """Return the names of what no phase trains, asked before training; checkpoints do without it."""
        trained = {
            id(parameter)
            for phase in self.phases()
            for group in self.parameter_groups(phase)
            for parameter in group.parameters
        }
        every = self.named_parameters(remove_duplicate=False)
        return frozenset(name for name, of in every if id(of) not in trained)

    def files(self, side: Side) -> tuple[str, ...]:
        """Return the files beside that side's encoder on which its vectors depend, relative to the folder."""
        return ()

    def default_choices(self) -> Any:
        """Return what `--set` may change (`dretrieve.options`), as it is when nothing is said."""
        kind: type = getattr(self.config, "choices", NoChoices)
        return kind()

    def choose(self, inference: Mapping[str, str | int | float | bool]) -> None:
        """Take the inference choices: the card's with ``--set`` over them."""
        self.choices = dataclasses.replace(self.default_choices(), **inference)
