"""ALIGNER: what its salience costs, and search by other alignments than the largest product.

Run: ``python tests/bench/bench_alignments.py [--work .bench/alignments] [--only PART]``; parts are salience,
search, pruned, adapt; the latter two take the first collection alone. A small run is ``--collections
cranfield --rounds 1``; the whole takes about an hour on two cores without AVX-512, most of it encoding, which
stays in ``--work``, as do indexes. The vectors are the states of untrained MiniLM by PCA to 128, 64 tokens a
question and 256 a passage; training takes `bench_train`'s texts. Times are CPU seconds of one thread, taken
in turn; those of `adapt` are what it says. The rules:

- the exact solver on 64 texts of 256 tokens takes at most twice `torch.sort`'s time on them, and a training
  step with salience on both sides at most 1.15 times one without;
- a fast search by an alignment finds .99 of the exact one's ten hits, by top-4 at no less than half of
  top-1's speed, by the others at no less than a quarter;
- an index that keeps a fifth of the tokens, by a salience that is drawn, takes at most a quarter of the bytes
  (beside the embeddings, which stay) and, searched with `rescore=kept`, is at least twice as fast;
- `adapt` over embeddings searches by its whole grid at most 1.5 times as long as by top-1 alone; in a fast
  index, where each alignment has candidates of its own, what it takes is said.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from bench_reatt import stepping, turns
from bench_tokens import DATA, ROOT, Hits, Timed, dretrieve, held, measured, overlap, say, timed
from bench_train import standing, training_set

from dretrieve.index.exact import ExactOptions
from dretrieve.index.token import TokenIndex, open_index, search_each
from dretrieve.index.top_k import TopK
from dretrieve.jobs.configs.adapt import GRID as DEFAULT_GRID
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
OVERLAP, HITS = 0.99, 10
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


def embedded(given: argparse.Namespace, name: str, salience: str) -> tuple[Path, Vectors]:
    """Return the vectors of a collection's passages, and those of some of its questions."""
    places = {side: given.work / f"{side}-{name}-{salience}" for side in ("corpus", "queries")}
    by_model = ("encode", "--model", model(given.work, salience))
    for side, spec in (("corpus", given.data / name), ("queries", f"{given.data / name}:test")):
        dretrieve(*by_model, f"--{side}", spec, "--output", places[side])
    every = Embeddings.open(places["queries"]).all_vectors()
    rows = np.unique(np.arange(given.questions) * len(every) // given.questions)
    return places["corpus"], every.take(rows)


def indexed(passages: Path, index: Path, *settings: str) -> Path:
    """Return the index of some passages, built once."""
    chosen = [word for setting in settings for word in ("--set", setting)]
    dretrieve("index", "--embeddings", passages, "--type", "token", "--output", index, *chosen)
    return index


def finding(index: Path, queries: Vectors, **settings: object) -> Callable[[], Hits]:
    """Return what searches an index with such settings."""
    found = open_index(index, settings=settings)

    def find() -> Hits:
        kept, whole = TopK.empty(len(queries), HITS), (0, found.passages.rows)
        return hits_of(found, found.search(queries, kept, whole, ExactOptions()))

    return find


def exact_hits(index: Path, queries: Vectors, words: Sequence[str]) -> list[Hits]:
    """Return the exact hits by each alignment, from one pass."""
    found = open_index(index, settings={"mode": "exact"})
    kept = [TopK.empty(len(queries), HITS) for _ in words]
    ways = [found.by(word, index) for word in words]
    search_each(ways, queries, kept, (0, found.passages.rows), ExactOptions())
    return [hits_of(found, of) for of in kept]


def hits_of(index: TokenIndex, kept: TopK) -> Hits:
    """Return rows, best first."""
    return [rows.tolist() for rows, _ in kept.best_first(index.passages.ranks)]


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
        passages, queries = embedded(given, name, "none")
        index = indexed(passages, given.work / f"index-{name}")
        words = ("top1", *SPEEDS)
        found = in_turn({word: finding(index, queries, alignment=word) for word in words}, given.rounds)
        print(f"{name}: {len(queries)} questions of {len(queries.values) / len(queries):.1f} tokens")
        for word, exactly in zip(words, exact_hits(index, queries, words), strict=True):
            one = found[word]
            share, speed = overlap(one.hits, exactly), f"{len(queries) / one.cpu:8.1f} queries/CPU s"
            say(word, f"{speed}, overlap {share:.3f}", held(share >= OVERLAP))
            holds &= share >= OVERLAP
            if word in SPEEDS:
                holds &= at_most(f"{word} beside top-1", one.cpu / found["top1"].cpu, SPEEDS[word])
    return holds


def pruned(given: argparse.Namespace) -> bool:
    """Compare an index that keeps a fifth of the tokens; return whether the rules hold."""
    passages, queries = embedded(given, given.collections[0], "entropy")
    whole = indexed(passages, given.work / "kept-1")
    part = indexed(passages, given.work / f"kept-{KEPT:g}", f"keep={KEPT:g}")
    sizes = [sum(file.stat().st_size for file in index.iterdir()) for index in (whole, part)]
    ways = {"all": finding(whole, queries), "kept": finding(part, queries, rescore="kept")}
    found = in_turn(ways, given.rounds)
    holds = at_most(f"bytes of an index that keeps {KEPT:g}", sizes[1] / sizes[0], BYTES)
    ratio = found["kept"].cpu / found["all"].cpu
    return at_most("its search beside the whole one's", ratio, 1 / FASTER) and holds


def adapt(given: argparse.Namespace) -> bool:
    """Compare a whole grid with top-1 alone; return whether the rule holds."""
    name, output = given.collections[0], given.work / "adapt.json"
    passages, _ = embedded(given, name, "none")
    places = (passages, indexed(passages, given.work / f"index-{name}"))
    seconds = {(over, grid): list[float]() for over in places for grid in (DEFAULT_GRID, "k=1")}
    words = ("--query-embeddings", given.work / f"queries-{name}-none", "--output", output, "--force")
    words += ("--qrels", f"{given.data / name}:test", "--threads", 1)
    for _ in range(given.rounds):
        for (over, grid), found in seconds.items():
            dretrieve("adapt", "--index", over, "--grid", grid, *words)
            about = json.loads(provenance_path(manifest_path(output)).read_text())
            found.append(about["details"]["search_seconds"])
    whole, one, fast, fast_one = (float(np.median(found)) for found in seconds.values())
    say("the same in a fast index", f"{fast / fast_one:8.2f} x")
    return at_most("the whole grid of adapt beside top-1", whole / one, GRID)


def main() -> None:
    parts = {"salience": salience, "search": search, "pruned": pruned, "adapt": adapt}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".bench" / "alignments")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--collections", nargs="+", default=["nfcorpus", "scifact", "arguana"])
    parser.add_argument("--questions", type=int, default=100, help="of each, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=tuple(parts))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work /= given.collections[0]  # whose passages say what is kept of a state
    given.work.mkdir(parents=True, exist_ok=True)
    lengths = [word for name, value in LENGTHS.items() for word in (f"--{name.replace('_', '-')}", value)]
    texts = given.data / given.collections[0]
    words = ("minilm", "--pooling", "tokens", "--dim", 128, "--pca", texts, *lengths)
    dretrieve("convert", *words, "--output", given.work / "states")
    sys.exit(not all([work(given) for name, work in parts.items() if given.only in (None, name)]))


if __name__ == "__main__":
    main()
