"""Seconds of a training step of Det-R and of DPR, round for round in turn, as an artefact for the report.

    python tests/bench/step_seconds.py OUTPUT --texts COLLECTION [--device cpu] [--precision fp32]
        [--batch 16] [--rounds 12] [--dry-run --json]

MiniLM on the collection's passages, measured by bench_taser.py: CPU seconds of one thread, or
seconds on a GPU that is waited for. ``--device auto`` is the GPU where torch sees one. Exit code 3 where
the collection or the device is not there: on other texts it would be another number.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH))

import bench_taser  # noqa: E402
import torch  # noqa: E402

from dretrieve.encoding.numerics import device_model  # noqa: E402
from dretrieve.errors import DretrieveError, PreconditionError  # noqa: E402
from dretrieve.store.fingerprint import sha256_file  # noqa: E402
from dretrieve.store.stage import Stage  # noqa: E402
from dretrieve.text.collection import Collection  # noqa: E402

ROWS = {"dpr": "dpr", "det": "Det-R"}  # the report's names, and the bench's


def read_words(words: list[str]) -> argparse.Namespace:
    """Return what to measure; ``--device auto`` is resolved.

    Raises:
        PreconditionError: no such collection, no GPU.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    for name, default in (("batch", 16), ("rounds", 12)):
        parser.add_argument(f"--{name}", type=bench_taser.positive, default=default)
    for name in ("--dry-run", "--json"):
        parser.add_argument(name, action="store_true")
    given = parser.parse_args(words)
    if not given.texts.is_dir():
        raise PreconditionError(
            f"{given.texts} is not there, and its texts are what steps are timed on; "
            "set DATA to the folder that holds it"
        )
    given.device = bench_taser.places(given.device)[-1]  # of auto's the GPU, where there is one
    return given


def stage_of(given: argparse.Namespace) -> Stage:
    """Return the artefact, whose fingerprint holds what decides the seconds: words, texts, bench, machine."""
    options = {name: getattr(given, name) for name in ("precision", "batch", "rounds")}
    options |= {"device": device_model(given.device), "torch": torch.__version__}
    inputs = {name: sha256_file(BENCH / f"{name}.py") for name in ("bench_taser", "bench_train")}
    inputs["texts"] = Collection.open(str(given.texts)).sha256
    return Stage(given.output, "file", "bench", 2, options, inputs)


def main(words: list[str]) -> int:
    """Measure, unless the output stands there; return the exit code."""
    try:
        given = read_words(words)
        stage = stage_of(given)
        if given.dry_run:
            sys.stdout.write(json.dumps(stage.planned("would time training steps").as_json()) + "\n")
        elif not stage.up_to_date():
            torch.set_num_threads(1)
            names = ("device", "precision", "batch", "rounds", "texts")
            setting = bench_taser.Setting(**{name: getattr(given, name) for name in names})
            spent = bench_taser.rounds(setting, ROWS.values())
            seconds = {row: [round(value, 6) for value in spent[name]] for row, name in ROWS.items()}
            with stage.write(text=True) as file:
                file.write(json.dumps(seconds) + "\n")
            stage.commit(counts={"methods": len(seconds), "rounds": given.rounds}, extra={"seconds": seconds})
    except DretrieveError as error:
        sys.stderr.write(f"step_seconds.py: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
