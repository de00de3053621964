"""What the block of `sb-moe` costs on MiniLM: beside its encoder, and alone on vectors computed before.

Run: ``python tests/bench/bench_sb_moe.py [--rounds 9]``. CPU seconds of one thread; six experts. Encoding is
timed on batches of 16 texts of 128 tokens, the encoder and the block in turn: the block may add 1 %. On
vectors: 400 steps of 64 questions with all experts (``--gate soft``) at most 10 s, and
``encode --embeddings`` of 20,000 with all experts at most 3 s, the start of Python apart. What the
block adds to a step of training with its encoder says bench_taser.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from dretrieve.jobs import encode, train
from dretrieve.models.base import TokenBatch
from dretrieve.models.cards import read_card
from dretrieve.models.loading import fresh, ready
from dretrieve.models.places import find_model
from dretrieve.models.sb_moe_config import SbMoeConfig
from dretrieve.store.embeddings import EmbeddingPlan
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import Shard
from dretrieve.text.collection import Collection
from dretrieve.training.options import TrainOptions
from dretrieve.types import Vectors

TEXTS, TOKENS = 16, 128
PASSAGES, QUERIES, STEPS = 20_000, 5_000, 400
MOST = {"encoding": 1.01, "training on vectors": 10.0, "encoding vectors": 3.0}


def spent(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def encoding(rounds: int) -> float:
    """Return the median over the rounds of a batch's time with the block divided by the time without."""
    method = fresh("sb_moe", SbMoeConfig(), "minilm", 1)
    ready(method, torch.device("cpu"), torch.float32)
    ids = torch.randint(1000, 20000, (TEXTS, TOKENS), generator=torch.Generator().manual_seed(1))
    batch = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool), tuple(map(str, range(TEXTS))))
    found = []
    with torch.inference_mode():
        for _ in range(rounds + 1):
            plain = spent(lambda: method.encoder(batch))
            vectors = method.encoder(batch)
            found.append(1 + spent(lambda of=vectors: method.mixed(of, "passage", batch.text_ids)) / plain)
    return statistics.median(found[1:])


def collection(folder: Path) -> Path:
    """Write a collection and vectors of unit length in the names of MiniLM's."""
    (folder / "qrels").mkdir(parents=True)
    for name, ids in (("corpus", range(PASSAGES)), ("queries", range(QUERIES))):
        lines = (f'{{"_id": "{row}", "title": "", "text": "text {row}"}}\n' for row in ids)
        (folder / f"{name}.jsonl").write_text("".join(lines))
    judged = "".join(f"{row}\t{row}\t1\n" for row in range(QUERIES))
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    card, _ = read_card(find_model("minilm"))
    random = np.random.default_rng(1)
    sides = (Collection.open(str(folder), "corpus").corpus(), Collection.open(f"{folder}:train").queries())
    for side, of in zip(("passage", "query"), sides, strict=True):
        inputs = {f"{name}_model": card.fingerprint(name) for name in ("passage", side)}
        plan = EmbeddingPlan(
            side=side,
            vectors=card.vectors,
            dtype="float16",
            options={"precision": "fp32"},
            inputs=inputs | {"collection": of.sha256},
        )
        writer = ShardWriter(
            folder / side, Shard(index=0, count=1, start=0, stop=len(of), total=len(of)), plan
        )
        for start, stop in writer.shard.chunks():
            drawn = random.standard_normal((stop - start, card.vectors.dim), np.float32)
            writer.write(of.ids(start, stop), Vectors(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)))
        writer.commit({"rows": len(of)})
    return folder


def on_vectors(folder: Path) -> tuple[float, float]:
    """Return the seconds of the training and of the encoding."""
    data = collection(folder / "data")
    given = f"path={data},split=train,query_vectors={data / 'query'},passage_vectors={data / 'passage'}"
    config = train.TrainConfig(
        method="sb_moe",
        method_config=SbMoeConfig(gate="soft", encoder_scale=0.0),
        backbone="minilm",
        data=(given,),
        output=folder / "model",
        options=TrainOptions(
            max_steps=STEPS,
            per_device_train_batch_size=64,
            train_group_size=1,
            learning_rate=1e-4,
            device="cpu",
        ),
    )
    words = {"model": str(folder / "model"), "embeddings": data / "passage", "output": folder / "vectors"}
    trained = spent(lambda: train.run(config))
    return trained, spent(lambda: encode.run(encode.EncodeConfig(**words, device="cpu")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = (encoding(parser.parse_args().rounds), *on_vectors(folder))
    for (name, most), value in zip(MOST.items(), found, strict=True):
        print(f"{name:20} {value:7.3f}   rule: at most {most}")
    if any(value > most for value, most in zip(found, MOST.values(), strict=True)):
        sys.exit(1)


if __name__ == "__main__":
    main()
