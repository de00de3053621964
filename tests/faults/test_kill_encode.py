"""SIGKILL between and inside the chunks of `encode`, several times: then the bytes of an unbroken run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dretrieve.jobs import encode as job

ROWS, KILLS = 12_000, 4
# The same job, with a pause in the middle of every append, so that kills land inside chunks too.
SLOW = """
import sys, time
from pathlib import Path
from dretrieve.jobs import encode as job
from dretrieve.store import journal
sync = journal.os.fsync
journal.os.fsync = lambda handle: (time.sleep(0.08), sync(handle))
model, corpus, output = sys.argv[1:]
job.run(job.EncodeConfig(model=model, corpus=corpus, output=Path(output), precision="fp32", device="cpu"))
"""


@pytest.mark.slow
def test_killed_at_random_moments(tiny_model: Path, tmp_path: Path, root: Path) -> None:
    corpus = tmp_path / "set"
    corpus.mkdir()
    chance = random.Random(5)
    with open(corpus / "corpus.jsonl", "w", encoding="utf-8") as file:
        for row in range(ROWS):
            text = " ".join(
                chance.choices("moon tide ocean wave bread flour".split(), k=chance.randint(1, 20))
            )
            file.write(json.dumps({"_id": f"p{row}", "title": "", "text": text}) + "\n")
    wanted = job.EncodeConfig(
        model=str(tiny_model), corpus=str(corpus), output=tmp_path / "whole", precision="fp32", device="cpu"
    )
    job.run(wanted)
    command = [sys.executable, "-c", SLOW, str(tiny_model), str(corpus), str(tmp_path / "broken")]
    journal = tmp_path / "broken" / ".shard-00000-of-00001.partial" / "journal.jsonl"
    reached = []
    for _ in range(KILLS):
        process = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        )
        before = len(reached) and reached[-1]
        end = time.monotonic() + 120
        while process.poll() is None and lines(journal) <= before and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.wait()
        reached.append(lines(journal))
    assert reached == sorted(reached), "a resumed run threw durable chunks away"
    assert 0 < reached[0] < 12, "no kill landed between the first chunk and the last"
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(root)}, timeout=300)
    for path in sorted((tmp_path / "whole").glob("shard-*")):
        if "provenance" not in path.name:
            assert (tmp_path / "broken" / path.name).read_bytes() == path.read_bytes(), path.name


def lines(journal: Path) -> int:
    """Return how many chunks are durable."""
    try:
        return journal.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
