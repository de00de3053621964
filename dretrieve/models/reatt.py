"""``reatt``: one T5 that retrieves with its own attention, reads what it finds, and learns both from answers.

Jiang et al., Retrieval as Attention (EMNLP 2022). Layers 1 to B of the encoder see question or passage,
never both; from layer B + 1 on all tokens of a pair see each other, and the decoder reads all pairs of a
question at once (fusion in the decoder, Izacard and Grave 2021). Symbols: q a question, d a passage, h a
head, w the heads' weights (`Reatt.head_weights`), τ ``--head-temperature``.

- Relevance (section 2.2): r_h(q, d) = mean over q's tokens of the largest product of its query with a key of
  d, both of layer B + 1, before the bias, neither scaled nor normalised; r = Σ_h P_h r_h, P = softmax(w / τ).
- Target (section 3.2): the decoder's last layer at its first position, products before the softmax, softmax
  over all tokens of all pairs of q, summed over a pair, mean over heads: P_tgt(d), a constant. It is not
  FiD-KD's score, which averages such products over layers, heads and tokens.
- Loss: L = qa_weight · L_QA + α · KL(P_tgt ‖ softmax r), the softmax over q's own passages and, with in-batch
  passages, those of the other questions, whose target is 0.

Where we differ, or the paper is silent: w begins at 0 (all heads alike). A passage counts once in a batch,
however many questions bring it, as it stands behind the one that leaves it most room. L_QA is the mean over
an answer's tokens, averaged over questions, so that no term depends on how a batch is cut. States up to layer
B are computed once a question, not once a pair: it is the same but for the dropout. A head whose P_h is 0 in
float32 is not computed: nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from dretrieve.errors import DataError, UsageError
from dretrieve.models.base import (
    Encoded,
    Group,
    Loss,
    Outcome,
    ParameterGroup,
    Step,
    TokenBatch,
)
from dretrieve.models.cards import read_card
from dretrieve.models.config import Phase
from dretrieve.models.encoder_method import Backbone, EncoderMethod, completed
from dretrieve.models.maxsim import padded, weighed_maxsim
from dretrieve.models.places import find_model
from dretrieve.models.reatt_config import LENGTH, QUERY_LENGTH, TEMPLATES, ReattChoices, ReattConfig
from dretrieve.models.t5 import T5, load_t5
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.seeds import fold
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.types import SIDES, Record, ScoreName, Side

OPEN = {
    "query_max_len": QUERY_LENGTH,
    "max_len": LENGTH,
    "query_template": TEMPLATES["query"],
    "passage_template": TEMPLATES["passage"],
}
CHOSEN = 0.9  # of the weight: a head that has less did not win
JOINED = 10  # answers at most
JUDGED = "target on judged"  # in a curve: the share of the target that is on judged passages
TOLD_APART = 0.5  # of that share: below it an iteration can destroy what was learned


@dataclass(frozen=True, slots=True)
class Fused:
    """The states that the decoder reads for each question: all tokens of all its pairs, padding behind them.

    Attributes:
        states: [Q, T, D] of `T5.finished`.
        mask: [Q, T] bool.
        pairs: [Q, T] int64, the pair that a state belongs to.
    """

    states: Tensor
    mask: Tensor
    pairs: Tensor
    number: int

    def shares(self, looks: Tensor) -> Tensor:
        """Return P_tgt, [pairs] float32: each pair's share of what the answer ``looks`` at (`T5.decoded`)."""
        seen = looks.masked_fill(~self.mask.unsqueeze(1), -torch.inf).softmax(dim=-1).mean(dim=1)
        return seen.new_zeros(self.number).index_add(0, self.pairs[self.mask], seen[self.mask])


class Reatt(EncoderMethod):
    """One T5; its vectors are one head's queries (of questions) and keys (of passages)."""

    name = "reatt"
    config_class = ReattConfig
    kind = "many"
    score: ClassVar[ScoreName] = "maxsim_mean"
    columns = ("answers",)
    reads_close = True
    revision = 2  # of a passage that stands twice, the copy that is cut least
    config: ReattConfig
    encoder: T5

    def __init__(self, config: ReattConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        self.encoder = T5(backbone.modules["passage"])
        self.choices = ReattChoices()  # the best head at any time, until one is chosen
        self.head_weights = nn.Parameter(torch.zeros(self.encoder.heads))
        layers = len(self.encoder.layers)
        if config.bi_layers < 0:
            self.config = config = replace(config, bi_layers=layers // 2)
        if config.bi_layers >= layers:
            raise UsageError(
                f"--bi-layers {config.bi_layers}: {backbone.name} has {layers} encoder layers, and the one "
                f"behind those retrieves; give 0 to {layers - 1}"
            )
        if config.query_max_len + 2 > config.max_len:
            raise UsageError(
                f"--max-len {config.max_len} leaves no room for a passage behind a question of "
                f"{config.query_max_len} tokens; raise it, or lower --query-max-len"
            )
        card = SideCard(template="{text}", max_tokens=config.answer_max_len)
        self._answers = SideTokenizer.open(backbone.places["passage"], card)

    @classmethod
    def build(cls, config: ReattConfig, backbone: str) -> Self:
        """Return the method on a T5 with its decoder, or trained further; see `EncoderMethod.build`.

        Raises:
            PreconditionError: no T5, or one without its decoder.
            UsageError: layers or lengths that do not fit.
        """
        known, _ = read_card(find_model(backbone))
        config = replace(config, passage_max_len=config.passage_max_len or config.max_len)
        config = completed(config, known, cls.name, OPEN)
        config = completed(config, known, cls.name, {"passage_max_len": config.max_len})
        if config.bi_layers < 0 and known.method == cls.name:
            config = replace(config, bi_layers=known.method_config["bi_layers"])
        method = super().build(config, backbone)
        if known.method == cls.name:  # P goes on, whatever divides the weights now
            with torch.no_grad():
                method.head_weights.mul_(config.head_temperature / known.method_config["head_temperature"])
        return method

    @classmethod
    def read(cls, places: Mapping[Side, Path]) -> dict[Side, nn.Module]:
        """Return the whole T5."""
        return dict.fromkeys(SIDES, load_t5(places["passage"]))

    @property
    def dim(self) -> int:
        """Numbers a token: of one head."""
        return int(self.encoder.backbone.config.d_kv)

    def head_shares(self) -> Tensor:
        """Return P, [heads]: how much each head's relevance counts.

        The weights get the gradient of w / τ, not of w, which is 1 / τ as long: AdamW steps alike for both,
        but the length to which the whole gradient is cut would be the heads' alone.
        """
        weights = self.head_weights
        return (weights + (weights / self.config.head_temperature - weights).detach()).softmax(dim=0)

    def default_choices(self) -> ReattChoices:
        """Return the head that counts most."""
        shares = self.head_shares().detach() if hasattr(self, "head_weights") else torch.zeros(1)
        return ReattChoices(head=int(shares.argmax()))

    def choose(self, inference: Mapping[str, str | int | float | bool]) -> None:
        """Take the inference choices.

        Raises:
            UsageError: no such head.
        """
        super().choose(inference)
        if self.choices.head >= self.encoder.heads:
            raise UsageError(
                f"--set head={self.choices.head}: the retrieval layer has the heads 0 to "
                f"{self.encoder.heads - 1}"
            )

    def card(self) -> ModelCard:
        """Return the card; it says so where no head was chosen."""
        found, shares = super().card(), self.head_shares().detach()
        if shares.max() >= CHOSEN:
            return found
        best = int(shares.argmax())
        said = f"no head has {CHOSEN:g} of the weight, the best one, {best}, has {shares[best]:.2f}"
        return replace(found, source={**found.source, "open": {"head": said}})

    def parameter_groups(self, phase: Phase) -> list[ParameterGroup]:
        """Return the T5, and the heads' weights where something teaches them."""
        groups = [ParameterGroup("t5", tuple(self.encoder.backbone.parameters()))]
        if self.config.alpha:
            groups.append(ParameterGroup("heads", (self.head_weights,), weight_decay=0.0))
        return groups

    @property
    def compares_passages(self) -> bool:
        """Whether there is a cross-document loss."""
        return self.config.alpha > 0

    def check_fields(self, name: str, fields: Mapping[str, Sequence[Any]]) -> str:
        """Refuse questions without answers; return how many answers the limit cuts.

        Raises:
            DataError: questions without answers.
        """
        answers = [_listed(of) for of in fields["answers"]]
        bare = sum(not of for of in answers)
        if bare:
            raise DataError(
                f"{name}: {bare:,} of {len(answers):,} questions have no answers to learn from (a pattern is "
                "none); leave them out, or give target=passage to learn from judged passages"
            )
        texts = [Record("", "", text) for of in answers for text in self._candidates(of)]
        cut = self._answers.tokenize(texts).truncated
        limit = self.config.answer_max_len
        return f"{name}: {cut:,} of {len(texts):,} answers are cut to {limit} tokens" if cut else ""

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, T, d_kv]: the chosen head's queries of questions, keys of passages, ``</s>`` too."""
        head = self.choices.head if self.choices.head >= 0 else self.default_choices().head
        vectors = self.encoder.projected(self.bi_states(batch), self.config.bi_layers, side, [head])
        return Encoded(vectors[:, :, 0].float(), batch.mask)

    def bi_states(self, batch: TokenBatch) -> Tensor:
        """Return [B, T, D], the states of texts by themselves behind layer B."""
        if not len(batch):
            return next(self.encoder.parameters()).new_zeros(0, 0, self.encoder.width)
        return self.encoder.through(
            self.encoder.embedded(batch.input_ids), batch.mask, 0, self.config.bi_layers
        )

    def fused(
        self, questions: tuple[Tensor, Tensor], passages: tuple[Tensor, Tensor], asked: Tensor, told: Tensor
    ) -> Fused:
        """Return what the decoder reads: each pair through the layers behind B, a question's pairs together.

        Both sides are `bi_states`, [Q, n, D] and [P, m, D], and mask; ``</s>`` stays where nothing comes
        behind it. ``asked`` [pairs] are rows of questions, each in one pair at least, ``told`` [pairs] of
        passages; -1 reads the question alone.
        """
        states, mask = joined(questions, passages, asked, told)
        states = self.encoder.finished(self.encoder.through(states, mask, self.config.bi_layers))
        lengths = mask.sum(dim=1)
        owners = asked.repeat_interleave(lengths)
        order = owners.argsort(stable=True)
        counts = owners.bincount(minlength=len(questions[0]))
        place = torch.arange(int(counts.max()), device=counts.device)
        there = place < counts.unsqueeze(1)
        rows = order[((counts.cumsum(0) - counts).unsqueeze(1) + place) * there]
        pairs = torch.arange(len(asked), device=rows.device).repeat_interleave(lengths)
        tokens = mask.flatten().nonzero().flatten()[rows]
        found = states.flatten(0, 1).index_select(0, tokens.flatten()).view(*tokens.shape, -1)
        return Fused(found, there, pairs[rows], len(asked))

    def pairs_of(
        self, questions: TokenBatch, passages: TokenBatch, owners: Tensor
    ) -> tuple[TokenBatch, TokenBatch]:
        """Return both as they stand in pairs: the question without ``</s>``, the passage cut behind it.

        ``owners`` [P] are the passages' questions; a question without a passage keeps its ``</s>``.
        """
        paired = torch.zeros(len(questions), dtype=torch.bool, device=owners.device)
        paired[owners] = True
        questions = _without_end(questions, self.encoder.backbone.config.eos_token_id, paired)
        room = self.config.max_len - questions.mask.sum(dim=1)[owners]
        return questions, _cut(passages, room)

    def training_step(self, step: Step) -> Loss:
        """Add the gradient of L; the curve gets both losses, the target on judged ones, P, passages cut."""
        heads = self._counting() if self.config.alpha else []
        places = [
            torch.cat(step.gather(of))
            for of in (
                [group.query_rows for group in step.groups],
                [group.query_rows[group.owners] for group in step.groups],
                [group.passage_rows for group in step.groups],
            )
        ]

        def loss(leaves: list[tuple[Tensor, ...]]) -> Loss:
            gathered = [step.gather(list(of)) for of in zip(*leaves, strict=True)]
            answers, cut = (torch.cat(of) for of in gathered[:2])
            said = {"answers": answers.detach().mean(), "passages cut": cut.sum()}
            if not heads:
                return Loss(answers.new_zeros(()), said)
            cross, parts = self._cross(gathered[2:], places, heads, step)
            return Loss(self.config.alpha * cross, said | parts)

        return step.backward([self._piece(group, step, heads) for group in step.groups], loss)

    def begun(self, parts: Mapping[str, float]) -> Mapping[str, float | str]:
        """Return the target on judged passages, and a warning where most of it lies beside them."""
        if JUDGED not in parts:
            return {}
        share = parts[JUDGED]
        if share >= TOLD_APART:
            return {JUDGED: share}
        return {
            JUDGED: share,
            "warning": f"only {share:.2f} of the target is on the judged passages at the start (at least "
            f"{TOLD_APART:g} is wanted): the reader does not tell these passages apart, and the wrong ones "
            "are taught; warm up longer with --alpha 0, or take another run",
        }

    def summary(self, curve: Sequence[Mapping[str, Any]]) -> Mapping[str, float | None]:
        """Return the largest P, and the target on judged passages at the first step; None without any."""
        first = next((point[JUDGED] for point in curve if JUDGED in point), None)
        return {"largest_head": float(self.head_shares().detach().max()), "target_on_judged": first}

    def _counting(self) -> list[int]:
        """Return the heads whose share of the relevance is not 0."""
        found: list[int] = self.head_shares().detach().nonzero().flatten().tolist()
        return found

    def _piece(self, group: Group, step: Step, heads: Sequence[int]) -> Callable[[], Outcome]:
        labels = self._labels(group.queries, step)
        lone = torch.ones(len(group.queries), dtype=torch.bool, device=group.owners.device)
        lone[group.owners] = False
        asked = torch.cat([group.owners, lone.nonzero().flatten()])
        told = torch.arange(len(asked), device=asked.device)
        told[len(group.owners) :] = -1

        def forward() -> Outcome:
            questions, passages = self.pairs_of(group.queries, group.passages, group.owners)
            sides = [(self.bi_states(of), of.mask) for of in (questions, passages)]
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.qa_weight > 0):
                fused = self.fused(sides[0], sides[1], asked, told)
                losses, looks = self._answer_losses(fused, labels)
            term = self.config.qa_weight * losses.sum() / step.num_queries
            cut = passages.mask.sum(dim=1) < group.passages.mask.sum(dim=1)
            cached = [losses.detach(), cut.sum().unsqueeze(0)]
            if heads:
                cached.append(fused.shares(looks)[: len(group.owners)])
                for side, (states, mask) in zip(SIDES, sides, strict=True):
                    vectors = self.encoder.projected(states, self.config.bi_layers, side, heads)
                    cached += [vectors[mask], mask.sum(dim=1)]
            return Outcome(tuple(cached), term if self.config.qa_weight else None)

        return forward

    def _answer_losses(self, fused: Fused, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return [Q], the mean negative log-likelihood of each answer's tokens, and `T5.decoded`'s looks."""
        begun = self.encoder.backbone._shift_right(labels)
        logits, looks = self.encoder.decoded(begun, fused.states, fused.mask)
        losses = functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
        return losses.sum(dim=1) / (labels >= 0).sum(dim=1), looks

    def _cross(
        self, leaves: Sequence[list[Tensor]], places: Sequence[Tensor], heads: Sequence[int], step: Step
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean KL over the batch's questions, and what is logged."""
        rows, askers, columns = places
        shares, query_tokens, query_lengths = (torch.cat(of) for of in leaves[:3])
        passages = list(zip(*leaves[3:], strict=True))  # not joined: they are what a batch has most of
        passage_lengths = torch.cat([lengths for _, lengths in passages])
        order = passage_lengths.argsort(descending=True, stable=True)
        order = order[columns[order].argsort(stable=True)]
        # of a passage that stands twice the one that is cut least, wherever its piece stands
        first = order[columns[order].diff(prepend=columns.new_tensor([-1])) > 0]
        query = Encoded(*padded(query_tokens, query_lengths, rows.argsort()))
        counting = self.head_shares()[list(heads)]
        relevance = weighed_maxsim(query, passages, first, counting)
        relevance = relevance / self.config.temperature
        target = torch.zeros_like(relevance).index_put((askers, columns), shares.detach(), accumulate=True)
        if not self.config.in_batch:
            own = torch.zeros_like(relevance, dtype=torch.bool)
            own[askers, columns] = True
            relevance = relevance.masked_fill(~own, -torch.inf)
        chances = relevance.log_softmax(dim=1).masked_fill(target == 0, 0.0)
        cross = (torch.xlogy(target, target) - target * chances).sum(dim=1).mean()
        said = {"cross": cross.detach()} | {
            f"head {number}": of for number, of in enumerate(self.head_shares().detach())
        }
        first_judged, judged = step.targets.positives, ~step.targets.allowed
        known = first_judged >= 0
        if known.any():
            judged[known, first_judged[known]] = True
            said[JUDGED] = (target * judged).sum(dim=1)[known].mean()
        return cross, said

    def _labels(self, questions: TokenBatch, step: Step) -> Tensor:
        """Return [Q, L], the tokens of each question's answer at this step, -100 behind its end."""
        chosen = []
        for name, of in zip(questions.text_ids, questions.columns["answers"], strict=True):
            candidates = self._candidates(_listed(of))
            chosen.append(candidates[fold(step.seed, "answer", step.number, name) % len(candidates)])
        ids = self._answers([Record("", "", text) for text in chosen])
        rows = [torch.tensor(of, dtype=torch.int64) for of in ids]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
        return padded.to(questions.input_ids.device)

    def _candidates(self, answers: Sequence[str]) -> Sequence[str]:
        """Return the texts of which one is learned at a step."""
        if self.config.answer == "join":
            return [", ".join(answers[:JOINED])]
        return answers if self.config.answer == "sample" else answers[:1]


def joined(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], first_rows: Tensor, second_rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Return [pairs, W, D] and mask: the tokens of two texts one behind the other, padding behind both.

    ``first`` [A, n, D] and ``second`` [B, m, D] have their real tokens left; each pair has a row of either,
    and -1 in ``second_rows`` is a text without tokens.
    """
    (one, one_mask), (other, other_mask) = first, second
    before = one_mask.sum(dim=1)[first_rows].unsqueeze(1)
    lengths = functional.pad(other_mask.sum(dim=1), (0, 1))  # the last, -1, is that of no text
    whole = before + lengths[second_rows].unsqueeze(1)
    place = torch.arange(int(whole.max()), device=whole.device)
    mask = place < whole
    behind = one.shape[0] * one.shape[1] + second_rows.unsqueeze(1) * other.shape[1] + place - before
    rows = torch.where(place < before, first_rows.unsqueeze(1) * one.shape[1] + place, behind) * mask
    flat = torch.cat([one.flatten(0, 1), other.flatten(0, 1)])
    return flat.index_select(0, rows.flatten()).view(*rows.shape, -1), mask


def _without_end(batch: TokenBatch, end: int, which: Tensor) -> TokenBatch:
    """Return the batch without the last token of the texts ``which`` [B], if it is the end and not all."""
    last = batch.mask.sum(dim=1, keepdim=True) - 1
    goes = (batch.input_ids.gather(1, last.clamp(min=0)) == end) & (last > 0) & which.unsqueeze(1)
    place = torch.arange(batch.mask.shape[1], device=batch.mask.device)
    return replace(batch, mask=batch.mask & ~((place == last) & goes))


def _cut(batch: TokenBatch, room: Tensor) -> TokenBatch:
    """Return the texts cut to ``room`` [B] tokens each, their last token last."""
    if not len(batch):
        return batch
    lengths = batch.mask.sum(dim=1)
    kept = torch.minimum(lengths, room)
    end = batch.input_ids.gather(1, lengths.unsqueeze(1) - 1)
    place = torch.arange(int(kept.max()), device=kept.device)
    ids, mask = batch.input_ids[:, : len(place)], place < kept.unsqueeze(1)
    return replace(batch, input_ids=torch.where(place == kept.unsqueeze(1) - 1, end, ids), mask=mask)


def _listed(answers: Any) -> tuple[str, ...]:
    """Return a question's answers; of an answer with other names the first."""
    of = (answers,) if isinstance(answers, str) else tuple(answers or ())
    return tuple(each if isinstance(each, str) else str(each[0]) for each in of)
