"""Training `shared` beside a loop in Tevatron's way: same weights, batches, precision, optimizer, threads.

Run: ``python tests/bench/bench_train.py [--device cuda] [--precision bf16] [--steps 6] [--batch 32]``.
The other loop pads each side to its longest text, keeps the order of the batch, and runs a forward for
queries and another for passages (tevatron/retriever: collator.py, modeling/encoder.py). Both get token ids
made beforehand, which favours it: Tevatron tokenises in the loop. Texts: ``squad`` of the real collections
where it stands, else invented words with lengths like its own; the second line says which.
First both train some steps without dropout, where their losses must agree; then the steps with dropout are
timed in turn, in CPU seconds, or seconds of a GPU that is waited for. The rule: on a CPU at least 1.5 times
the examples a second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from dretrieve.errors import PreconditionError  # noqa: E402
from dretrieve.models.loading import open_tokenizer  # noqa: E402
from dretrieve.models.places import find_model  # noqa: E402
from dretrieve.models.shared import Shared  # noqa: E402
from dretrieve.models.shared_config import SharedConfig  # noqa: E402
from dretrieve.text.collection import Collection  # noqa: E402
from dretrieve.training.batches import Choosing  # noqa: E402
from dretrieve.training.pieces import (  # noqa: E402
    CPU_OVERHEAD,
    GPU_OVERHEAD,
    Feed,
    Prepared,
    StepOptions,
)
from dretrieve.training.processes import Processes  # noqa: E402
from dretrieve.training.sets import Ragged, TrainingSet, tokenise  # noqa: E402
from dretrieve.training.step import Stepper  # noqa: E402
from dretrieve.types import Record  # noqa: E402

TEMPERATURE = 0.05
CLIP = 1.0
RATE = 2e-5


def standing() -> Path | None:
    """Return where ``squad`` stands, as the tests look for it; None where it does not."""
    for folder in (ROOT.parent / "shared" / "data", Path(os.environ.get("DRETRIEVE_DATA", "/nowhere"))):
        if (folder / "squad").is_dir():
            return folder / "squad"
    return None


def texts(number: int, collection: Path | None) -> tuple[list[Record], list[Record]]:
    """Return queries, and twice as many passages: query i belongs to passage i.

    Args:
        number: of queries.
        collection: whose passages are taken, and some words of each as its query; None: invented words.

    Raises:
        PreconditionError: the collection has too few passages.
    """
    chance = np.random.default_rng(1)
    if collection is not None:
        corpus = Collection.open(str(collection)).corpus()
        if len(corpus) < 2 * number:
            raise PreconditionError(f"{collection} has {len(corpus):,} passages; {2 * number:,} are needed")
        passages = [corpus.record(int(row)) for row in chance.permutation(len(corpus))[: 2 * number]]
        return [Record(p.id, "", " ".join(p.text.split()[3:14])) for p in passages[:number]], passages
    words = [f"{a}{b}" for a in "bcdfghklmnprst" for b in ("ak", "elo", "in", "ort", "um")]

    def some(count: int) -> str:
        return " ".join(chance.choice(words, count))

    lengths = np.clip(chance.lognormal(4.3, 0.45, 2 * number), 15, 200).astype(int)
    passages = [Record(str(row), "", some(length)) for row, length in enumerate(lengths)]
    return [Record(str(row), "", some(int(chance.integers(4, 12)))) for row in range(number)], passages


def training_set(number: int, collection: Path | None) -> TrainingSet:
    """Return examples with one hard negative each; no passage stands in two of them."""
    queries, passages = texts(number, collection)
    folder = find_model("minilm")
    card = Shared.build(SharedConfig(), "minilm").card()
    return TrainingSet(
        name="bench",
        positives=Ragged.of([[row] for row in range(number)]),
        negatives=Ragged.of([[number + row] for row in range(number)]),
        queries=tokenise(queries, open_tokenizer(folder, card.query)),
        passages=tokenise(passages, open_tokenizer(folder, card.passage)),
    )


def build(dropout: float, device: str) -> tuple[Shared, torch.optim.Optimizer]:
    """Return a model in training mode and its optimizer."""
    method = Shared.build(SharedConfig(), "minilm")
    for part in method.modules():
        if isinstance(part, nn.Dropout):
            part.p = dropout
        if hasattr(part, "dropout_prob"):
            part.dropout_prob = dropout
    method.encoder.backbone.config.attention_probs_dropout_prob = dropout
    method.to(device).train()
    return method, torch.optim.AdamW(method.parameters(), lr=RATE, weight_decay=0.0, fused=True)


def ours(method: Shared, optimizer: torch.optim.Optimizer, stepper: Stepper, prepared: Prepared) -> float:
    """Do one step our way."""
    loss = stepper.run(prepared).loss
    nn.utils.clip_grad_norm_(method.parameters(), CLIP)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss)


def theirs(method: Shared, optimizer: torch.optim.Optimizer, prepared: Prepared, precision: str) -> float:
    """Do one step in Tevatron's way."""
    device = next(method.parameters()).device
    batch, data = prepared.batch, prepared.batch.training_set
    sides = [data.queries.batch(batch.query_rows, pad=0), data.passages.batch(batch.passage_rows, pad=0)]
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        query, passage = (method.encoder(side.to(device)).float() for side in sides)
    loss = functional.cross_entropy(
        query @ passage.T / TEMPERATURE, torch.from_numpy(batch.positives).to(device)
    )
    loss.backward()
    nn.utils.clip_grad_norm_(method.parameters(), CLIP)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def main() -> None:
    """Measure and print; exit 1 when the rule is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    collection = standing()
    data = training_set(arguments.batch * (arguments.steps + 1), collection)
    pad = {"query": 0, "passage": 0}
    overhead = CPU_OVERHEAD if arguments.device == "cpu" else GPU_OVERHEAD
    options = StepOptions(seed=1, precision=arguments.precision, cache_tokens=0, overhead=overhead, pad=pad)
    choosing = Choosing(negatives=1, positives="first", seed=1)
    feed = Feed([data], arguments.batch, choosing, options, Processes(), cut="both")
    batches = [feed.make(step) for step in range(arguments.steps)]
    batch = arguments.batch
    print(f"shared on MiniLM, {batch} queries + {2 * batch} passages, {arguments.precision}")
    print(f"texts: {collection or 'invented words'}")
    counts = [token_counts(made) for made in batches]
    real, pieces, whole = (statistics.mean(column) for column in zip(*counts, strict=True))
    print(f"tokens a step: {real:,.0f} real, {pieces:,.0f} in our pieces, {whole:,.0f} in Tevatron's way")
    worst = compare_losses(batches[:3], options, arguments)
    pairs = time_steps(batches, options, arguments)
    own, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"examples per second: ours {batch / own:.1f}   Tevatron's way {batch / peer:.1f}")
    print(f"ratio {peer / own:.2f} (rule on a CPU: at least 1.5); largest difference of losses {worst:.1e}")
    if (arguments.device == "cpu" and peer / own < 1.5) or worst > (
        1e-3 if arguments.precision == "fp32" else 5e-2
    ):
        sys.exit(1)


def token_counts(made: Prepared) -> tuple[int, int, int]:
    """Return a step's real tokens, those with the padding of our pieces, those padded to the longest."""
    sides = [of for pair in made.pieces for of in pair if of is not None]
    data = made.batch.training_set
    whole = [
        data.queries.batch(made.batch.query_rows, pad=0),
        data.passages.batch(made.batch.passage_rows, pad=0),
    ]
    real = sum(int(of.mask.sum()) for of in sides)
    return real, sum(of.mask.numel() for of in sides), sum(of.mask.numel() for of in whole)


def compare_losses(batches: list[Prepared], options: StepOptions, given: argparse.Namespace) -> float:
    """Train both ways without dropout; return the largest difference of a step's losses."""
    mine, peer = build(0.0, given.device), build(0.0, given.device)
    stepper = Stepper(mine[0], Processes(), options, torch.device(given.device))
    worst = 0.0
    for made in batches:
        pair = ours(*mine, stepper, made), theirs(*peer, made, given.precision)
        worst = max(worst, abs(pair[0] - pair[1]))
    return worst


def time_steps(
    batches: list[Prepared], options: StepOptions, given: argparse.Namespace
) -> list[tuple[float, float]]:
    """Return the seconds of each step but the first, ours and the other way, taken in turn."""
    mine, peer = build(0.1, given.device), build(0.1, given.device)
    stepper = Stepper(mine[0], Processes(), options, torch.device(given.device))
    pairs = []
    for made in batches:
        began = clock(given.device)
        ours(*mine, stepper, made)
        between = clock(given.device)
        theirs(*peer, made, given.precision)
        pairs.append((between - began, clock(given.device) - between))
    return pairs[1:]


def clock(device: str) -> float:
    """Return seconds: this process's on a CPU, the wall's on a GPU that has done its work."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
