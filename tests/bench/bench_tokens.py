"""Search of token vectors beside an exact search, numpy and other engines: same vectors, one thread, in turn.

Run: ``python tests/bench/bench_tokens.py [--work .bench/tokens] [--peers PYTHON] [--rounds 5]``. The vectors
are the states of untrained MiniLM by PCA to 128, of all passages of the collections together; each
collection's questions are a set of their own, one half of which chooses how widely to look for an overlap of
.99, the other is measured. Engines of others need a torch of their own: ``--peers`` names the Python of an
environment with xtr-warp-rs and fast-plaid; without it their gates are NOT RUN. Their indexes are kept in
``--work``, as are the vectors and ours.
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
from dretrieve.index.token_search import TokenSearch  # noqa: E402
from dretrieve.index.token_tuning import choose  # noqa: E402
from dretrieve.index.top_k import TopK  # noqa: E402
from dretrieve.store.embeddings import EmbeddingPlan, Embeddings  # noqa: E402
from dretrieve.store.shard_writer import ShardWriter  # noqa: E402
from dretrieve.store.shards import shard_rows  # noqa: E402
from dretrieve.types import Vectors, VectorSpec, offsets_of  # noqa: E402

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
TARGET = 0.99
BEST = {"nprobe": 32, "bound": 1024, "centroid_score_threshold": 0.0}
# engine, name of the setting, its options; gates at k 10 for questions of 16 tokens and more, for shorter
# ones, and at k 100 for the longer: so many times its queries a CPU second
PEERS = (
    ("xtr-warp", "automatic", {}, 3.0, 1.0, 1.0),
    ("xtr-warp", "best overlap", BEST, 6.0, 1.5, 2.0),
    ("fast-plaid", "defaults", {}, 20.0, 0.0, 0.0),
)
EXACT_GATE, SCALE_GATE, SCALED_EXACT_GATE, BYTES_GATE = 5.0, 0.4, 30.0, 150.0
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


def prepared(work: Path, data: Path, names: Sequence[str]) -> tuple[TokenIndex, dict[str, Vectors], float]:
    """Return the index, each collection's questions, and the CPU seconds of the build; keep the vectors."""
    joined, model = work / "joined", work / "model"
    dretrieve("prepare", *(f"{name}={data / name}" for name in names), "--output", joined)
    dretrieve(*("convert", "minilm", "--pooling", "tokens", "--dim", 128, "--pca", joined, "--output", model))
    dretrieve("encode", "--model", model, "--corpus", joined, "--output", work / "passages")
    for name in names:
        questions = work / f"questions-{name}"
        dretrieve("encode", "--model", model, "--queries", f"{data / name}:test", "--output", questions)
    seconds = built(work / "passages", work / "index")
    sets = {name: Embeddings.open(work / f"questions-{name}").all_vectors() for name in names}
    return open_index(work / "index"), sets, seconds


def built(embeddings: Path, index: Path) -> float:
    """Build an index anew; return the CPU seconds."""
    return dretrieve(*("index", "--embeddings", embeddings, "--type", "token", "--output", index, "--force"))


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

    def __init__(self, python: str, engine: str, work: Path) -> None:
        script = Path(__file__).with_name("peer_tokens.py")
        command = [python, str(script), engine, str(work / "vectors"), str(work / f"index-{engine}")]
        alone = os.environ | {"OMP_NUM_THREADS": "1"}
        self._child = subprocess.Popen(
            command, env=alone, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
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


def say(name: str, value: str, gate: float = 0.0, ratio: float | None = None) -> None:
    """Print one row, with its gate where it has one."""
    verdict = ""
    if gate:
        verdict = "NOT RUN" if ratio is None else f"{ratio:.2f} x, {'met' if ratio >= gate else 'MISSED'}"
        verdict = f"gate {gate:g} x: {verdict}"
    print(f"  {name:<34}{value:<52}{verdict}", flush=True)


def compare(index: TokenIndex, name: str, queries: Vectors, peers: dict[str, Peer], rounds: int) -> None:
    """Print the rows of one set of questions."""
    search, passages = index.by_codes, index.passages.gather(np.arange(index.passages.rows))
    assert search is not None
    present = np.flatnonzero(np.diff(queries.offsets))
    halves = [present[half::2] for half in range(2)]
    rows, half = halves[1], queries.take(halves[1])
    plain = Vectors(passages.values.astype(np.float32), passages.offsets)
    long = len(queries.values) >= 16 * len(queries)
    chosen = choose(search, [queries.take(part) for part in halves], TARGET, ExactOptions())
    print(f"{name}: {len(half)} questions of {len(queries.values) / len(queries):.1f} tokens")
    for k, (counts, _) in chosen.items():
        ways = {
            "fast": lambda k=k, counts=counts: measured(lambda: ours(search, half, k, counts)),
            "exact": lambda k=k: measured(lambda: ours(search, half, k)),
        }
        for engine, setting, options, *_ in PEERS if peers else ():
            ways[f"{engine}, {setting}"] = lambda e=engine, o=options, k=k: peers[e].search(
                name, rows.tolist(), k, o
            )
        found = timed(ways, rounds)
        per_query = {way: one.cpu / len(half) for way, one in found.items()}
        few = half[:PLAIN_QUERIES]
        by_numpy = measured(lambda k=k, few=few: plainly(plain, few, k)).cpu / len(few)
        say(f"k {k}, numpy's float32 product", f"{1 / by_numpy:8.1f} queries/CPU s")
        for way, one in found.items():
            share = overlap(one.hits, found["exact"].hits)
            text = (
                f"{1 / per_query[way]:8.1f} queries/CPU s, {len(half) / one.wall:8.1f}/s, overlap {share:.3f}"
            )
            gate, base = (EXACT_GATE, by_numpy) if way == "exact" else (0.0, 0.0)
            say(f"k {k}, {way}", text, gate, base / per_query[way])
        for engine, setting, _, at_10, short, at_100 in PEERS:
            gate = (at_10 if long else short) if k == 10 else (at_100 if long else 0.0)
            base = per_query.get(f"{engine}, {setting}")
            if gate:
                say(f"k {k}, fast beside {engine}", setting, gate, base and base / per_query["fast"])


def generated(folder: Path, millions: float) -> None:
    """Write passages of 128 unit tokens around 50,000 middles, as `encode` does; their questions beside."""
    chance, dim, size = np.random.default_rng(1), 128, 128
    middles = chance.standard_normal((50_000, dim), dtype=np.float32)
    for side, rows, length in (("passage", int(millions * 1e6 / size), size), ("query", 100, 24)):
        models = {"passage_model": "generated"} | ({"query_model": "generated"} if side == "query" else {})
        plan = EmbeddingPlan(
            side=side,
            vectors=VectorSpec(dim, "many", "maxsim_sum"),
            dtype="float16",
            options={},
            inputs={"collection": "generated", **models},
        )
        shard = shard_rows(rows, 0, 1)
        writer = ShardWriter(folder / side, shard, plan)
        topics = chance.integers(0, len(middles) - 400, rows)
        for start, stop in shard.chunks():
            # a text's tokens come from 400 neighbouring middles
            near = topics[start:stop, None] + chance.integers(0, 400, (stop - start, length))
            values = middles[near.ravel()]
            values = values + chance.standard_normal(values.shape, dtype=np.float32)
            values /= np.linalg.norm(values, axis=1, keepdims=True)
            lengths = np.full(stop - start, length)
            numbers = np.zeros(len(values), np.int32)
            texts = Vectors(values.astype(np.float16), offsets_of(lengths), tokens=numbers)
            writer.write([f"{side}{row}" for row in range(start, stop)], texts)
        writer.commit({})


def scaled(work: Path, sizes: Sequence[float], rounds: int) -> None:
    """Print how speed falls as tokens grow."""
    speeds = []
    for millions in sizes:
        folder = work / f"generated-{millions:g}"
        if not (folder / "index" / "manifest.json").exists():
            generated(folder, millions)
            seconds = built(folder / "passage", folder / "index")
            say(f"{millions:g} million tokens, build", f"{seconds:8.1f} CPU s")
        search = open_index(folder / "index").by_codes
        assert search is not None
        queries = Embeddings.open(folder / "query").all_vectors()
        halves = [queries.take(np.arange(half, len(queries), 2)) for half in range(2)]
        counts, share = choose(search, halves, TARGET, ExactOptions())[10]
        fast = timed(
            {"fast": lambda s=search, h=halves[1], c=counts: measured(lambda: ours(s, h, 10, c))}, rounds
        )["fast"]
        few = halves[1][:PLAIN_QUERIES]
        exact = measured(lambda s=search, few=few: ours(s, few, 10)).cpu / len(few)
        speeds.append(len(halves[1]) / fast.cpu)
        text = f"{speeds[-1]:8.1f} queries/CPU s, overlap {share:.3f}"
        gate = SCALED_EXACT_GATE if millions == max(sizes) else 0.0
        say(f"{millions:g} million tokens, k 10", text, gate, exact * speeds[-1])
    if len(speeds) > 1:
        text = f"{sizes[-1]:g} million beside {sizes[0]:g}"
        say("queries/s as tokens grow", text, SCALE_GATE, speeds[-1] / speeds[0])


def main() -> None:
    """Print every row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".bench" / "tokens")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("DRETRIEVE_DATA", ROOT.parent / "shared" / "data")
    )
    parser.add_argument("--collections", nargs="+", default=["scifact", "nfcorpus"])
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, nargs="*", default=[2, 10], help="millions of tokens")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    index, sets, seconds = prepared(given.work, Path(given.data), given.collections)
    tokens = len(index.codes.codes) if index.codes is not None else 0
    size = sum(file.stat().st_size for file in (given.work / "index").iterdir())
    print(f"{tokens:,} tokens of {index.passages.rows:,} passages")
    say("build", f"{seconds:8.1f} CPU s")
    say("index alone", f"{size / tokens:8.1f} bytes a token", 1.0, BYTES_GATE * tokens / size)
    peers: dict[str, Peer] = {}
    if given.peers:
        vectors = given.work / "vectors"
        vectors.mkdir(exist_ok=True)
        passages = index.passages.gather(np.arange(index.passages.rows))
        for name, texts in {"": passages, **{f"{name}.": texts for name, texts in sets.items()}}.items():
            np.save(vectors / f"{name}values.npy", texts.values)
            np.save(vectors / f"{name}offsets.npy", texts.offsets)
        peers = {engine: Peer(given.peers, engine, given.work) for engine in ("xtr-warp", "fast-plaid")}
        for engine, peer in peers.items():
            base = peer.build and peer.build / seconds
            say(f"build beside {engine}", "its index kept" if base is None else "", 30.0, base)
    for name, queries in sets.items():
        compare(index, name, queries, peers, given.rounds)
    scaled(given.work, given.scale, given.rounds)


if __name__ == "__main__":
    main()
