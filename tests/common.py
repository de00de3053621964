"""What tests of several packages need: files, runs, `prepare`, a listening progress, broken trainings."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dretrieve.errors import Interrupted
from dretrieve.runs.build import HitColumns, build_run
from dretrieve.runs.read import read_run
from dretrieve.types import Run, Silent


def lines(path: Path, *rows: object) -> Path:
    """Write each row as JSON (strings as they are) on a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return each file of an output by its name there, but the provenance and the text store."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "provenance.json" and ".dretrieve" not in path.parts
    }


def flip(path: Path, place: float = 0.5, *, dated: bool = False) -> None:
    """Flip a bit at that share of the file, or in that byte; its time stays, or is a later one."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[int(len(data) * place) if 0 < place < 1 else int(place)] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + (10**9 if dated else 0)))


def run_of(hits: Mapping[str, Mapping[str, float]]) -> Run:
    """Return the run of ``{query: {passage: score}}``, scores in 32 bits."""
    passages: dict[str, int] = {}
    rows = [
        (query, passages.setdefault(passage, len(passages)), score)
        for query, found in enumerate(hits.values())
        for passage, score in found.items()
    ]
    columns = HitColumns.of(list(hits), list(passages), rows)
    return build_run(replace(columns, scores=columns.scores.astype(np.float32)))


def hits_of(run: Run) -> dict[str, list[tuple[str, float]]]:
    """Return ``{query: [(passage, score), …]}``, best first."""
    return {query: list(run.hits(row)) for row, query in enumerate(run.query_ids)}


def prepared(source: object, output: Path, **options: Any) -> dict[str, Any]:
    """Run ``prepare`` and return its JSON."""
    from dretrieve.jobs.prepare import PrepareConfig, run

    return run(PrepareConfig(source=str(source), output=output, **options)).as_json()


class Told(Silent):
    """Keeps what it is told in ``lines``; sends a signal to the process after ``steps`` of progress."""

    def __init__(self, steps: int = 0) -> None:
        self.left, self.lines = steps, list[str]()

    def note(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, units: int) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)


class Counted(Silent):
    """Counts the units of each stage by its label."""

    def __init__(self) -> None:
        self.label, self.units = "", dict[str, int]()

    def start(self, label: str, total: int | None, unit: str, done: int = 0) -> None:
        self.label = label
        self.units[label] = done

    def advance(self, units: int) -> None:
        self.units[self.label] += units


def training(
    method: str,
    own: dict[str, Any],
    backbone: object,
    data: str | tuple[str, ...],
    output: Path,
    **options: Any,
) -> Any:
    """Return the config of a training on the processor in float32; ``own`` are the method's options."""
    from dretrieve.jobs.configs.train import TrainConfig
    from dretrieve.models.registry import find
    from dretrieve.training.options import TrainOptions

    return TrainConfig(
        method=method,
        method_config=find(method).config()(**own),
        backbone=str(backbone),
        data=data if isinstance(data, tuple) else (data,),
        output=output,
        options=TrainOptions(**({"device": "cpu", "precision": "fp32"} | options)),
    )


def num_resumed(config_of: Callable[[Path], Any], folder: Path) -> int:
    """Train unbroken, and with a signal after three steps: the same bytes; return of how many files."""
    from dretrieve.jobs.train import run

    unbroken, broken = folder / "unbroken", folder / "broken"
    run(config_of(unbroken))
    with pytest.raises(Interrupted):
        run(config_of(broken), Told(3))
    run(config_of(broken))
    names = sorted(path.relative_to(unbroken) for path in unbroken.rglob("*.safetensors"))
    for name in names:
        assert (unbroken / name).read_bytes() == (broken / name).read_bytes(), name
    return len(names)


def token_batch(rows: Iterable[list[int]]) -> Any:
    """Return those token numbers as a batch, padded with 0 on the right."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from dretrieve.models.base import TokenBatch

    parts = [torch.tensor(row) for row in rows]
    mask = [torch.ones(len(part), dtype=torch.bool) for part in parts]
    return TokenBatch(pad_sequence(parts, batch_first=True), pad_sequence(mask, batch_first=True))


def indexing(work: Path, output: str = "index", embeddings: str = "emb", **options: Any) -> Any:
    """Return the config of a token index over embeddings in that folder."""
    from dretrieve.jobs.index import IndexConfig

    return IndexConfig(type="token", embeddings=work / embeddings, output=work / output, **options)


def searching(work: Path, output: str = "run.trec", index: str | Path = "index", **options: Any) -> Any:
    """Return the config of a search with the ``queries`` in that folder, or with others among the options."""
    from dretrieve.jobs.search import SearchConfig

    given = {"index": work / index, "query_embeddings": work / "queries", "output": work / output}
    return SearchConfig(**given | options)


def searched(config: Any, *progress: Any) -> list[list[tuple[str, float]]]:
    """Search; return the hits of each query of the run."""
    from dretrieve.jobs.search import run

    run(config, *progress)
    return list(hits_of(read_run(config.output)).values())


def killed_and_resumed(
    words: Callable[[Path], list[object]], folder: Path, environment: Mapping[str, str], goals: Iterable[int]
) -> tuple[Path, Path]:
    """Train in processes of their own: unbroken, and killed past each of those steps; return both outputs."""
    unbroken, broken = folder / "unbroken", folder / "broken"

    def start(output: Path) -> subprocess.Popen[str]:
        command, pipe = [sys.executable, "-m", "dretrieve_cli", *map(str, words(output))], subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)

    def finished(process: subprocess.Popen[str]) -> str:
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
        return said

    finished(start(unbroken))
    for goal in goals:
        process, end = start(broken), time.monotonic() + 300
        while steps_done(broken) < goal and process.poll() is None and time.monotonic() < end:
            time.sleep(random.uniform(0.001, 0.02))
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
    assert "resuming after step" in finished(start(broken))
    return unbroken, broken


def steps_done(output: Path) -> int:
    """Return how far the newest checkpoint is."""
    names = [path.name for path in (output / "checkpoints").glob("step-*")]
    return max((int(name.rpartition("-")[2]) for name in names), default=0)
