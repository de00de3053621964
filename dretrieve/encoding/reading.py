"""Questions and their passages to answers by fusion in the decoder (ReAtt, EMNLP 2022, section 2.1).

States up to layer B are computed once a question and once a passage, whoever asks with it; from there on
each pair goes its own way and the decoder reads all pairs of a question at once. On a CPU every piece of work
is one thread's and several run at once, so that bytes do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from dretrieve.encoding.pieces import batches_of, token_batch
from dretrieve.encoding.pipeline import StopCheck, pools, result_of
from dretrieve.models.loading import LoadedModel
from dretrieve.models.reatt import Reatt
from dretrieve.store.interrupt import Signals
from dretrieve.tokens.tokenizer import Tokenized
from dretrieve.types import Record, offsets_of

# Tokens of pairs that are decoded together, by device.
FUSED = {"cpu": 8192, "cuda": 131072}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and the passages that are read for it, best first."""

    question: Record
    passages: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read.

    Attributes:
        text: of the answer.
        log_probability: of its tokens and its end, natural, 0 at most.
        attention: of each passage, the share of its tokens in what the decoder's last layer looks at from its
            first position (section 3.2); together 1.
        tokens: of each passage, the tokens that were read, and what each of them has of that share.
        cut: passages that were not read whole: too long, or too long behind the question.
    """

    text: str
    log_probability: float
    attention: Sequence[float]
    tokens: Sequence[tuple[Sequence[int], NDArray[np.float32]]]
    cut: int


@dataclass(frozen=True, slots=True)
class _Texts:
    """States of texts behind layer B, each once: [tokens, D], and the tokens' numbers."""

    states: Sequence[Tensor]
    ids: Sequence[NDArray[np.int32]]


class Reader:
    """Reads questions with a model; use it within `reader`."""

    def __init__(self, model: LoadedModel, beams: int, pool: ThreadPoolExecutor, stop: StopCheck) -> None:
        method = model.encoder
        assert isinstance(method, Reatt)
        self._model, self._method, self._pool, self._stop = model, method, pool, stop
        backbone: Any = method.encoder.backbone
        self._config = backbone.config
        self._generation = GenerationConfig(
            max_new_tokens=method.config.answer_max_len,
            num_beams=beams,
            do_sample=False,
            decoder_start_token_id=self._config.decoder_start_token_id,
            eos_token_id=self._config.eos_token_id,
            pad_token_id=self._config.pad_token_id,
            return_dict_in_generate=True,
            output_scores=True,
        )
        backbone.generation_config = self._generation  # generate takes what we leave open from there

    def read(self, asked: Sequence[Asked]) -> list[Answer]:
        """Return the answer of each question; one without passages is read alone, then with its ``</s>``."""
        given = self._model.tokenizers["query"].tokenize([of.question for of in asked])
        end = self._config.eos_token_id
        questions = [
            ids[:-1] if of.passages and len(ids) > 1 and ids[-1] == end else ids
            for of, ids in zip(asked, map(given.row, range(len(given))), strict=True)
        ]
        known = {record.id: record for of in asked for record in of.passages}
        texts = self._model.tokenizers["passage"].tokenize(list(known.values()))
        whole = {name: texts.row(row) for row, name in enumerate(known)}
        short = {name for row, name in enumerate(known) if row in texts.cut}
        # A passage is another one where it is cut otherwise: by the name, and how many tokens it keeps.
        rooms = [self._method.config.max_len - len(ids) for ids in questions]
        told = [
            [(record.id, min(len(whole[record.id]), room)) for record in of.passages]
            for of, room in zip(asked, rooms, strict=True)
        ]
        places = {key: place for place, key in enumerate(dict.fromkeys(key for of in told for key in of))}
        passages = [_kept(whole[name], length) for name, length in places]
        read = {"query": self._states(questions), "passage": self._states(passages)}
        lengths = [[len(passages[places[key]]) for key in of] for of in told]
        groups = _groups(questions, lengths, FUSED[self._model.device.type])
        rows = [[places[key] for key in of] for of in told]
        cut = [sum(name in short or length < len(whole[name]) for name, length in of) for of in told]
        futures = [
            self._pool.submit(self._decoded, read["query"], read["passage"], group, rows, cut)
            for group in groups
        ]
        return [answer for future in futures for answer in result_of(future, self._stop)]

    def _states(self, rows: Sequence[NDArray[np.int32]]) -> _Texts:
        """Return the states of texts by themselves."""
        if not rows:
            return _Texts([], [])
        tokens = Tokenized(np.concatenate(rows), offsets_of(np.array([len(ids) for ids in rows])))

        @torch.inference_mode()
        def states(some: NDArray[np.int64]) -> list[Tensor]:
            batch = token_batch(tokens, some, self._config.pad_token_id, ()).to(self._model.device)
            found = self._method.bi_states(batch)
            return [of[mask] for of, mask in zip(found, batch.mask, strict=True)]

        batches = batches_of(tokens, self._model.device)
        futures = [self._pool.submit(states, some) for some in batches]
        found: dict[int, Tensor] = {}
        for some, future in zip(batches, futures, strict=True):
            part = result_of(future, self._stop)
            found |= dict(zip(some.tolist(), part, strict=True))
        return _Texts([found[row] for row in range(len(rows))], rows)

    @torch.inference_mode()
    def _decoded(
        self,
        questions: _Texts,
        passages: _Texts,
        group: range,
        rows: Sequence[Sequence[int]],
        cut: Sequence[int],
    ) -> list[Answer]:
        """Return the answers of some questions."""
        device = self._model.device
        backbone: Any = self._method.encoder.backbone
        own = list(dict.fromkeys(row for question in group for row in rows[question]))
        place = {row: at for at, row in enumerate(own)}
        pairs = [(at, row) for at, question in enumerate(group) for row in rows[question] or (-1,)]
        asked = torch.tensor([at for at, _ in pairs], device=device)
        told = torch.tensor([place.get(row, -1) for _, row in pairs], device=device)
        states, mask = _padded([questions.states[row] for row in group])
        passage = _padded([passages.states[row] for row in own]) if own else (states[:0], mask[:0])
        fused = self._method.fused((states, mask), passage, asked, told)
        start = asked.new_full((len(group), 1), self._config.decoder_start_token_id)
        _, looks = self._method.encoder.decoded(start, fused.states, fused.mask)
        seen = (
            looks.masked_fill(~fused.mask.unsqueeze(1), -torch.inf).softmax(dim=-1).mean(dim=1).cpu().numpy()
        )
        out = backbone.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=fused.states),
            attention_mask=fused.mask.long(),
            generation_config=self._generation,
        )
        beams = out.beam_indices if self._generation.num_beams > 1 else None
        each = backbone.compute_transition_scores(out.sequences, out.scores, beams, normalize_logits=True)
        written = out.sequences[:, 1:]
        ends = (written == self._config.eos_token_id).long()
        behind = ends.cumsum(dim=1) > ends  # padding; a model that has learned little also writes some
        chances = each.masked_fill(behind, 0.0).double().sum(dim=1).tolist()
        tokenizer, answers = self._model.tokenizers["passage"], []
        for at, question in enumerate(group):
            tokens, begin = [], 0
            for row in rows[question]:
                begin += len(questions.ids[question])
                ids = passages.ids[row]
                tokens.append((ids.tolist(), seen[at, begin : begin + len(ids)]))
                begin += len(ids)
            pair = [number for number, (owner, row) in enumerate(pairs) if owner == at and row >= 0]
            shares = fused.shares(looks)[pair].double().tolist()
            text = tokenizer.text(written[at].tolist())
            answers.append(Answer(text, chances[at], shares, tokens, cut[question]))
        return answers


@contextmanager
def reader(model: LoadedModel, beams: int = 1, stop: StopCheck | None = None) -> Iterator[Reader]:
    """Yield what reads with the model; leaving the block drops what has not begun."""
    with pools(model.device) as (_, pool):
        yield Reader(model, beams, pool, stop or Signals())


def _kept(ids: NDArray[np.int32], length: int) -> NDArray[np.int32]:
    """Return the text cut to so many tokens, its last token last."""
    return ids if length == len(ids) else np.concatenate([ids[: length - 1], ids[-1:]])


def _groups(
    questions: Sequence[NDArray[np.int32]], lengths: Sequence[Sequence[int]], budget: int
) -> list[range]:
    """Return runs of questions whose pairs, padded, have at most so many tokens, or of one question."""
    groups, begin, longest, pairs = [], 0, 0, 0
    for row, (ids, own) in enumerate(zip(questions, lengths, strict=True)):
        here, number = len(ids) + max(own, default=0), max(len(own), 1)
        if row > begin and max(longest, here) * (pairs + number) > budget:
            groups.append(range(begin, row))
            begin, longest, pairs = row, 0, 0
        longest, pairs = max(longest, here), pairs + number
    return [*groups, range(begin, len(questions))] if len(questions) else []


def _padded(states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return [texts, T, D] and the mask of what is no padding."""
    lengths = torch.tensor([len(of) for of in states], device=states[0].device)
    found = pad_sequence(list(states), batch_first=True)
    return found, torch.arange(found.shape[1], device=found.device) < lengths.unsqueeze(1)
