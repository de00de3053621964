"""Two programs on one machine: how long two take that start together, beside one alone.

Run: ``python tests/bench/bench_beside.py [--rounds 3] [--steps 8]``. The program is ``dretrieve train
shared`` on Python's documentation, with every processor of the machine, in three ways that take turns: alone;
alone with the OpenMP library's own waiting (``GOMP_SPINCOUNT=300000``, as when nothing is said); two at once.
Two fair neighbours take 2.0 times the time of one. The rule: two take at most 2.3 times what one takes, and
one alone at most 1.03 times what it takes with the library's own waiting.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
TOGETHER, ALONE = 2.3, 1.03
DRETRIEVE = [sys.executable, "-m", "dretrieve_cli"]


def seconds(folder: Path, steps: int, copies: int, **variables: str) -> float:
    """Return the wall time until that many trainings, begun together, have ended."""
    began = time.perf_counter()
    words = [*DRETRIEVE, "train", "shared", "--backbone", "minilm", "--data", f"{folder / 'text'}:train"]
    words += ["--max-steps", str(steps), "--force", "--quiet", "--output"]
    running = [
        subprocess.Popen(
            [*words, str(folder / f"model-{number}")], env=ENVIRONMENT | variables, stdout=subprocess.DEVNULL
        )
        for number in range(copies)
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"a training ended with exit code {max(codes)}")
    return time.perf_counter() - began


def main() -> None:
    """Print the medians and both ratios; exit 1 above a limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    asked = parser.parse_args()
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"):
        ENVIRONMENT.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="bench-beside-") as place:
        folder = Path(place)
        command = [*DRETRIEVE, "prepare", "pydocs", "--output", str(folder / "text"), "--quiet"]
        subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
        seconds(folder, 1, 1)  # fills the caches of compiled loops and tokens
        times: dict[str, list[float]] = {"alone": [], "alone, spinning": [], "two at once": []}
        for _ in range(asked.rounds):
            times["alone"].append(seconds(folder, asked.steps, 1))
            times["alone, spinning"].append(seconds(folder, asked.steps, 1, GOMP_SPINCOUNT="300000"))
            times["two at once"].append(seconds(folder, asked.steps, 2))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:<18}{value:8.1f} s   {value / medians['alone']:5.2f} x")
    if medians["two at once"] > TOGETHER * medians["alone"]:
        raise SystemExit(f"two at once take more than {TOGETHER} times what one takes")
    if medians["alone"] > ALONE * medians["alone, spinning"]:
        raise SystemExit(f"one alone loses more than {ALONE - 1:.0%} by not spinning")


if __name__ == "__main__":
    main()
