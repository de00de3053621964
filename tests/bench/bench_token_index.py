"""What an index of token vectors costs: building, bytes beside quality, rescoring, starting, growing.

Run: ``python tests/bench/bench_token_index.py [--work .bench/tokens] [--scale 2 10]``. The vectors are those
of `bench_tokens.py`, in its folder, one thread; those of the growing index are made from parts of them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_memory import peak_mb
from bench_tokens import (
    DATA,
    ENVIRONMENT,
    PLAIN_QUERIES,
    TARGET,
    WORK,
    build,
    embed,
    encoded,
    held,
    joined,
    measured,
    ours,
    say,
    timed,
    times,
    tokens_of,
    written,
)

from dretrieve.index.exact import ExactOptions
from dretrieve.index.token import open_index
from dretrieve.index.token_tuning import choose
from dretrieve.index.top_k import TopK
from dretrieve.kernels.token_search import Counts
from dretrieve.metrics.judged import judge
from dretrieve.metrics.registry import parse_measures
from dretrieve.store.embeddings import Embeddings
from dretrieve.text.collection import Collection
from dretrieve.types import Qrels, Run, Vectors, offsets_of

BUILT_TOKENS, BUILD_CPU_S = 490_000, 367 / 30
"""xtr-warp-rs 2.1 took 367 CPU s for as many real tokens on this kind of machine; a thirtieth is the gate."""
LARGEST_MB, LARGEST_S = 2000.0, 600.0
SCALE_GATE, EXACT_GATE = 0.4, 30.0
# generated passages: tokens of each of their two parts, length of the noise beside a token's; questions
PART, NOISE, ASKED = 64, 0.3, 300
# bits: bytes a token at most, nDCG@10 below that of the exact search at most
SIZES = {8: (150.0, 0.005), 4: (70.0, 0.005), 2: (36.0, 0.01)}
JUDGED = 300
RESCORED, QUESTION, LENGTH, DIM, TIMES_TORCH = 1000, 32, 180, 128, 2.0
STARTED_S = 2.0


def most(name: str, value: float, unit: str, limit: float) -> None:
    """Print a row that is to stay below a limit."""
    say(name, f"{value:8.2f} {unit}, at most {limit:.4g}", held(value <= limit))


def bytes_a_token(index: Path) -> float:
    """Return the size of an index by its tokens."""
    return sum(file.stat().st_size for file in index.iterdir()) / tokens_of(open_index(index))


def built_part(work: Path, passages: Path) -> None:
    """Print what building an index of the first passages takes."""
    every = Embeddings.open(passages).all_vectors()
    assert every.offsets is not None
    rows = int(np.searchsorted(every.offsets, BUILT_TOKENS, side="right")) - 1
    written(work / "part", "passage", rows, lambda start, stop: every[start:stop])
    seconds = build(work / "part", work / "part-index")
    most(f"build, {every.offsets[rows]:,} tokens", seconds, "CPU s", BUILD_CPU_S)


def quality(index: Path, questions: Embeddings, qrels: Qrels, mode: str) -> float:
    """Return nDCG@10 of some questions of a collection."""
    found = open_index(index, settings={"mode": mode})
    ids, every = questions.ids(), questions.all_vectors()
    rows = np.unique(np.arange(JUDGED) * len(ids) // JUDGED)
    names, hits, scores = found.passages.every_id(), [], []
    kept = TopK.empty(len(rows), 10 if set(ids).isdisjoint(names) else 11)
    found.search(every.take(rows), kept, (0, found.passages.rows), ExactOptions())
    for row, (places, values) in zip(rows.tolist(), kept.best_first(found.passages.ranks), strict=True):
        other = [place for place in range(len(places)) if names[places[place]] != ids[row]]
        hits.append(places[other])
        scores.append(values[other])
    offsets = offsets_of(np.array([len(one) for one in hits]))
    asked = [ids[row] for row in rows.tolist()]
    run = Run(asked, names, offsets, np.concatenate(hits).astype(np.int32), np.concatenate(scores))
    judged = judge(run, qrels)
    values = parse_measures("nDCG@10")[0].values(judged)
    return float(
        np.mean([value for one, value in zip(judged.query_ids, values, strict=True) if one in asked])
    )


def sizes(work: Path, data: Path, name: str) -> None:
    """Print bytes and quality of a collection's index that stands alone, by bits, beside the exact search."""
    index, passages = work / f"bits-{name}", work / f"passages-{name}"
    questions, qrels = Embeddings.open(work / f"questions-{name}"), Collection.open(data / name).qrels("test")
    exact = 0.0
    for bits, (limit, loss) in SIZES.items():
        if not exact:
            build(passages, index, bits=bits)
            exact = quality(index, questions, qrels, "exact")
            say(f"{name}, exact", f"nDCG@10 {exact:.4f}")
        build(passages, index, bits=bits, alone="true")
        most(f"{name}, {bits} bits", bytes_a_token(index), "bytes a token", limit)
        found = quality(index, questions, qrels, "fast")
        text = f"nDCG@10 {found:.4f}, less by {loss:g} at most"
        say(f"{name}, {bits} bits", text, held(found >= exact - loss))


def rescored(work: Path, rounds: int) -> None:
    """Print what the canonical scores of 1,000 passages take beside torch's product."""
    import torch

    chance = np.random.default_rng(1)
    passages, asked = (
        _unit(chance.standard_normal((count * length, DIM), np.float32), count)
        for count, length in ((RESCORED, LENGTH), (1, QUESTION))
    )
    written(work / "few", "passage", RESCORED, lambda start, stop: passages[start:stop])
    build(work / "few", work / "few-index")
    search = open_index(work / "few-index").by_codes
    assert search is not None
    every = Counts(0, RESCORED, RESCORED, RESCORED, 2.0)
    torch.set_num_threads(1)
    left, right = (
        torch.from_numpy(texts.values.astype(np.float32)).bfloat16() for texts in (passages, asked)
    )
    many = Vectors(np.tile(asked.values, (20, 1)), np.arange(21) * QUESTION)
    ways = {
        "ours": lambda: measured(lambda: ours(search, many, 10, every)),
        "torch": lambda: measured(lambda: [(left @ right.T)[:0].tolist() for _ in range(20)]),
    }
    found = {way: one.cpu / 20 for way, one in timed(ways, rounds).items()}
    say("torch's bf16 product", f"{1000 * found['torch']:8.2f} CPU ms")
    limit = 1000 * TIMES_TORCH * found["torch"]
    most(f"rescoring {RESCORED:,} passages", 1000 * found["ours"], "CPU ms", limit)


def started(work: Path, name: str) -> None:
    """Print what `search` takes beside the search itself, and whether it loads torch."""
    questions, index = work / f"questions-{name}", work / f"index-{name}"
    build(work / f"passages-{name}", index)
    fixed = ("-m", "dretrieve_cli", "search", "--index", index, "--query-embeddings", questions, "--hits", 10)
    words = [*map(str, fixed), "--output", str(work / "run.trec"), "--quiet", "--threads", "1", "--force"]

    def run(*options: str) -> str:
        command = [sys.executable, *options, *words]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stderr

    loaded = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in run("-X", "importtime").splitlines()
    }
    began = time.perf_counter()
    run()
    took = time.perf_counter() - began
    found, every = open_index(index), Embeddings.open(questions).all_vectors()
    whole = (0, found.passages.rows)
    began = time.perf_counter()
    found.search(every, TopK.empty(len(every), 10), whole, ExactOptions())
    inside = time.perf_counter() - began
    most("search, beside searching", took - inside, "s", STARTED_S)
    say("search, without torch", "", held("torch" not in loaded))


def joined_parts(real: Vectors, seed: int, count: int) -> Vectors:
    """Return passages of two parts of other ones, which a little noise makes vectors of their own.

    So they are as near to each other, and to real questions, as real ones are, however many are made.
    """
    chance, lengths, dim = np.random.default_rng(seed), np.diff(real.offsets), real.dim
    rows = chance.choice(np.flatnonzero(lengths >= PART), (count, 2))
    firsts = real.offsets[rows] + (chance.random(rows.shape) * (lengths[rows] - PART + 1)).astype(np.int64)
    places = (firsts[..., None] + np.arange(PART)).ravel()
    values = real.values[places] + NOISE * dim**-0.5 * chance.standard_normal((len(places), dim), np.float32)
    return _unit(values, count)


def _unit(values: np.ndarray, count: int) -> Vectors:
    """Return so many texts of equally many tokens."""
    unit = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)
    offsets = np.arange(count + 1, dtype=np.int64) * (len(unit) // count)
    return Vectors(unit, offsets, tokens=np.zeros(len(unit), np.int32))


def grown(folder: Path, name: str, rows: int, real: Vectors) -> None:
    """Print what building an index of generated passages takes."""
    written(folder, "passage", rows, lambda start, stop: joined_parts(real, start, stop - start))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    fixed = (
        "--embeddings",
        folder,
        "--type",
        "token",
        "--output",
        folder / "index",
        "--force",
        "--threads",
        2,
    )
    peak, seconds = peak_mb("index", *fixed)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    most(f"{name}, build, {spent:.0f} CPU s", peak, "MB", LARGEST_MB)
    most(f"{name}, build by two threads", seconds, "s", LARGEST_S)


def scaled(work: Path, passages: Path, questions: Path, sizes: Sequence[float], rounds: int) -> None:
    """Print how building and speed grow with the tokens."""
    speeds: list[float] = []
    of, asked = (Embeddings.open(folder).all_vectors() for folder in (passages, questions))
    real = replace(of, values=np.asarray(of.values))
    halves = [asked.take(np.arange(half, min(len(asked), ASKED), 2)) for half in range(2)]
    few = halves[1][:PLAIN_QUERIES]
    for millions in sizes:
        folder, name = work / f"generated-{millions:g}", f"{millions:g} million tokens"
        grown(folder, name, int(millions * 1e6 / (2 * PART)), real)
        search = open_index(folder / "index").by_codes
        assert search is not None
        counts, share = choose(search, halves, TARGET, ExactOptions(threads=2))[10]
        ways = {"fast": lambda s=search, c=counts: measured(lambda: ours(s, halves[1], 10, c))}
        speeds.append(len(halves[1]) / timed(ways, rounds)["fast"].cpu)
        exact = measured(lambda s=search: ours(s, few, 10)).cpu / len(few)
        text = f"{speeds[-1]:8.1f} queries/CPU s, overlap {share:.3f}"
        gate = EXACT_GATE if millions == max(sizes) else 0.0
        say(f"{name}, k 10, beside exact", text, times(gate, exact * speeds[-1]))
    if len(speeds) > 1:
        text = f"{sizes[-1]:g} million beside {sizes[0]:g}"
        say("queries/s as tokens grow", text, times(SCALE_GATE, speeds[-1] / speeds[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--collections", nargs="+", default=["scifact", "nfcorpus"], help="of the model")
    parser.add_argument("--judged", nargs="+", default=["scifact", "nfcorpus", "arguana"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, nargs="*", default=[2, 10], help="millions of tokens")
    given = parser.parse_args()
    encoded(given.work, given.data, given.collections)
    passages, index = joined(given.work, given.collections), given.work / "index"
    if not (index / "manifest.json").exists():
        build(passages, index)
    built_part(given.work, passages)
    rescored(given.work, given.rounds)
    started(given.work, given.collections[0])
    for name in given.judged:
        embed(given.work, given.data, name)
        sizes(given.work, given.data, name)
    scaled(given.work, passages, given.work / f"questions-{given.collections[0]}", given.scale, given.rounds)


if __name__ == "__main__":
    main()
