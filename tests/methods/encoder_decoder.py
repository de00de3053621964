"""A toy reader: an encoder-decoder with a loss of its own, two phases; ``frozen``: only the decoder learns.

Queries are encoded, answered by a decoder that reads all of a query's own passages at once, and compared with
the passages of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from dretrieve.models.backbone import load_module
from dretrieve.models.base import (
    Encoded,
    Group,
    Loss,
    Method,
    Outcome,
    ParameterGroup,
    Step,
    Targets,
    TokenBatch,
)
from dretrieve.models.cards import read_card
from dretrieve.models.config import MethodConfig, Phase
from dretrieve.models.contrastive import in_batch_loss
from dretrieve.models.model_folder import save_tokenizer
from dretrieve.models.places import find_model
from dretrieve.options import option
from dretrieve.store.card import ModelCard
from dretrieve.types import Side, VectorSpec

SIDES: tuple[Side, Side] = ("query", "passage")
ANSWER_TOKENS = 6


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    frozen: bool = option(False, "The encoder does not learn.")
    answer_weight: float = option(1.0, "Factor on the answers' loss.")


class Reader(Method):
    """A T5: the mean of the encoder's states is a text's vector, the decoder answers."""

    name = "reader"
    config_class = ReaderConfig
    columns = ("answers", "domain")
    seen: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: ReaderConfig, folder: Path, known: ModelCard, backbone: str) -> None:
        from transformers import AutoTokenizer

        super().__init__()
        self.config, self._known, self._folder, self._backbone = config, known, folder, backbone
        self.t5: Any = load_module(folder, whole=True)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    @classmethod
    def build(cls, config: MethodConfig, backbone: str) -> Self:
        folder = find_model(backbone)
        return cls(config, folder, read_card(folder)[0], backbone)

    @classmethod
    def load(cls, folder: Path, card: ModelCard) -> Self:
        return cls(ReaderConfig(**card.method_config), folder, card, str(card.source["backbone"]))

    def save(self, folder: Path) -> None:
        self.t5.save_pretrained(folder)
        save_tokenizer(folder, self._folder, self.card().query)

    def card(self) -> ModelCard:
        query, passage = (
            replace(self._known.side(side), pooling="mean", normalize=False, files={}) for side in SIDES
        )
        return ModelCard(
            method=self.name,
            vectors=self.spec,
            query=query,
            passage=passage,
            method_config=asdict(self.config),
            source={"backbone": self._backbone},
        )

    @property
    def spec(self) -> VectorSpec:
        return VectorSpec(self.t5.config.d_model, "one", "dot")

    def phases(self) -> tuple[Phase, ...]:
        return Phase(name="warm-up", options={"max_steps": 5}), Phase(name="joint")

    def parameter_groups(self, phase: Phase) -> list[ParameterGroup]:
        part = self.t5.decoder.block if self.config.frozen else self.t5
        return [ParameterGroup(phase.name, tuple(part.parameters()))]

    def states(self, batch: TokenBatch) -> Tensor:
        return self.t5.encoder(input_ids=batch.input_ids, attention_mask=batch.mask).last_hidden_state

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        return Encoded(mean(self.states(batch), batch.mask))

    def loss(self, query: Encoded, passage: Encoded, targets: Targets) -> Loss:
        return in_batch_loss(query.vectors @ passage.vectors.T, targets, temperature=1.0)

    def training_step(self, step: Step) -> Loss:
        rows = torch.cat(step.gather([group.query_rows for group in step.groups]))
        columns = torch.cat(step.gather([group.passage_rows for group in step.groups]))
        order = columns.argsort(stable=True)
        first = order[columns[order].diff(prepend=columns.new_tensor([-1])) > 0]

        def loss(leaves: list[tuple[Tensor, ...]]) -> Loss:
            if step.phase == "warm-up":
                return Loss(leaves[0][0].new_zeros(()))
            query, passage = (torch.cat(step.gather(list(part))) for part in zip(*leaves, strict=True))
            return self.loss(Encoded(query[rows.argsort()]), Encoded(passage[first]), step.targets)

        return step.backward([self.piece(group, step) for group in step.groups], loss)

    def piece(self, group: Group, step: Step) -> Callable[[], Outcome]:
        self.seen.update(zip(group.queries.text_ids, group.queries.columns["domain"], strict=True))

        def forward() -> Outcome:
            query, passage = self.states(group.queries), self.states(group.passages)
            answers = self.answer_loss(group, passage).sum() * self.config.answer_weight
            vectors = mean(query, group.queries.mask), mean(passage, group.passages.mask)
            return Outcome(vectors, answers / step.num_queries)

        return forward

    def answer_loss(self, group: Group, passage: Tensor) -> Tensor:
        """Return [q], the answer's loss while the decoder reads all states of the query's own passages."""
        parts = [passage[group.owners == row] for row in range(len(group.queries))]
        masks = [group.passages.mask[group.owners == row] for row in range(len(group.queries))]
        read = [part[mask] for part, mask in zip(parts, masks, strict=True)]
        states = torch.nn.utils.rnn.pad_sequence(read, batch_first=True)
        lengths = torch.tensor([len(part) for part in read])
        mask = torch.arange(states.shape[1]) < lengths[:, None]
        texts = [answers[0] for answers in group.queries.columns["answers"]]
        ids = self._tokenizer(texts, padding="max_length", truncation=True, max_length=ANSWER_TOKENS)
        labels = torch.tensor(ids["input_ids"])
        logits = self.t5(encoder_outputs=(states,), attention_mask=mask, labels=labels).logits
        return functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(dim=1)


def mean(states: Tensor, mask: Tensor) -> Tensor:
    real = mask.unsqueeze(-1)
    return (states * real).sum(1) / real.sum(1)
