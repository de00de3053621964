"""A step of `reatt` beside a fusion in the decoder by transformers alone, with the same two losses.

Run: ``python tests/bench/bench_reatt.py [--steps 4]``.
8 questions, 8 passages each, a T5 of 4 + 4 layers, 256 wide, in float32 on one thread; texts as
`bench_train` has them. The other loop pads every pair to the longest of the batch, and hears queries, keys,
and what the decoder looks at, by hooks. First both compute one batch with B = 0, where their losses must
agree; then steps are timed in turn, in CPU seconds, ours with B = 2. The rule: at least 1.5 times the steps.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from bench_train import standing, texts
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import T5Config, T5ForConditionalGeneration

from dretrieve.models.places import find_model
from dretrieve.models.reatt import Reatt
from dretrieve.models.reatt_config import ReattConfig
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.training.batches import Choosing
from dretrieve.training.pieces import CPU_OVERHEAD, Feed, Prepared, StepOptions
from dretrieve.training.processes import Processes
from dretrieve.training.sets import Ragged, TrainingSet, tokenise
from dretrieve.training.step import Stepper
from dretrieve.types import Record

QUESTIONS, CLOSE, HEADS, WIDTH, END = 8, 8, 4, 256, 102  # the last is [SEP], which ends MiniLM's texts
CPU = torch.device("cpu")


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


def training_set(method: Reatt, folder: Path, batches: int) -> TrainingSet:
    """Return questions with passages of their own, and answers."""
    number = QUESTIONS * batches
    passages = texts(number * CLOSE // 2, standing())[1]
    queries = texts(number, standing())[0]
    cards = method.card()
    asked = tokenise(queries, SideTokenizer.open(folder, cards.query))
    told = tokenise(passages, SideTokenizer.open(folder, cards.passage))
    answers = [(" ".join(of.text.split()[:2]),) for of in queries]
    return TrainingSet(
        name="bench",
        positives=Ragged.of([[]] * number),
        negatives=Ragged.of([[]] * number),
        queries=type(asked)(asked.ids, asked.offsets, [of.id for of in queries], {"answers": answers}),
        passages=told,
        close=Ragged.of([range(row * CLOSE, (row + 1) * CLOSE) for row in range(number)]),
    )


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


def main() -> None:
    """Measure and print; exit 1 when the rule is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    options = StepOptions(
        seed=1, precision="fp32", cache_tokens=0, overhead=CPU_OVERHEAD, pad={"query": 0, "passage": 0}
    )
    with tempfile.TemporaryDirectory() as place:
        folder = write_backbone(Path(place))
        whole, method = built(folder, 0), built(folder, 2)
        data = training_set(method, folder, steps)
        choosing = Choosing(negatives=0, positives="first", seed=1)
        feed = Feed([data], QUESTIONS, choosing, options, Processes(), cut="queries")
        batches = [feed.make(step) for step in range(steps)]
        mine = float(Stepper(whole, Processes(), options, CPU).run(batches[0]).loss)
        difference = abs(mine - Theirs(folder, whole, 0).step(batches[0])) / mine
        stepper, peer, pairs = Stepper(method, Processes(), options, CPU), Theirs(folder, method, 2), []
        for made in batches:
            began = time.process_time()
            stepper.run(made)
            method.zero_grad(set_to_none=True)
            between = time.process_time()
            peer.step(made)
            pairs.append((between - began, time.process_time() - between))
    own, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"reatt, {QUESTIONS} questions x {CLOSE} passages; texts: {standing() or 'invented words'}")
    print(f"CPU seconds a step: ours {own:.2f}   fusion in the decoder by transformers {other:.2f}")
    print(f"ratio {other / own:.2f} (rule: at least 1.5); with B = 0 the losses differ by {difference:.1e}")
    if other / own < 1.5 or difference > 1e-4:
        sys.exit(1)


if __name__ == "__main__":
    main()
