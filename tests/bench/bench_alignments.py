"""ALIGNER: what its salience costs, and search by other alignments than the largest product.

Run: ``python tests/bench/bench_alignments.py [--work .bench/alignments] [--only PART]``; parts are salience,
search, pruned, adapt. The vectors are the states of untrained MiniLM by PCA to 128, 64 tokens a question and
256 a passage; training takes `bench_train`'s texts. Times are CPU seconds of one thread, taken in turn; those
of `adapt` are what it says. The rules:

- the exact solver on 64 texts of 256 tokens takes at most twice `torch.sort`'s time on them, and a training
  step with salience on both sides at most 1.15 times one without;
- a fast search by an alignment finds .99 of the exact one's ten hits, by top-4 at no less than half of
  top-1's speed, by the others at no less than a quarter;
- an index that keeps a fifth of the tokens, by a salience that is drawn, takes at most a quarter of the bytes
  (beside the embeddings, which stay) and, searched with `rescore=kept`, is at least twice as fast;
- `adapt` with its whole grid searches at most 1.5 times as long as with top-1 alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from bench_reatt import stepping, turns
from bench_tokens import DATA, ROOT, Hits, Timed, build, dretrieve, held, measured, overlap, say, timed
from bench_train import standing, training_set

from dretrieve.index.exact import ExactOptions
from dretrieve.index.token import open_index
from dretrieve.index.top_k import TopK
from dretrieve.models.aligner import Aligner
from dretrieve.models.aligner_config import AlignerConfig
from dretrieve.models.model_folder import save_model
from dretrieve.models.salience import exact
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import manifest_path, provenance_path
from dretrieve.training.batches import Choosing
from dretrieve.training.pieces import CPU_OVERHEAD, Feed, StepOptions
from dretrieve.training.processes import Processes
from dretrieve.types import Vectors

LENGTHS = {"query_max_len": 64, "passage_max_len": 256}
TEXTS, TOKENS, SHARE, EPSILON = 64, 256, 0.4, 0.002
BATCH, STEPS = 16, 5
SPEEDS = {"top4": 2.0, "p1.5": 4.0, "da,k=1,eps=0.05": 4.0}  # times what top-1 takes, at most
OVERLAP, QUESTIONS, HITS = 0.99, 300, 10
KEPT, BYTES, FASTER = 0.2, 0.25, 2.0
GRID = 1.5
OPTIONS = StepOptions(
    seed=1, precision="fp32", cache_tokens=0, overhead=CPU_OVERHEAD, pad={"query": 0, "passage": 0}
)


def at_most(name: str, ratio: float, limit: float) -> bool:
    """Print a row whose ratio is to stay below a limit; return whether it does."""
    say(name, f"{ratio:8.2f} x, at most {limit:g} x", held(ratio <= limit))
    return ratio <= limit


def model(work: Path, salience: str) -> Path:
    """Return the folder of an ALIGNER that nothing has trained, written once."""
    folder = work / f"model-{salience}"
    if not (folder / "card.json").exists():  # which is written last
        torch.manual_seed(1)
        method = Aligner.build(AlignerConfig(salience=salience, **LENGTHS), str(work / "states"))
        for name, weights in method.named_parameters():
            if name.endswith("salience.score.weight"):
                torch.nn.init.normal_(weights, std=0.1)
        save_model(method, folder)
    return folder


def embedded(work: Path, data: Path, name: str, salience: str) -> tuple[Path, Vectors]:
    """Return the vectors of a collection's passages, and those of some of its questions."""
    places = {side: work / f"{side}-{name}-{salience}" for side in ("corpus", "queries")}
    for side, spec in (("corpus", data / name), ("queries", f"{data / name}:test")):
        dretrieve("encode", "--model", model(work, salience), f"--{side}", spec, "--output", places[side])
    every = Embeddings.open(places["queries"]).all_vectors()
    rows = np.unique(np.arange(QUESTIONS) * len(every) // QUESTIONS)
    return places["corpus"], every.take(rows)


def finding(index: Path, queries: Vectors, **settings: object) -> Callable[[], Hits]:
    """Return what searches an index with such settings."""
    found = open_index(index, settings=settings)

    def find() -> Hits:
        kept, whole = TopK.empty(len(queries), HITS), (0, found.passages.rows)
        found.search(queries, kept, whole, ExactOptions())
        return [rows.tolist() for rows, _ in kept.best_first(found.passages.ranks)]

    return find


def in_turn(ways: dict[str, Callable[[], Hits]], rounds: int) -> dict[str, Timed]:
    """Return the median of each way's rounds."""
    return timed({name: lambda find=find: measured(find) for name, find in ways.items()}, rounds)


def salience(given: argparse.Namespace) -> bool:
    """Compare the solver with a sort, and training steps; return whether the rules hold."""
    scores = torch.randn(TEXTS, TOKENS, generator=torch.Generator().manual_seed(1))
    k = torch.full((TEXTS,), int(SHARE * TOKENS))

    def often(work: Callable[[], object]) -> None:
        for _ in range(50):
            work()

    with torch.no_grad():
        own, other = turns(
            lambda _: often(lambda: exact(scores, k, EPSILON)),
            lambda _: often(lambda: scores.sort(dim=1, descending=True)),
            over=range(given.rounds),
        )
    holds = at_most("the solver beside torch.sort", own / other, 2.0)
    choosing, data = Choosing(negatives=1, positives="first", seed=1), training_set(BATCH * STEPS, standing())
    feed = Feed([data], BATCH, choosing, OPTIONS, Processes(), cut="sides")
    batches, works = [feed.make(step) for step in range(STEPS)], []
    for rule in ("entropy", "none"):
        torch.manual_seed(1)
        method = Aligner.build(AlignerConfig(salience=rule, **LENGTHS), str(given.work / "states")).train()
        works.append(stepping(method, OPTIONS))
    own, other = turns(*works, over=batches)
    return at_most("a step with salience beside one without", own / other, 1.15) and holds


def search(given: argparse.Namespace) -> bool:
    """Compare alignments; return whether the rules hold."""
    holds = True
    for name in given.collections:
        passages, queries = embedded(given.work, given.data, name, "none")
        index = given.work / f"index-{name}"
        build(passages, index)
        words = ("top1", *SPEEDS)
        found = in_turn({word: finding(index, queries, alignment=word) for word in words}, given.rounds)
        print(f"{name}: {len(queries)} questions of {len(queries.values) / len(queries):.1f} tokens")
        for word in words:
            one = found[word]
            share = overlap(one.hits, finding(index, queries, alignment=word, mode="exact")())
            say(
                word,
                f"{len(queries) / one.cpu:8.1f} queries/CPU s, overlap {share:.3f}",
                held(share >= OVERLAP),
            )
            holds &= share >= OVERLAP
            if word in SPEEDS:
                holds &= at_most(f"{word} beside top-1", one.cpu / found["top1"].cpu, SPEEDS[word])
    return holds


def pruned(given: argparse.Namespace) -> bool:
    """Compare an index that keeps a fifth of the tokens; return whether the rules hold."""
    passages, queries = embedded(given.work, given.data, given.collections[0], "entropy")
    indexes = {keep: given.work / f"kept-{keep}" for keep in (1, KEPT)}
    for keep, index in indexes.items():
        build(passages, index, **({} if keep == 1 else {"keep": keep}))
    sizes = [sum(file.stat().st_size for file in index.iterdir()) for index in indexes.values()]
    ways = {"all": finding(indexes[1], queries), "kept": finding(indexes[KEPT], queries, rescore="kept")}
    found = in_turn(ways, given.rounds)
    holds = at_most(f"bytes of an index that keeps {KEPT:g}", sizes[1] / sizes[0], BYTES)
    return (
        at_most("its search beside the whole one's", found["kept"].cpu / found["all"].cpu, 1 / FASTER)
        and holds
    )


def adapt(given: argparse.Namespace) -> bool:
    """Compare a whole grid with top-1 alone; return whether the rule holds."""
    name, seconds = given.collections[0], {"k=1": list[float](), "": list[float]()}
    passages, _ = embedded(given.work, given.data, name, "none")
    output = given.work / "adapt.json"
    details = provenance_path(manifest_path(output))
    words = ("--index", passages, "--query-embeddings", given.work / f"queries-{name}-none")
    words += ("--qrels", f"{given.data / name}:test", "--output", output, "--force")
    for _ in range(given.rounds):
        for grid, found in seconds.items():
            dretrieve("adapt", *words, *(("--grid", grid) if grid else ()))
            found.append(json.loads(details.read_text())["details"]["search_seconds"])
    whole, one = (float(np.median(seconds[grid])) for grid in ("", "k=1"))
    return at_most("the whole grid of adapt beside top-1", whole / one, GRID)


def main() -> None:
    parts = {"salience": salience, "search": search, "pruned": pruned, "adapt": adapt}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".bench" / "alignments")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--collections", nargs="+", default=["scifact", "nfcorpus", "arguana"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=tuple(parts))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    lengths = [word for name, value in LENGTHS.items() for word in (f"--{name.replace('_', '-')}", value)]
    texts = given.data / given.collections[0]
    words = ("minilm", "--pooling", "tokens", "--dim", 128, "--pca", texts, *lengths)
    dretrieve("convert", *words, "--output", given.work / "states")
    sys.exit(not all([work(given) for name, work in parts.items() if given.only in (None, name)]))


if __name__ == "__main__":
    main()
