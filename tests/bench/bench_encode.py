"""Encoding MiniLM against sentence-transformers and a plain loop on one device: same texts, turn by turn.

Run: ``python tests/bench/bench_encode.py [--device cuda --corpus DIR --rows 512 --rounds 5 --threads N]``.
Every way starts from strings and ends with vectors in memory: tokenising, sorting and padding are in the
time. The texts are real: by default documentation of the running Python's standard library, evenly spread.
Beside each speed stands its quality: the lowest cosine to sentence-transformers in float32. The row in bf16
is left out where the processor does not multiply it (it takes thirty times as long there); the gates are of
one that does. The last line is of a vector for each token (128 numbers, untrained) beside one a text, both
written to disk by ``encode``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

OURS = "dretrieve"
# Contestant -> least ratio of our speed to its, on a CPU.
GATES = {
    "sentence-transformers": 3.5,
    "sentence-transformers bf16, sorted": 1.2,
    "loop, batch 8, unsorted": 5.0,
}
LEAST_COSINE = 0.999
MOST_FOR_TOKENS = 1.15  # times one vector a text


def arguments() -> argparse.Namespace:
    """Return the command line's values; the threads are set before torch is loaded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", help="a collection; by default Python's documentation is prepared")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(given.threads)
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1"}
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    return given


def sample(corpus: str | None, rows: int) -> list:
    """Return records evenly spread over the collection."""
    import numpy as np

    from dretrieve.jobs import prepare
    from dretrieve.text.collection import Collection

    with tempfile.TemporaryDirectory() as folder:
        if corpus is None:
            corpus = str(Path(folder) / "pydocs")
            prepare.run(prepare.PrepareConfig(source="pydocs", output=Path(corpus)))
        store = Collection.open(corpus).corpus()
        chosen = np.unique(np.linspace(0, len(store) - 1, rows).astype(int)).tolist()
        return [store.records(row, row + 1)[0] for row in chosen]


def contestants(precision: str, device: str, records: list) -> dict[str, Callable]:
    """Return each way from records to vectors."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    from dretrieve.encoding.numerics import cpu_has_bf16, resolve_precision
    from dretrieve.encoding.pipeline import encode_records
    from dretrieve.models.loading import load_model
    from dretrieve.models.places import find_model

    folder = str(find_model("minilm"))
    ours = load_model("minilm", device, resolve_precision(precision, device))
    plain = SentenceTransformer(folder, device=device)
    half = SentenceTransformer(folder, device=device, model_kwargs={"dtype": torch.bfloat16})
    tokenizer, module = (
        AutoTokenizer.from_pretrained(folder),
        AutoModel.from_pretrained(folder).eval().to(device),
    )
    texts = [f"{record.title} {record.text}".strip() for record in records]

    def loop(part: slice) -> torch.Tensor:
        found = []
        with torch.inference_mode():
            for start in range(0, len(texts[part]), 8):
                batch = texts[part][start : start + 8]
                tokens = tokenizer(
                    batch, padding=True, truncation=True, max_length=256, return_tensors="pt"
                ).to(device)
                states = module(**tokens).last_hidden_state
                mask = tokens["attention_mask"].unsqueeze(-1)
                found.append(torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1))
        return torch.cat(found).cpu()

    ways = {
        OURS: lambda part: encode_records(ours, "passage", records[part]).values,
        "sentence-transformers": lambda part: plain.encode(texts[part], batch_size=32),
        "sentence-transformers bf16, sorted": lambda part: half.encode(texts[part], batch_size=32),
        "loop, batch 8, unsorted": loop,
    }
    if device == "cpu" and not cpu_has_bf16():
        del ways["sentence-transformers bf16, sorted"]
    return ways


def written(model: Any, records: list) -> None:
    """Encode the records and write their embeddings."""
    from dretrieve.encoding.pipeline import encode_chunks
    from dretrieve.store.embeddings import EmbeddingPlan
    from dretrieve.store.shard_writer import ShardWriter
    from dretrieve.store.shards import shard_rows

    shard = shard_rows(len(records), 0, 1)
    chunks = [records[start:stop] for start, stop in shard.chunks()]
    plan = EmbeddingPlan(
        side="passage",
        vectors=model.card.vectors,
        dtype="float16",
        options={},
        inputs={"collection": "bench", "passage_model": "bench"},
    )
    with tempfile.TemporaryDirectory() as folder:
        writer = ShardWriter(Path(folder), shard, plan)
        found = encode_chunks(model, "passage", [partial(list, of) for of in chunks])
        for texts, chunk in zip(chunks, found, strict=True):
            writer.write([record.id for record in texts], chunk.vectors)
        writer.commit({})


def tokens_cost(given: argparse.Namespace, records: list) -> float:
    """Print how long a vector for each token takes beside one a text; return the ratio of their times."""
    from dretrieve.encoding.numerics import resolve_precision
    from dretrieve.models.colbert import Colbert
    from dretrieve.models.colbert_config import ColbertConfig
    from dretrieve.models.loading import load_model
    from dretrieve.models.model_folder import save_model

    precision = resolve_precision(given.precision, given.device)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Colbert.build(ColbertConfig(), "minilm"), Path(folder) / "colbert", {})
        models = [load_model(name, given.device, precision) for name in ("minilm", f"{folder}/colbert")]
    rounds = []
    for number in range(-1, given.rounds):
        taken = []
        for model in models:
            began = time.perf_counter(), time.process_time()
            written(model, records if number >= 0 else records[:32])
            taken += [time.perf_counter() - began[0], time.process_time() - began[1]]
        rounds += [taken] if number >= 0 else []
    one, many = (statistics.median(taken[place] for taken in rounds) for place in (0, 2))
    ratio, busy = (statistics.median(of[place + 2] / of[place] for of in rounds) for place in (0, 1))
    print(
        f"written: one vector a text {len(records) / one:.1f} texts/s, one a token "
        f"{len(records) / many:.1f}: {ratio:.3f} x the time, at most {MOST_FOR_TOKENS}; "
        f"{busy:.3f} x the CPU time"
    )
    return ratio


def main() -> int:
    """Print the table; return 1 if a gate is missed."""
    given = arguments()
    import numpy as np
    import torch

    torch.set_num_threads(given.threads)
    records = sample(given.corpus, given.rows)
    ways = contestants(given.precision, given.device, records)
    everything = slice(None)
    vectors = {}
    for name, way in ways.items():
        way(slice(0, 32))
        vectors[name] = np.asarray(way(everything), dtype=np.float32)
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            began = time.perf_counter(), time.process_time()
            way(everything)
            wall[name].append(time.perf_counter() - began[0])
            cpu[name].append(time.process_time() - began[1])
    truth = vectors["sentence-transformers"]
    print(f"{len(records)} texts, {given.device}, {given.threads} threads, median of {given.rounds} rounds")
    print(f"{'':<36} {'texts/s':>8} {'per CPU s':>9} {'ours is x':>9} {'gate':>5} {'cosine':>8}")
    missed: list[str] = []
    gates = GATES if given.device == "cpu" else {}
    for name in ways:
        seconds, busy = statistics.median(wall[name]), statistics.median(cpu[name])
        ratio = statistics.median(theirs / mine for theirs, mine in zip(wall[name], wall[OURS], strict=True))
        norms = np.linalg.norm(vectors[name], axis=1) * np.linalg.norm(truth, axis=1)
        cosine = float(((vectors[name] * truth).sum(axis=1) / norms).min())
        gate = f"{gates[name]:.1f}" if name in gates else ""
        rates = f"{len(records) / seconds:>8.1f} {len(records) / busy:>9.1f}"
        print(f"{name:<36} {rates} {ratio:>9.2f} {gate:>5} {cosine:>8.5f}")
        missed += [name] if name in gates and ratio < gates[name] else []
        missed += ["cosine"] if name == OURS and cosine < LEAST_COSINE else []
    if tokens_cost(given, records) > MOST_FOR_TOKENS and gates:
        missed.append("a vector for each token")
    print("all gates passed" if not missed else f"below the gate: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
