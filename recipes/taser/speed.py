"""Seconds of a training step of Det-R and of DPR, one after the other in turn, as an artefact for the report.

    python recipes/taser/speed.py OUTPUT [options of tests/bench/bench_taser.py]

MiniLM on SQuAD's texts, as the bench measures it; needs the collection squad.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.stage import Stage

BENCH = Path(__file__).resolve().parents[2] / "tests" / "bench" / "bench_taser.py"
LINE = re.compile(r"^(dpr|Det-R) +([\d.]+) s a step", re.MULTILINE)


def measured(words: list[str]) -> dict[str, float]:
    """Run the bench and return method to seconds a step; its own verdict does not matter here.

    Raises:
        ValueError: it did not print them.
    """
    done = subprocess.run(
        [sys.executable, str(BENCH), *words], stdout=subprocess.PIPE, text=True, check=False
    )
    sys.stderr.write(done.stdout)
    found = {name: float(seconds) for name, seconds in LINE.findall(done.stdout)}
    if set(found) != {"dpr", "Det-R"}:
        raise ValueError(f"{BENCH.name} ended with exit code {done.returncode} and printed no seconds a step")
    return {"dpr": found["dpr"], "det": found["Det-R"]}


def main(output: Path, words: list[str]) -> None:
    """Measure, unless the output stands there."""
    stage = Stage(output, "file", "bench", 1, {"words": words}, {"bench": sha256_file(BENCH)}, False)
    if stage.up_to_date():
        return
    seconds = measured(words)
    with stage.write(text=True) as file:
        file.write("".join(f"{name}\t{value:.4f}\n" for name, value in seconds.items()))
    stage.commit(counts={"methods": len(seconds)}, extra={"seconds": seconds})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
