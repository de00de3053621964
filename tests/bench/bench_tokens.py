"""Search of token vectors beside an exact search, numpy and other engines: same vectors, one thread, in turn.

Run: ``python tests/bench/bench_tokens.py [--work .bench/tokens] [--peers PYTHON] [--rounds 5]``. The vectors
are the states of untrained MiniLM by PCA to 128, of all passages of the collections together; each
collection's questions are a set of their own, one half of which chooses how widely to look for an overlap of
.99, the other is measured. Engines of others need a torch of their own (2.11, for fast-plaid 1.7.0.2110 and
xtr-warp-rs 2.1.0.2110: the last two digits groups of their versions name it, with another they crash):
``--peers`` names the Python of an environment with both; without it their gates are NOT RUN. Their indexes
are kept in ``--work``, as are the vectors and ours. `bench_token_index.py` measures what an index costs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dretrieve.index.exact import ExactOptions  # noqa: E402
from dretrieve.index.token import TokenIndex, open_index  # noqa: E402
from dretrieve.index.token_scan import search_tokens  # noqa: E402
from dretrieve.index.token_search import TokenSearch  # noqa: E402
from dretrieve.index.token_tuning import choose  # noqa: E402
from dretrieve.index.top_k import TopK  # noqa: E402
from dretrieve.store.embeddings import EmbeddingPlan, Embeddings  # noqa: E402
from dretrieve.store.shard_writer import ShardWriter  # noqa: E402
from dretrieve.store.shards import shard_rows  # noqa: E402
from dretrieve.types import Side, Vectors, VectorSpec  # noqa: E402

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
WORK, DATA = (
    ROOT / ".bench" / "tokens",
    Path(os.environ.get("DRETRIEVE_DATA", ROOT.parent / "shared" / "data")),
)
TARGET, NO_AVX512 = 0.99, "fast, without AVX-512"
BEST = {"nprobe": 32, "bound": 1024, "centroid_score_threshold": 0.0}
# engine, name of the setting, its options; gates at k 10 for questions of 16 tokens and more, for shorter
# ones, and at k 100 for the longer: so many times its queries a CPU second
PEERS = (
    ("xtr-warp", "automatic", {}, 3.0, 1.0, 1.0),
    ("xtr-warp", "best overlap", BEST, 6.0, 1.5, 2.0),
    ("fast-plaid", "defaults", {}, 20.0, 0.0, 0.0),
    ("plaid", "in float32", {}, 12.0, 0.0, 0.0),
)
EXACT_GATE, BUILD_GATE = 5.0, 30.0
# numba compiles for this processor, which has no AVX-512
OLDER = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt"}
PLAIN_QUERIES = 8
Hits = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Timed:
    """What one way took in its median round, over the queries, and what it found."""

    wall: float
    cpu: float
    hits: Hits


def dretrieve(*words: object) -> float:
    """Run one command; return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "dretrieve_cli", *map(str, words), "--quiet"]
    subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def encoded(work: Path, data: Path, names: Sequence[str]) -> None:
    """Write a model, and the vectors of each collection's passages and questions, unless they are there."""
    texts, model = work / "joined", work / "model"
    dretrieve("prepare", *(f"{name}={data / name}" for name in names), "--output", texts)
    dretrieve(*("convert", "minilm", "--pooling", "tokens", "--dim", 128, "--pca", texts, "--output", model))
    for name in names:
        embed(work, data, name)


def embed(work: Path, data: Path, name: str) -> None:
    """Write the vectors of a collection's passages and questions."""
    by_model = ("encode", "--model", work / "model")
    dretrieve(*by_model, "--corpus", data / name, "--output", work / f"passages-{name}")
    dretrieve(*by_model, "--queries", f"{data / name}:test", "--output", work / f"questions-{name}")


def joined(work: Path, names: Sequence[str]) -> Path:
    """Return a folder with the passages of all collections, one after another."""
    folder, parts = work / "passages", [Embeddings.open(work / f"passages-{name}") for name in names]
    every = Vectors.joined([part.all_vectors() for part in parts])
    written(folder, "passage", len(every), lambda start, stop: every[start:stop])
    return folder


def written(folder: Path, side: Side, rows: int, block: Callable[[int, int], Vectors]) -> None:
    """Write the vectors of texts, which ``block(start, stop)`` returns, as `encode` does; once."""
    models = {"passage_model": "generated"} | ({"query_model": "generated"} if side == "query" else {})
    first = block(0, 1)
    plan = EmbeddingPlan(
        side=side,
        vectors=VectorSpec(first.dim, *(("many", "maxsim_sum") if first.many else ("one", "dot"))),
        dtype="float16",
        options={},
        inputs={"collection": "generated", **models},
    )
    shard = shard_rows(rows, 0, 1)
    writer = ShardWriter(folder, shard, plan, force=True)
    if writer.complete:
        return
    for start, stop in shard.chunks():
        writer.write([f"{side}{row}" for row in range(start, stop)], block(start, stop))
    writer.commit({})


def build(embeddings: Path, index: Path, **settings: object) -> float:
    """Build an index anew; return the CPU seconds."""
    chosen = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    fixed = ("--embeddings", embeddings, "--type", "token", "--output", index, "--force")
    return dretrieve("index", *fixed, *chosen)


def timed(ways: dict[str, Callable[[], Timed]], rounds: int) -> dict[str, Timed]:
    """Return each way's median of some rounds, in which the ways take turns; before them one that warms."""
    found: dict[str, list[Timed]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            one = way()
            if turn:
                found[name].append(one)
    return {
        name: Timed(
            statistics.median(one.wall for one in some),
            statistics.median(one.cpu for one in some),
            some[0].hits,
        )
        for name, some in found.items()
    }


def measured(find: Callable[[], Hits]) -> Timed:
    """Return what one call took."""
    wall, cpu = time.perf_counter(), time.process_time()
    hits = find()
    return Timed(time.perf_counter() - wall, time.process_time() - cpu, hits)


def ours(search: TokenSearch, queries: Vectors, k: int, counts=None) -> Hits:
    """Return our hits, best first; without counts the exact ones."""
    kept, whole = TopK.empty(len(queries), k), (0, search.passages.rows)
    if counts is None:
        search.exact(queries, kept, whole, ExactOptions())
    else:
        search.fast(queries, kept, counts, ExactOptions())
    return [rows.tolist() for rows, _ in kept.best_first(search.passages.ranks)]


def scored(search: TokenSearch, queries: Vectors, k: int, *, by_codes: bool) -> list[tuple[bytes, bytes]]:
    """Return rows and scores of the exact hits, by codes or by the plain loop."""
    kept, passages = TopK.empty(len(queries), k), search.passages
    if not by_codes:
        whole = (0, passages.rows)
        search_tokens(passages.block, search.score, queries, kept, passages.ranks, whole, ExactOptions())
    else:
        search.exact(queries, kept, (0, passages.rows), ExactOptions())
    return [(rows.tobytes(), scores.tobytes()) for rows, scores in kept.best_first(passages.ranks)]


def tokens_of(index: TokenIndex) -> int:
    """Return how many token vectors an index holds."""
    return 0 if index.codes is None else len(index.codes.codes)


def plainly(passages: Vectors, queries: Vectors, k: int) -> Hits:
    """Return the hits of numpy's float32 product."""
    found = []
    for start, stop in zip(queries.offsets[:-1], queries.offsets[1:], strict=True):
        dots = np.asarray(queries.values[start:stop], np.float32) @ passages.values.T
        scores = np.maximum.reduceat(dots, passages.offsets[:-1], axis=1).sum(axis=0)
        found.append(np.argsort(-scores)[:k].tolist())
    return found


def overlap(found: Hits, exact: Hits) -> float:
    """Return the mean share of the exact hits."""
    return statistics.fmean(
        len(set(some) & set(best)) / len(best) for some, best in zip(found, exact, strict=True) if best
    )


class Peer:
    """A running `peer_tokens.py`."""

    def __init__(self, python: str, engine: str, vectors: Path, index: Path, **variables: str) -> None:
        script = Path(__file__).with_name("peer_tokens.py")
        alone = ENVIRONMENT | {"OMP_NUM_THREADS": "1"} | variables
        self._child = subprocess.Popen(
            [python, str(script), engine, str(vectors), str(index)],
            env=alone,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.build = self._read()

    def _read(self):
        line = self._child.stdout.readline() if self._child.stdout else ""
        if not line:
            raise SystemExit(f"{self._child.args} ended without an answer; see what it printed above")
        return json.loads(line)

    def search(self, name: str, rows: Sequence[int], k: int, options: dict) -> Timed:
        """Return what it took for the queries of those rows."""
        asked = {"queries": name, "rows": list(rows), "k": k, "options": options}
        assert self._child.stdin
        self._child.stdin.write(json.dumps(asked) + "\n")
        self._child.stdin.flush()
        return Timed(**self._read())


def say(name: str, value: str, verdict: str = "") -> None:
    """Print one row."""
    print(f"  {name:<38}{value:<58}{verdict}".rstrip(), flush=True)


def held(holds: bool) -> str:
    """Return the verdict of a gate."""
    return "met" if holds else "MISSED"


def times(gate: float, ratio: float | None) -> str:
    """Return the verdict where something is to be so many times as fast; None: not measured."""
    if not gate:
        return ""
    return f"gate {gate:g} x: " + ("NOT RUN" if ratio is None else f"{ratio:.2f} x, {held(ratio >= gate)}")


def compare(index: TokenIndex, name: str, queries: Vectors, peers: dict[str, Peer], rounds: int) -> None:
    """Print the rows of one set of questions."""
    search, passages = index.by_codes, index.passages.gather(np.arange(index.passages.rows))
    assert search is not None
    present = np.flatnonzero(np.diff(queries.offsets))
    halves = [present[half::2] for half in range(2)]
    rows, half = halves[1].tolist(), queries.take(halves[1])
    plain = Vectors(passages.values.astype(np.float32), passages.offsets)
    long = len(queries.values) >= 16 * len(queries)
    chosen = choose(search, [queries.take(part) for part in halves], TARGET, ExactOptions())
    print(f"{name}: {len(half)} questions of {len(queries.values) / len(queries):.1f} tokens")
    few = half[:PLAIN_QUERIES]
    same = all(
        scored(search, few, k, by_codes=True) == scored(search, few, k, by_codes=False) for k in chosen
    )
    say("exact beside the plain loop", f"{len(few)} questions, byte for byte", held(same))
    for k, (counts, _) in chosen.items():
        ways = {
            "fast": lambda k=k, counts=counts: measured(lambda: ours(search, half, k, counts)),
            "exact": lambda k=k: measured(lambda: ours(search, half, k)),
        }
        if counts:
            ways[NO_AVX512] = lambda k=k, c=counts: peers["dretrieve"].search(name, rows, k, c._asdict())
            read = counts.rescored * len(passages.values) / len(passages) * passages.values[0].nbytes
            say(f"k {k}, read of the embeddings", f"{read / 1e6:8.1f} MB a query at most")
        gates = {peer[:2]: (peer[3] if long else peer[4]) if k == 10 else peer[5] * long for peer in PEERS}
        for engine, setting, options, *_ in PEERS:
            if engine in peers and gates[engine, setting]:
                asked = name, rows, k, options
                ways[f"{engine}, {setting}"] = lambda e=engine, asked=asked: peers[e].search(*asked)
        found = timed(ways, rounds)
        per_query = {way: one.cpu / len(half) for way, one in found.items()}
        by_numpy = measured(lambda k=k: plainly(plain, few, k)).cpu / len(few)
        say(f"k {k}, numpy's float32 product", f"{1 / by_numpy:8.1f} queries/CPU s")
        for way, one in found.items():
            share = overlap(one.hits, found["exact"].hits)
            wall = len(half) / one.wall
            text = f"{1 / per_query[way]:8.1f} queries/CPU s, {wall:8.1f}/s, overlap {share:.3f}"
            gate, base = (EXACT_GATE, by_numpy) if way == "exact" else (0.0, 0.0)
            say(f"k {k}, {way}", text, times(gate, base / per_query[way]))
        if counts:
            same = found[NO_AVX512].hits == found["fast"].hits
            say(f"k {k}, {NO_AVX512}", "the same hits", held(same))
        for (engine, setting), gate in gates.items():
            base = per_query.get(f"{engine}, {setting}")
            if gate:
                say(f"k {k}, fast beside {engine}", setting, times(gate, base and base / per_query["fast"]))


def others(given: argparse.Namespace, index: TokenIndex, sets: dict[str, Vectors], seconds: float):
    """Return the running peers by engine."""
    vectors, python = given.work / "vectors", sys.executable
    vectors.mkdir(exist_ok=True)
    passages = {"": index.passages.gather(np.arange(index.passages.rows))} if given.peers else {}
    for name, texts in (passages | {f"{name}.": texts for name, texts in sets.items()}).items():
        np.save(vectors / f"{name}values.npy", texts.values)
        np.save(vectors / f"{name}offsets.npy", texts.offsets)
    four = given.work / "index-4"
    build(given.work / "passages", four, bits=4)
    peers = {
        "dretrieve": Peer(python, "dretrieve", vectors, given.work / "index", **OLDER),
        "plaid": Peer(python, "plaid", vectors, four),
    }
    for engine in ("xtr-warp", "fast-plaid"):
        base = None
        if given.peers:
            peers[engine] = Peer(given.peers, engine, vectors, given.work / f"index-{engine}")
            base = peers[engine].build
        kept = "its index kept" if given.peers and base is None else ""
        if engine == "xtr-warp" or base:
            say(f"build beside {engine}", kept, times(BUILD_GATE, base and base / seconds))
    return peers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--collections", nargs="+", default=["scifact", "nfcorpus"])
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    encoded(given.work, given.data, given.collections)
    seconds = build(joined(given.work, given.collections), given.work / "index")
    index = open_index(given.work / "index")
    sets = {
        name: Embeddings.open(given.work / f"questions-{name}").all_vectors() for name in given.collections
    }
    print(f"{tokens_of(index):,} tokens of {index.passages.rows:,} passages; built in {seconds:.1f} CPU s")
    peers = others(given, index, sets, seconds)
    for name, queries in sets.items():
        compare(index, name, queries, peers, given.rounds)


if __name__ == "__main__":
    main()
