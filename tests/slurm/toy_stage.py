"""A stage as small as can be: ``toy_stage.py toy --output DIR --rows N [--slow SHARD] --shard array/N``.

Writes the squares of its rows, as a shard does: data first, manifest last. The shard named by ``--slow``
waits for the file ``DIR.go`` before it writes, so that a test can kill it at that moment.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from dretrieve.store.interrupt import interruptible
from dretrieve.store.shards import parse_shard, shard_rows
from dretrieve.store.stage import Stage


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=["toy", "join"])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--slow", type=int)
    parser.add_argument("--shard")
    options = parser.parse_args()
    if options.stage == "join":
        parts = sorted(options.output.glob("shard-*.txt"))
        Path(f"{options.output}.joined").write_text("".join(part.read_text() for part in parts))
        return 0
    shard = shard_rows(options.rows, *parse_shard(options.shard))
    Path(f"{options.output}.started-{shard.index}").write_text(os.environ.get("SLURM_JOB_ID", ""))
    with interruptible() as signals:
        end = time.monotonic() + 600
        while shard.index == options.slow and not Path(f"{options.output}.go").exists():
            signals.check()
            assert time.monotonic() < end, "nobody said go"
            time.sleep(0.05)
    alone = shard.stem in options.output.name
    part = Stage(
        options.output if alone else options.output / f"{shard.stem}.txt",
        "file",
        "toy",
        options={"rows": options.rows},
    )
    with part.write(text=True) as file:
        file.writelines(f"{row * row}\n" for row in range(shard.start, shard.stop))
    part.commit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
