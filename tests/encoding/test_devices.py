from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from dretrieve.encoding import devices
from dretrieve.encoding.devices import ModelRequest, encode_over
from dretrieve.encoding.pipeline import encode_chunks
from dretrieve.errors import DretrieveError, Interrupted, PreconditionError
from dretrieve.store.interrupt import Signals


def reads(records, rows=256):
    return [(lambda start=start: records[start : start + rows]) for start in range(0, len(records), rows)]


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(tiny_model, model, records):
    request = ModelRequest(name=str(tiny_model), precision="fp32", side="passage")
    seen: list[int] = []
    found = list(encode_over(request, ["cpu", "cpu"], reads(records), Signals(), seen.append))
    expected = list(encode_chunks(model, "passage", reads(records)))
    assert {chunk.engine for chunk in found} == {expected[0].engine}, "what ran in the other processes"
    assert len(found) == len(expected) == 10
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.vectors.values, other.vectors.values)
        assert (one.tokens, one.truncated) == (other.tokens, other.truncated)
    assert sum(seen) == len(records)


@pytest.mark.slow
def test_an_error_in_a_process_comes_back_as_its_sentence(records):
    request = ModelRequest(name="/no/such/model", precision="fp32", side="passage")
    with pytest.raises(PreconditionError, match="does not exist"):
        list(encode_over(request, ["cpu", "cpu"], reads(records[:10]), Signals()))


def test_a_process_that_dies_is_reported(tiny_model, records, monkeypatch):
    import os

    request = ModelRequest(name=str(tiny_model), precision="fp32", side="passage")

    class KillOnce:
        workers: ClassVar[list] = []

        def check(self):
            while self.workers:
                os.kill(self.workers.pop()._process.pid, 9)

    class Worker(devices._Worker):
        def __init__(self, *words):
            super().__init__(*words)
            KillOnce.workers.append(self)

    monkeypatch.setattr(devices, "_Worker", Worker)
    with pytest.raises(DretrieveError, match=r"died with exit code -9; run the same command again"):
        list(encode_over(request, ["cpu"], reads(records[:10]), KillOnce()))


def test_a_signal_that_ends_the_processes_too_is_an_interruption(tiny_model, records, monkeypatch):
    """As a scheduler sends it: the process is gone before this one looks at its own signal."""
    workers = []

    class Worker(devices._Worker):
        def __init__(self, *words):
            super().__init__(*words)
            workers.append(self)

    class Signalled(Signals):
        def check(self):
            super().check()
            workers[0]._process.terminate()
            workers[0]._process.join()
            self.set(signal.SIGTERM)

    monkeypatch.setattr(devices, "_Worker", Worker)
    request = ModelRequest(name=str(tiny_model), precision="fp32", side="passage")
    with pytest.raises(Interrupted, match="SIGTERM at a safe point"):
        list(encode_over(request, ["cpu"], reads(records[:10]), Signalled()))


PARENT = """
import multiprocessing, sys, time
from dretrieve.encoding.devices import ModelRequest, _Worker
if __name__ == "__main__":
    request = ModelRequest(name=sys.argv[1], precision="fp32", side="passage")
    worker = _Worker(multiprocessing.get_context("spawn"), request, "cpu")
    print(worker._process.pid, flush=True)
    time.sleep(600)
"""


def test_the_processes_of_a_killed_parent_end(tiny_model, tmp_path):
    """Nobody sends them the end of the work, and they hold a GPU's memory until somebody finds them."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script, tiny_model], stdout=subprocess.PIPE) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    ends = time.monotonic() + 60
    while time.monotonic() < ends and _works(worker):
        time.sleep(0.05)
    assert not _works(worker)


def _works(process):
    """Return whether the process is there and no zombie that a container's first process never collects."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.gpu
def test_gpu_and_cpu_vectors_agree(tiny_model, model, records):
    from dretrieve.encoding.pipeline import encode_records
    from dretrieve.models.loading import load_model

    expected = encode_records(model, "passage", records, "float32").values
    for precision in ("fp32", "bf16"):
        found = encode_records(
            load_model(str(tiny_model), "cuda", precision), "passage", records, "float32"
        ).values
        units = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (expected, found)]
        assert (units[0] * units[1]).sum(axis=1).min() > 0.999
