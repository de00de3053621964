"""Start-up: ``dretrieve --help`` beside ``import typer, rich``.

Run: ``python tests/bench/bench_help.py [--rounds 15]``. Whole processes take turns; passes at 1.5 times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
SIDES = {
    "dretrieve --help": ["-m", "dretrieve_cli", "--help"],
    "dretrieve search --help": ["-m", "dretrieve_cli", "search", "--help"],
    "import typer, rich": ["-c", "import typer, rich"],
}
LIMIT = 1.5


def seconds(words: list[str]) -> float:
    """Run Python with those words and return its wall time."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Print the medians and the ratio; exit 1 above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(rounds + 1):
        for name, words in SIDES.items():
            times[name].append(seconds(words))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    base = medians["import typer, rich"]
    for name, value in medians.items():
        print(f"{name:<26}{value:8.3f} s   {value / base:5.2f} x")
    if medians["dretrieve --help"] > LIMIT * base:
        raise SystemExit(f"--help takes more than {LIMIT} times `import typer, rich`")


if __name__ == "__main__":
    main()
