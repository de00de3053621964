"""`reatt` beside a fusion in the decoder by transformers alone: a step and reading; and its gradient cache.

Run: ``python tests/bench/bench_reatt.py [--steps 4] [--only step|cache|reading]``.
A T5 of 4 + 4 layers, 256 wide, in float32 on one thread. Texts: SQuAD's questions for training with answers,
each with its own passage and others, where it stands, else invented words; the first line says which. The
other loop pads every pair to the longest of 8 questions. All times are CPU seconds, taken in turn, ours with
B = 2; with B = 0, where both compute the same, losses and answers must agree. The rules:

- a step of 8 questions with 8 passages each, both losses, at least 1.5 times as fast; the other loop hears
  queries, keys, and what the decoder looks at, by hooks;
- reading 10 passages a question, answers of 10 tokens at most, at least 1.5 times as fast;
- the gradient cache takes at most 1.5 times a step without it, and at 64 questions with 16 passages each at
  most 1.15 times the memory of the 4 of them that fill a piece most, for a piece is what it costs. Memory is
  the peak of a step above what stood before it, in a process of its own, less what the cache is there to
  keep: the vectors of all heads of each token, and their gradient, 2 x 4 bytes x tokens x heads x d_kv.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from bench_train import standing, texts
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from dretrieve.encoding.reading import Asked, Reader, reader
from dretrieve.models.base import Method
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.places import find_model
from dretrieve.models.reatt import Reatt
from dretrieve.models.reatt_config import ReattConfig
from dretrieve.text.beir import Query
from dretrieve.text.collection import Collection
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.training.batches import Choosing
from dretrieve.training.pieces import CPU_OVERHEAD, Feed, Prepared, StepOptions
from dretrieve.training.processes import Processes
from dretrieve.training.sets import Ragged, TrainingSet, tokenise
from dretrieve.training.step import Stepper
from dretrieve.types import Record

QUESTIONS, CLOSE, HEADS, WIDTH, END = 8, 8, 4, 256, 102  # the last is [SEP], which ends MiniLM's texts
DEPTH, ANSWER = 10, 10  # passages and tokens of an answer, in reading
BUDGET, WIDE, NARROW = 6144, 64, 4  # tokens of a cached piece; questions of 16 passages
FILLED = 13500  # the same where memory is compared: 4 questions
CPU = torch.device("cpu")
OPTIONS = StepOptions(
    seed=1, precision="fp32", cache_tokens=0, overhead=CPU_OVERHEAD, pad={"query": 0, "passage": 0}
)
CACHED = replace(OPTIONS, cache_tokens=BUDGET)


def write_backbone(folder: Path) -> Path:
    """Write a T5 with random weights and MiniLM's tokenizer, and return its folder."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(find_model("minilm") / name, folder / name)
    sizes = {"d_model": WIDTH, "d_kv": WIDTH // HEADS, "d_ff": 2 * WIDTH, "num_layers": 4, "num_heads": HEADS}
    config = T5Config(
        vocab_size=30522,
        eos_token_id=END,
        pad_token_id=0,
        decoder_start_token_id=0,
        dropout_rate=0.0,
        **sizes,
    )
    torch.manual_seed(1)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def asked(number: int, close: int) -> tuple[list[Query], list[Record]]:
    """Return questions with answers, and so many passages of each one behind the other.

    SQuAD's own of its training split, the passage that answers first, where it stands; else invented words.
    """
    place = standing()
    if place is None:
        queries, passages = texts(number, None)[0], texts(number * close // 2, None)[1]
        return [Query(of.id, of.text, (" ".join(of.text.split()[:2]),)) for of in queries], passages
    collection, chance = Collection.open(f"{place}:train"), np.random.default_rng(1)
    corpus, judged, every = collection.corpus(), collection.qrels().positives(), collection.queries().queries
    chosen = [every[row] for row in chance.permutation(len(every))[:number].tolist()]
    others = iter(chance.permutation(len(corpus)).tolist())
    rows = [row for of in chosen for row in (corpus.row_of(judged[of.id][0]), *islice(others, close - 1))]
    return chosen, [corpus.record(row) for row in rows]


def training_set(
    method: Reatt, folder: Path, number: int, close: int, rows: Sequence[int] = ()
) -> TrainingSet:
    """Return questions, or those ``rows`` of them, with so many passages of their own, and answers."""
    queries, passages = asked(number, close)
    if rows:
        queries, passages = (
            [queries[row] for row in rows],
            [of for row in rows for of in passages[row * close : (row + 1) * close]],
        )
    cards = method.card()
    records = [Record(of.id, "", of.text) for of in queries]
    given = tokenise(records, SideTokenizer.open(folder, cards.query))
    told = tokenise(passages, SideTokenizer.open(folder, cards.passage))
    return TrainingSet(
        name="bench",
        positives=Ragged.of([[]] * len(queries)),
        negatives=Ragged.of([[]] * len(queries)),
        queries=replace(
            given, text_ids=[of.id for of in queries], columns={"answers": [of.answers for of in queries]}
        ),
        passages=told,
        close=Ragged.of([range(row * close, (row + 1) * close) for row in range(len(queries))]),
    )


def feed(
    method: Reatt,
    folder: Path,
    options: StepOptions,
    *,
    batches: int,
    shape: tuple[int, int],
    rows: Sequence[int] = (),
) -> Feed:
    """Return so many batches of ``shape``: questions, passages of each; or one of those ``rows`` of them."""
    data = training_set(method, folder, shape[0] * batches, shape[1], rows)
    choosing = Choosing(negatives=0, positives="first", seed=1)
    return Feed([data], len(rows) or shape[0], choosing, options, Processes(), cut="queries")


def built(folder: Path, bi_layers: int) -> Reatt:
    """Return the method with the heads' weights at their beginning: all alike."""
    return Reatt.build(ReattConfig(bi_layers=bi_layers, answer="first"), str(folder)).train()


class Theirs:
    """The loop over transformers' model."""

    def __init__(self, folder: Path, method: Reatt, layer: int) -> None:
        self.t5: Any = T5ForConditionalGeneration.from_pretrained(folder).train()
        self.method, self.heard = method, dict[str, torch.Tensor]()
        own = self.t5.encoder.block[layer].layer[0].SelfAttention
        cross = self.t5.decoder.block[-1].layer[1].EncDecAttention
        for name, part in (("query", own.q), ("key", own.k), ("asked", cross.q), ("told", cross.k)):
            part.register_forward_hook(lambda _, given, of, name=name: self.heard.update({name: of}))

    def step(self, prepared: Prepared) -> float:
        """Add a batch's gradient; return its loss."""
        data, batch = prepared.batch.training_set, prepared.batch
        asked = data.queries.batch(batch.query_rows, pad=0)
        questions = [ids[mask][:-1] for ids, mask in zip(asked.input_ids, asked.mask, strict=True)]
        own = [data.passages.batch(batch.passage_rows[columns], pad=0) for columns in batch.own]
        pairs = [
            torch.cat([question, ids[mask]])
            for question, of in zip(questions, own, strict=True)
            for ids, mask in zip(of.input_ids, of.mask, strict=True)
        ]
        ids = pad_sequence(pairs, batch_first=True)
        mask = pad_sequence([torch.ones_like(of, dtype=torch.bool) for of in pairs], batch_first=True)
        wanted = [Record("", "", answers[0]) for answers in asked.columns["answers"]]
        answers = [torch.tensor(of) for of in self.method._answers(wanted)]
        labels = pad_sequence(answers, batch_first=True, padding_value=-100)
        states = self.t5.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        fused, seen = states.reshape(QUESTIONS, -1, WIDTH), mask.reshape(QUESTIONS, -1)
        logits = self.t5(encoder_outputs=(fused,), attention_mask=seen, labels=labels).logits
        losses = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        read = (losses.sum(dim=1) / (labels >= 0).sum(dim=1)).mean()
        total = read + self.method.config.alpha * self._cross([len(of) for of in questions], mask)
        total.backward()
        self.t5.zero_grad(set_to_none=True)
        return float(total.detach())

    def _cross(self, lengths: list[int], mask: torch.Tensor) -> torch.Tensor:
        def heads(name: str) -> torch.Tensor:
            return self.heard[name].unflatten(-1, (HEADS, -1))

        looks = torch.einsum("qhd,qthd->qht", heads("asked")[:, 0], heads("told")).detach()
        looks = looks.masked_fill(~mask.reshape(QUESTIONS, 1, -1), -torch.inf).softmax(dim=-1).mean(dim=1)
        target = looks.unflatten(1, (CLOSE, -1)).sum(dim=-1)
        query, key, place = heads("query"), heads("key"), torch.arange(mask.shape[1])
        first = torch.tensor(lengths).repeat_interleave(CLOSE).unsqueeze(1)
        shut = ~(mask & (place >= first))
        scores = [
            torch.einsum("ihd,pjhd->hpij", query[row * CLOSE, :length], key)
            .masked_fill(shut[None, :, None], -torch.inf).amax(dim=-1).mean(dim=(0, 2))
            for row, length in enumerate(lengths)
        ]  # fmt: skip
        chances = torch.stack(scores).log_softmax(dim=1).unflatten(1, (QUESTIONS, CLOSE))
        own = chances[torch.arange(QUESTIONS), torch.arange(QUESTIONS)]
        return (target * (target.log() - own)).sum(dim=1).mean()


def turns(*works: Callable[[Any], object], over: Sequence[Any]) -> list[float]:
    """Return the median CPU seconds of each work, done with each of ``over`` in turn."""
    rounds = []
    for given in over:
        marks = [time.process_time()]
        for work in works:
            work(given)
            marks.append(time.process_time())
        rounds.append(np.diff(marks).tolist())
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def stepping(method: Method, options: StepOptions) -> Callable[[Prepared], None]:
    """Return what adds a batch's gradient and drops it."""
    stepper = Stepper(method, Processes(), options, CPU)

    def step(made: Prepared) -> None:
        stepper.run(made)
        method.zero_grad(set_to_none=True)

    return step


def steps(folder: Path, count: int) -> bool:
    """Compare training steps; return whether the rule holds."""
    whole, method = built(folder, 0), built(folder, 2)
    made = feed(method, folder, OPTIONS, batches=count, shape=(QUESTIONS, CLOSE))
    batches = [made.make(step) for step in range(count)]
    mine = float(Stepper(whole, Processes(), OPTIONS, CPU).run(batches[0]).loss)
    difference = abs(mine - Theirs(folder, whole, 0).step(batches[0])) / mine
    own, other = turns(stepping(method, OPTIONS), Theirs(folder, method, 2).step, over=batches)
    print(f"a step, {QUESTIONS} questions x {CLOSE} passages: ours {own:.2f} s, transformers {other:.2f} s")
    print(f"    ratio {other / own:.2f} (at least 1.5); with B = 0 the losses differ by {difference:.1e}")
    return other / own >= 1.5 and difference < 1e-4


def cache(folder: Path, count: int) -> bool:
    """Compare steps with and without the gradient cache, and its memory; return whether the rules hold."""
    method = built(folder, 2)
    feeds = [
        feed(method, folder, options, batches=count, shape=(NARROW, 16)) for options in (OPTIONS, CACHED)
    ]
    direct, cached = stepping(method, OPTIONS), stepping(method, CACHED)
    pairs = [[of.make(step) for of in feeds] for step in range(count)]
    own, other = turns(lambda pair: cached(pair[1]), lambda pair: direct(pair[0]), over=pairs)
    print(f"the gradient cache, {NARROW} questions x 16 passages: {own:.2f} s, without it {other:.2f} s")
    print(f"    ratio {own / other:.2f} (at most 1.5)")
    left = {}
    for number in (NARROW, WIDE):
        words = [sys.executable, __file__, "--memory", str(number)]
        peak, kept = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        left[number] = peak - kept
        print(
            f"    peak at {number} x 16: {peak:,.0f} MB, {kept:,.0f} MB of them vectors and their gradients"
        )
    print(f"    the rest grows {left[WIDE] / left[NARROW]:.2f} times (at most 1.15)")
    return own / other <= 1.5 and left[WIDE] <= 1.15 * left[NARROW]


def memory(folder: Path, questions: int) -> tuple[float, float]:
    """Return the peak of a cached step above what stood before it, and the vectors with gradients, in MB."""

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(name)))

    method, options, shape = built(folder, 2), replace(OPTIONS, cache_tokens=FILLED), (WIDE, 16)
    made = feed(method, folder, options, batches=1, shape=shape).make(0)
    if questions < WIDE:
        those = [of for of in made.groups if len(of.queries) == questions]
        fullest = max(those, key=lambda of: int(of.passages.mask.sum()))
        rows = made.batch.query_rows[fullest.query_rows.numpy()].tolist()
        made = feed(method, folder, options, batches=1, shape=shape, rows=rows).make(0)
        assert [len(of.queries) for of in made.groups] == [questions]
    tokens = sum(int(of.mask.sum()) for group in made.groups for of in (group.queries, group.passages))
    step = stepping(method, options)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    step(made)
    return (status("VmHWM") - before) / 1000, 2 * 4 * tokens * WIDTH / 1e6


def questions(count: int) -> list[Asked]:
    """Return questions with `DEPTH` passages of their own."""
    queries, passages = asked(count, DEPTH)
    return [
        Asked(Record(of.id, "", of.text), passages[row * DEPTH : (row + 1) * DEPTH])
        for row, of in enumerate(queries)
    ]


def their_answers(folder: Path, method: Reatt, mine: Reader) -> Callable[[Sequence[Asked]], list[str]]:
    """Return fusion in the decoder by transformers alone."""
    t5: Any = T5ForConditionalGeneration.from_pretrained(folder).eval()
    tokenizers, longest = mine._model.tokenizers, method.config.max_len

    @torch.inference_mode()
    def read(some: Sequence[Asked]) -> list[str]:
        pairs = []
        for of in some:
            question = tokenizers["query"].tokenize([of.question]).row(0)[:-1]
            told = tokenizers["passage"].tokenize(of.passages)
            for row in range(len(of.passages)):
                ids, room = told.row(row), longest - len(question)
                kept = ids if len(ids) <= room else np.concatenate([ids[: room - 1], ids[-1:]])
                pairs.append(torch.from_numpy(np.concatenate([question, kept]).astype(np.int64)))
        ids = pad_sequence(pairs, batch_first=True)
        mask = pad_sequence([torch.ones_like(of) for of in pairs], batch_first=True)
        states = t5.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        written = t5.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states.reshape(len(some), -1, WIDTH)),
            attention_mask=mask.reshape(len(some), -1),
            max_new_tokens=ANSWER,
            do_sample=False,
        )
        return [tokenizers["passage"].text(of.tolist()) for of in written[:, 1:]]

    return lambda of: [text for at in range(0, len(of), QUESTIONS) for text in read(of[at : at + QUESTIONS])]


def reading(folder: Path, count: int) -> bool:
    """Compare reading; return whether the rule holds."""
    models, size = {}, 2 * QUESTIONS
    for bi_layers in (0, 2):
        method = Reatt.build(ReattConfig(bi_layers=bi_layers, answer_max_len=ANSWER), str(folder))
        save_model(method, folder / f"model-{bi_layers}")
        models[bi_layers] = load_model(str(folder / f"model-{bi_layers}"), CPU, "fp32")
    every = questions(size * count)
    parts = [every[at : at + size] for at in range(0, len(every), size)]
    with reader(models[0]) as whole, reader(models[2]) as mine:
        theirs = their_answers(folder, method, mine)
        same = [of.text for of in whole.read(parts[0])] == theirs(parts[0])
        own, other = turns(mine.read, theirs, over=parts)
    print(f"reading, depth {DEPTH}: ours {size / own:.2f} questions/s, transformers {size / other:.2f}")
    said = "equal" if same else "OTHERS"
    print(f"    ratio {other / own:.2f} (at least 1.5); with B = 0 the answers are {said}")
    return other / own >= 1.5 and same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", choices=("step", "cache", "reading"))
    parser.add_argument("--memory", type=int, default=0, help=argparse.SUPPRESS)
    words = parser.parse_args()
    torch.set_num_threads(1)
    parts = {"step": steps, "cache": cache, "reading": reading}
    with tempfile.TemporaryDirectory() as place:
        folder = write_backbone(Path(place))
        if words.memory:
            print(json.dumps(memory(folder, words.memory)))
            return
        print(f"texts: {standing() or 'invented words'}")
        held = [work(folder, words.steps) for name, work in parts.items() if words.only in (None, name)]
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
