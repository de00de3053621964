"""Kills every stage at points in its system calls, and lets single calls fail; then asks for the bytes.

    python tests/faults/chaos.py --kills 1000 [--errors 200] [--seed 1] [--stages encode,train] [--jobs 2]

A point is a call that changes files below the work folder (open for writing, write, fsync, rename, unlink,
mkdir, close …), counted by a small library (chaos_calls.c) that is compiled at the start and loaded before
libc. An unbroken pass gives the points of each stage. A trial then sends KILL, TERM, INT or USR1 at one of
them, sometimes a second and a third time to the same command again, and lastly lets it end: files and bytes
must be those of the unbroken pass, with nothing more beside them, in the cache or in TMPDIR, and whoever
ended with exit code 0 must have left a whole output. An error trial lets one call fail (EIO, ENOSPC, EACCES,
half a write; or the disk is full from then on): the command must end with exit code 3 and one sentence, or
whole; the same command then ends well. Each trial is a fork of one process that has loaded everything.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import hashlib
import json
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "cli"), str(ROOT / "recipes"), str(ROOT / "tests")]

ROWS, QUERIES, SECONDS = 2600, 40, 120
WORDS = "honey bee hive nectar moon tide ocean wave flour yeast dough rook bishop lava ash press ink".split()
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
GO_ON, SIGNAL, TORN, FAIL, SHORT, FULL = range(6)  # as in chaos_calls.c
WRITES = ("write", "pwrite", "pwrite64", "writev", "sendfile", "sendfile64", "copy_file_range")
RESUMABLE = 75
FAULTS = ("changed bytes", "false successes", "left behind", "wrong ends")


def write_world(folder: Path) -> None:
    """Write what the first stages read: three chunks of passages, queries, judgements, model, checkpoint."""
    import torch
    from conftest import build_small_t5, build_tiny_model
    from safetensors.torch import load_file

    from dretrieve.models.aligner import Aligner
    from dretrieve.models.aligner_config import AlignerConfig
    from dretrieve.models.model_folder import save_model

    chance = random.Random(3)
    (folder / "src" / "qrels").mkdir(parents=True)
    with open(folder / "src" / "corpus.jsonl", "w") as file:
        for row in range(ROWS):
            text = " ".join(chance.choices(WORDS, k=8))
            file.write(json.dumps({"_id": f"p{row}", "title": "", "text": text}) + "\n")
    with open(folder / "src" / "queries.jsonl", "w") as file:
        for row in range(QUERIES):
            words = chance.choices(WORDS, k=3)
            query = {"_id": f"q{row}", "text": " ".join(words), "answers": words[:1]}
            file.write(json.dumps(query) + "\n")
    for split, rows in (("train", range(QUERIES // 2)), ("test", range(QUERIES // 2, QUERIES))):
        lines = ["query-id\tcorpus-id\tscore", *(f"q{row}\tp{row}\t1" for row in rows)]
        (folder / "src" / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    shutil.copytree(folder / "src", folder / "readonly")
    (folder / "readonly").chmod(0o555)  # its text store goes to the cache
    model = build_tiny_model(folder / "tiny")
    weights = load_file(model / "model.safetensors")
    tensors = {
        f"{side}.{name}": of for side in ("ctx_model", "question_model") for name, of in weights.items()
    }
    build_small_t5(folder / "t5", "v1.1")
    aligner = AlignerConfig(dim=8, query_max_len=8, passage_max_len=20, salience="entropy")
    save_model(Aligner.build(aligner, str(model)), folder / "aligner", {})
    torch.save({"model_dict": tensors, "encoder_params": {"sequence_length": 20}}, folder / "biencoder.cp")
    for name in ("cache", "tmp"):
        (folder / name).mkdir()


def stages(work: Path) -> dict[str, list[object]]:
    """Return stage to command; each reads what those before it wrote."""
    data, run, bm25 = work / "set", work / "dense.trec", work / "bm25.trec"
    asked = ["--query-embeddings", work / "queries", "--hits", 50]
    encode = ["encode", "--model", work / "tiny", "--device", "cpu"]
    ask = ["search", "--index", work / "passages", "--model", work / "tiny", "--device", "cpu"]
    found = {
        "prepare": ["prepare", work / "src", "--output", data],
        "encode": [*encode, "--corpus", data, "--output", work / "passages"],
        "encode-queries": [*encode, "--queries", f"{data}:test", "--output", work / "queries"],
        "encode-shard": [*encode, "--corpus", data, "--shard", "1/2", "--output", work / "halves"],
        "flat": ["index", "--embeddings", work / "passages", "--type", "flat", "--output", work / "flat"],
        "hnsw": ["index", "--embeddings", work / "passages", "--type", "hnsw", "--output", work / "hnsw"],
        "bm25": ["index", "--corpus", data, "--type", "bm25", "--output", work / "bm25"],
        "bm25-cache": ["index", "--corpus", work / "readonly", "--type", "bm25", "--output", work / "cached"],
        "search": ["search", "--index", work / "flat", *asked, "--output", run],
        "search-gz": ["search", "--index", work / "passages", *asked, "--output", work / "dense.trec.gz"],
        "search-hnsw": ["search", "--index", work / "hnsw", *asked, "--output", work / "hnsw.trec"],
        "search-model": [*ask, "--queries", f"{data}:test", "--hits", 50, "--output", work / "asked.trec"],
        "search-bm25": ["search", "--index", work / "bm25", "--queries", f"{data}:test", "--output", bm25],
    }  # fmt: skip
    parts = [work / f"part-{index}.trec" for index in range(2)]
    for index, part in enumerate(parts):
        cut = ["--shard", f"{index}/2", "--output", part]
        found[f"search-{index}"] = ["search", "--index", work / "flat", *asked, *cut]
    both = ["--run", run, "--bm25-run", bm25]
    tune = ["--tune", "0.5:1:0.5", "--qrels", f"{data}:test"]
    measured = ["--qrels", f"{data}:test", "--metrics", "nDCG@10"]
    rhythm = ["--max-steps", 6, "--save-steps", 2, "--eval-steps", 3, "--batch-size", 4, "--pooling", "mean"]
    learn = ["--data", f"{data}:train", "--dev", f"{data}:test", *rhythm, "--device", "cpu"]
    checkpoint = [work / "biencoder.cp", "--from", "dpr", "--backbone", work / "tiny"]
    found_for = work / "bm25-all.trec"
    asked_all = ["--index", work / "bm25", "--queries", data, "--hits", 3]
    close = [f"path={data},split=train,run={found_for},depth=3", "--answer-max-len", 4]
    read = ["--model", work / "reatt", "--run", found_for, "--corpus", data, "--device", "cpu"]
    aligner = ["--model", work / "aligner", "--device", "cpu"]
    four = ["--grid", "k=1,2", "--examples", 4, "--metric", "RR@1000"]
    adapt = ["adapt", *aligner, "--queries", f"{data}:test", "--qrels", f"{data}:test", *four]
    pruned = ["--type", "token", "--set", "keep=0.4"]
    few = ["--set", "ask=0.5", "--set", "neighbours=20"]
    rows = ["--row", f"one={work / 'dense.json'}", "--row", f"two={work / 'fused.json'}"]
    return found | {
        "merge": ["merge", *parts, "--output", work / "merged.trec"],
        "fuse": ["fuse-bm25", *both, *tune, "--output", work / "fused.trec"],
        "mine": ["mine-negatives", "--data", f"{data}:test", "--run", run, "--output", work / "hard.jsonl"],
        "evaluate": ["evaluate", "--run", run, *measured, "--output", work / "dense.json"],
        "evaluate-2": ["evaluate", "--run", work / "fused.trec", *measured, "--output", work / "fused.json"],
        "report": ["report", *rows, "--output", work / "report"],
        "report-md": ["report", *rows, "--output", work / "report.md"],
        "convert": ["convert", *checkpoint, "--output", work / "converted"],
        "train": ["train", "shared", "--backbone", work / "tiny", *learn, "--output", work / "trained"],
        "train-dpr": ["train", "dpr", "--backbone", work / "tiny", *learn, "--output", work / "two"],
        "search-all": ["search", *asked_all, "--output", found_for],
        "train-reatt": [
            "train", "reatt", "--backbone", work / "t5", "--data", *close, "--output", work / "reatt",
            "--max-steps", 4, "--save-steps", 2, "--batch-size", 4, "--device", "cpu",
        ],
        "read": ["read", *read, "--queries", data, "--depth", 3, "--output", work / "answers.jsonl"],
        "encode-aligner": ["encode", *aligner, "--corpus", data, "--output", work / "aligned"],
        "adapt": [*adapt, "--index", work / "aligned", "--output", work / "adapt.json"],
        "prune": ["index", "--embeddings", work / "aligned", *pruned, "--output", work / "pruned"],
        "adapt-near": [*adapt, "--index", work / "pruned", *few, "--output", work / "near.json"],
        "search-adapted": [
            "search", "--index", work / "pruned", *aligner, "--queries", f"{data}:test", "--hits", 50,
            *few, "--set", f"alignment={work / 'adapt.json'}", "--output", work / "adapted.trec",
        ],
        "array": ["array", *encode, "--corpus", data, "--output", work / "sharded", "--shards", 3],
        "validate": ["validate", f"{data}:test", run, work / "passages"],
    } | token_stages(work)  # fmt: skip


def token_stages(work: Path) -> dict[str, list[object]]:
    """Return those over a vector per token."""
    data, model, tokens = work / "set", work / "token-model", work / "tokens"
    encode = ["encode", "--model", model, "--device", "cpu"]
    components = ["--pooling", "tokens", "--dim", 16, "--pca", data]
    asked = ["--query-embeddings", work / "token-queries", "--hits", 50]
    search = ["search", "--index", work / "token-index", *asked]
    index = ["index", "--embeddings", tokens, "--type", "token"]
    parts = [work / f"token-part-{part}" for part in range(2)]
    middles = ["--set", f"centroids={work / 'token-index'}"]
    return {
        "convert-tokens": ["convert", work / "tiny", *components, "--output", model],
        "encode-tokens": [*encode, "--corpus", data, "--output", tokens],
        "encode-asked": [*encode, "--queries", f"{data}:test", "--output", work / "token-queries"],
        "token": [*index, "--output", work / "token-index"],
        **{
            f"token-{at}": [*index, *middles, "--shard", f"{at}/2", "--output", part]
            for at, part in enumerate(parts)
        },
        "token-merge": ["merge", *parts, "--output", work / "joined"],
        "search-fast": [*search, "--output", work / "fast.trec"],
        "search-exact": [*search, "--set", "mode=exact", "--output", work / "exact.trec"],
    }


# Options that give another result: some trials begin where it stands, and replace it as recipes do.
OTHER = {
    "encode": ["--dtype", "float32"],
    "encode-queries": ["--dtype", "float32"],
    "hnsw": ["--set", "m=8"],
    "bm25": ["--set", "k1=1.5"],
    "search": ["--hits", 40],
    "search-bm25": ["--hits", 40],
    "fuse": ["--depth", 20],
    "mine": ["--num-negatives", 2],
    "evaluate": ["--metrics", "RR@10"],
    "train": ["--max-steps", 4],
    "train-dpr": ["--max-steps", 4],
    "train-reatt": ["--max-steps", 2],
    "read": ["--depth", 2],
    "convert-tokens": ["--dim", 8],
    "encode-tokens": ["--dtype", "float32"],
    "token": ["--set", "bits=4"],
    "search-fast": ["--hits", 40],
    "search-exact": ["--hits", 40],
    "adapt": ["--seed", 1],
    "prune": ["--set", "keep_by=random"],
    "adapt-near": ["--seed", 1],
    "search-adapted": ["--hits", 40],
}


@dataclass(slots=True)
class Tally:
    """What came of one stage's trials in one worker."""

    stage: str
    points: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class End:
    """How a command ended: exit code, or minus the signal; and what it wrote to stderr."""

    code: int
    text: str


class Worker:
    """Runs trials one after the other in a work folder of its own."""

    def __init__(self, folder: Path, library: Path, seed: str) -> None:
        self.work, self.log, self.seed = folder / "work", folder / "log", seed
        self.work.mkdir(parents=True)
        self.library = ctypes.CDLL(str(library))
        self.fired = ctypes.c_long.from_buffer(mmap.mmap(-1, ctypes.sizeof(ctypes.c_long)))
        self.stages = {name: list(map(str, words)) for name, words in stages(self.work).items()}
        self.points: dict[str, list[tuple[str, str]]] = {}
        self.made: dict[str, list[str]] = {}
        self.whole: dict[str, str] = {}
        self.store_failed = False  # then the text store may stand in the cache
        self._hashes: dict[tuple[str, int, int, int], str] = {}

    def run(
        self,
        stage: str,
        what: tuple[int, int, int] = (0, GO_ON, 0),
        *,
        more: Sequence[object] = (),
        record: Path | None = None,
    ) -> End:
        """Run the stage's command in a fork; ``what`` happens: at which call, which action, which number.

        ``more`` words are added. With ``record`` the calls are written there, and beside it what was loaded.
        """
        self.fired.value = 0
        child = os.fork()
        if child == 0:
            self._command([*self.stages[stage], *map(str, more)], what, record)
        deadline = time.monotonic() + SECONDS
        while (found := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return End(-99, f"no end within {SECONDS} s")
            time.sleep(0.002)
        return End(os.waitstatus_to_exitcode(found[1]), self.log.read_text(errors="replace"))

    def _command(self, words: list[str], what: tuple[int, int, int], record: Path | None) -> None:
        """In the fork: be the command, and end."""
        from dretrieve.index import token_build, token_scan
        from dretrieve.runs import checkpoint
        from dretrieve_cli.app import main

        # seven blocks of tokens, and hours between two looks at the clock: it is always time to save
        token_scan.PASSAGE_TOKENS = token_build.CHUNK_TOKENS = 1 << 12
        checkpoint.time = SimpleNamespace(monotonic=count(1e9, 1e4).__next__)

        code = 1
        try:
            fresh = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            for number, (path, flags) in enumerate(((os.devnull, os.O_RDWR),) * 2 + ((self.log, fresh),)):
                os.dup2(os.open(path, flags, 0o600), number)
            handle = os.open(record, fresh, 0o600) if record else -1
            os.chdir("/")
            os.environ.update(DRETRIEVE_CACHE=str(self.work / "cache"), TMPDIR=str(self.work / "tmp"))
            os.environ["DRETRIEVE_STALE"] = "replace"
            tempfile.tempdir = os.environ["TMPDIR"]
            sys.argv = ["dretrieve", *words, "--quiet"]
            self.library.chaos_arm(
                os.fsencode(self.work),
                ctypes.c_long(what[0]),
                what[1],
                what[2],
                handle,
                ctypes.byref(self.fired),
            )
            code = main(sys.argv[1:])
            sys.stderr.flush()
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def listing(self) -> dict[str, str]:
        """Return what stands in the work folder: name to a hash of its bytes; only the name of provenance.

        What the cache remembers of files at their first use holds times, grows with every stage, and is no
        stage's own: it is left out.
        """
        found: dict[str, str] = {}
        for parent, folders, names in os.walk(self.work):
            for name in folders:
                found[os.path.relpath(os.path.join(parent, name), self.work) + "/"] = ""
            for name in names:
                path = os.path.join(parent, name)
                if parent.endswith("/cache/first-use") and ".tmp-" not in name:
                    continue
                found[os.path.relpath(path, self.work)] = (
                    "" if "provenance.json" in name else self._hash(path)
                )
        return found

    def _hash(self, path: str) -> str:
        status = os.stat(path)
        key = (path, status.st_ino, status.st_mtime_ns, status.st_size)
        if key not in self._hashes:
            with open(path, "rb") as file:
                self._hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashes[key]

    def unbroken(self) -> None:
        """Run all stages once, and keep what they call and what they make."""
        if (child := os.fork()) == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            write_world(self.work)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, "the world is written"
        before = self.listing()
        for stage in self.stages:
            record = self.log.with_name("calls")
            end = self.run(stage, record=record)
            if end.code:
                sys.exit(f"the unbroken {stage} ended with {end.code}: {end.text}")
            lines = record.read_text(errors="replace").splitlines()
            self.points[stage] = [(call, path) for call, _, path in (line.partition("\t") for line in lines)]
            after = self.listing()
            self.made[stage] = sorted(name for name in after if before.get(name) != after[name])
            before = after
        self.whole = before

    def remove(self, names: Sequence[str]) -> None:
        """Remove those of the work folder, what is inside before what is around it."""
        for name in sorted(names, reverse=True):
            path = self.work / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def compared(self) -> tuple[list[str], list[str]]:
        """Return which names lack or have other bytes than the unbroken pass, and which are too many."""
        now = self.listing()
        wrong = [name for name, content in self.whole.items() if now.get(name) != content]
        more = [name for name in now if name not in self.whole]
        if self.store_failed and "cache/texts/" in " ".join(more):
            wrong = [name for name in wrong if "/.dretrieve/" not in name]
            more = [name for name in more if ".tmp-" in name or not name.startswith("cache/texts/")]
        return wrong, more

    def trials(self, stage: str, kills: int, errors: int) -> Tally:
        """Kill the stage so many times, let so many calls fail, and return what came of it."""
        tally = Tally(stage, len(self.points[stage]))
        chance = random.Random(f"{self.seed} {stage}")
        while tally.points and sum(tally.kills.values()) < kills:
            self._trial(tally, chance, lambda: self._kill(tally, chance))
        while tally.points and tally.errors < errors:
            self._trial(tally, chance, lambda: self._error(tally, chance))
        return tally

    def _trial(self, tally: Tally, chance: random.Random, harm: Callable[[], str]) -> None:
        """Harm the stage, run it again to its end, compare."""
        self.remove(self.made[tally.stage])
        story = ""
        if tally.stage in OTHER and chance.random() < 0.3:
            end = self.run(tally.stage, more=OTHER[tally.stage])
            assert end.code == 0, end.text
            story = "over another result: "
        story += harm()
        while story and chance.random() < 1 / 3 and story.count(";") < 3 and sum(tally.kills.values()):
            story += self._kill(tally, chance)
        end = self.run(tally.stage)
        wrong, more = self.compared()
        if end.code:
            tally.faults.append(("wrong ends", f"{story} then {end.code}: {end.text.strip()}"))
        elif wrong:
            tally.faults.append(("changed bytes", f"{story} then other or missing: {shown(wrong)}"))
        if more and not end.code:
            tally.faults.append(("left behind", f"{story} then too many: {shown(more)}"))
        self.store_failed = False
        wrong, more = self.compared()
        if end.code or wrong or more:
            self.remove([*more, *self.made[tally.stage]])
            self.run(tally.stage)
            assert self.compared() == ([], []), f"unlike the unbroken pass: {self.compared()}, {tally.faults}"

    def _kill(self, tally: Tally, chance: random.Random) -> str:
        """Run the stage with a signal at one of its points; return what was done."""
        sent = chance.choice(SIGNALS)
        at = self._point(tally.stage, chance)
        call, path = self.points[tally.stage][at - 1]
        torn = sent == signal.SIGKILL and call in WRITES and chance.random() < 0.5
        end = self.run(tally.stage, (at, TORN if torn else SIGNAL, sent))
        tally.kills[sent.name] += self.fired.value  # what is resumed may not come to that point
        story = f"{sent.name} at call {at} ({call} {os.path.relpath(path, self.work)}): {end.code}; "
        legal = {-sent} if sent == signal.SIGKILL else {-sent, RESUMABLE, 130}
        self._judge(tally, story, end, legal)
        return story

    def _error(self, tally: Tally, chance: random.Random) -> str:
        """Run the stage with an error at one of its points; return what was done."""
        at = self._point(tally.stage, chance)
        call, path = self.points[tally.stage][at - 1]
        kinds = [(FAIL, errno.EIO)]
        if call in WRITES:
            kinds += [(FAIL, errno.ENOSPC), (SHORT, 0), (FULL, errno.ENOSPC)]
        elif call not in ("close", "fsync"):
            kinds += [(FAIL, errno.EACCES), (FULL, errno.ENOSPC)]
        action, value = chance.choice(kinds)
        end = self.run(tally.stage, (at, action, value))
        tally.errors += self.fired.value
        name = {SHORT: "half a write", FULL: "a full disk"}.get(action, errno.errorcode.get(value, ""))
        story = f"{name} at call {at} ({call} {os.path.relpath(path, self.work)}): {end.code}; "
        self.store_failed = "/.dretrieve" in path or action == FULL
        self._judge(tally, story, end, {0} if action == SHORT else {3})
        return story

    def _judge(self, tally: Tally, story: str, end: End, legal: set[int]) -> None:
        """Note an end that is not legal, or that says "whole" of what is not."""
        lines = end.text.strip().splitlines()
        if end.code == 0:
            wrong, _ = self.compared()
            if wrong:
                tally.faults.append(("false successes", f"{story} but missing or other: {shown(wrong)}"))
        elif end.code not in legal or any("unexpected" in line or "Traceback" in line for line in lines):
            tally.faults.append(("wrong ends", story + end.text.strip()[-600:]))
        elif end.code > 0 and sum(line.startswith("dretrieve: ") for line in lines) != 1:
            tally.faults.append(("wrong ends", f"{story} without one sentence: {end.text.strip()[-600:]}"))

    def _point(self, stage: str, chance: random.Random) -> int:
        """Return a point, from 1: first a kind of call and file, for many equal ones must not hide others."""
        kinds: dict[tuple[str, str], list[int]] = {}
        for at, (call, path) in enumerate(self.points[stage], 1):
            kinds.setdefault((call, re.sub(r"\.tmp-.*|[0-9]+", "", path)), []).append(at)
        return chance.choice(chance.choice(list(kinds.values())))


def shown(names: Sequence[str]) -> str:
    """Return the first of many names."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def share(total: int, parts: int) -> list[int]:
    """Return whole numbers that differ by one at most and sum up to ``total``."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def work(worker: Worker, plan: Sequence[tuple[str, int, int]], out: int) -> None:
    """In a fork: go through the plan and write one line of JSON for each stage."""
    worker.unbroken()
    for stage, kills, errors in plan:
        tally = worker.trials(stage, kills, errors)
        line = json.dumps([stage, tally.points, tally.kills, tally.errors, tally.faults])
        os.write(out, line.encode() + b"\n")


def start(folder: Path, words: argparse.Namespace) -> list[Any]:
    """Load everything, start the workers, and return the ends to read from."""
    import threading

    import warm

    os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")
    warm.load_everything()
    first = Worker(folder / "first", Path(words.library), "")
    first.unbroken()
    names = words.stages.split(",") if words.stages else list(first.stages)
    if unknown := set(names) - set(first.stages):
        sys.exit(f"no stage {', '.join(unknown)}; there are {', '.join(first.stages)}")
    names = [name for name in names if first.points[name]]
    assert threading.active_count() == 1, "only a process of one thread may fork"
    ends = []
    plans: list[list[tuple[str, int, int]]] = [[] for _ in range(words.jobs)]
    for name, kills, errors in zip(
        names, share(words.kills, len(names)), share(words.errors, len(names)), strict=True
    ):
        for plan, part, failing in zip(
            plans, share(kills, words.jobs), share(errors, words.jobs), strict=True
        ):
            plan.append((name, part, failing))
    for number, plan in enumerate(plans):
        receive, send = os.pipe()
        if os.fork() == 0:
            os.close(receive)
            work(Worker(folder / str(number), Path(words.library), f"{words.seed} {number}"), plan, send)
            os._exit(0)
        os.close(send)
        ends.append(os.fdopen(receive))
    return ends


def report(ends: list[Any]) -> int:
    """Print one line a stage and the sum; return the exit code."""
    began, total, kills, errors = time.monotonic(), Counter[str](), Counter[str](), 0
    for lines in zip(*ends, strict=True):
        parts = [json.loads(line) for line in lines]
        stage, points = parts[0][:2]
        own = sum((Counter(part[2]) for part in parts), Counter[str]())
        failed = sum(part[3] for part in parts)
        found = [fault for part in parts for fault in part[4]]
        counts = Counter(kind for kind, _ in found)
        told = " ".join(f"{name[3:]} {own[name]}" for name in sorted(own))
        told = f"{stage:<15} points {points:>4}  kills {own.total():>4} ({told})  errors {failed:>3}"
        print("  ".join([told, *(f"{kind} {counts[kind]}" for kind in FAULTS)]), flush=True)
        for kind, story in found[:10]:
            print(f"    {kind}: {story}", flush=True)
        total, kills, errors = total + counts, kills + own, errors + failed
    for _ in ends:
        if os.wait()[1]:
            total["wrong ends"] += 1
            print("a worker ended early")
    faults = "  ".join(f"{kind} {total[kind]}" for kind in FAULTS)
    print(f"kills {kills.total()}  errors {errors}  {faults}  in {time.monotonic() - began:.0f} s")
    return int(total.total() > 0)


def main() -> int:
    """Compile the library and start again with it loaded; or, so started, do the trials."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--errors", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stages", default="", help="names with commas; all by default")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--library", default="", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.library:
        return report(start(Path(words.library).parent, words))
    with tempfile.TemporaryDirectory(prefix="dretrieve-chaos-") as name:
        library = Path(name) / "calls.so"
        source = Path(__file__).with_name("chaos_calls.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        more = {"LD_PRELOAD": str(library), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, __file__, *sys.argv[1:], "--library", str(library)]
        return subprocess.run(command, env=os.environ | one | more, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
