"""One output file made in parts, each by a task of its own beside it: ``fused.trec.shard-00000-of-00004``."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from dretrieve.errors import DretrieveError
from dretrieve.store.manifest import Manifest
from dretrieve.store.shards import shard_stem
from dretrieve.store.stage import Stage, open_artefact

Part = tuple[Path, Manifest]


def part_path(output: Path, shard: tuple[int, int] | None) -> Path:
    """Return where part (index, count) of an output goes; the output itself for None."""
    return output if shard is None else output.with_name(f"{output.name}.{shard_stem(*shard)}")


def finished_parts(whole: Stage) -> list[Part]:
    """Return the parts that together are the stage's output, in order; none while one of them lacks.

    A part is a stage like the whole, whose options have ``shard`` (index, count) beside; a part has none.
    """
    if "shard" in whole.options:
        return []
    found: dict[int, dict[int, Part]] = {}
    for path in sorted(whole.output.parent.glob(f"{whole.output.name}.shard-*-of-?????")):
        try:
            manifest = open_artefact(path, (whole.name,))
        except DretrieveError:
            continue  # broken or half written: as good as not there
        options = dict(manifest.options)
        index, count = options.pop("shard", (0, 0))
        if options == dict(whole.options) and dict(manifest.inputs) == dict(whole.inputs):
            found.setdefault(count, {})[index] = (path, manifest)
    complete = (parts for count, parts in found.items() if len(parts) == count)
    return [part for _, part in sorted(next(complete, {}).items())]


def join_parts(file: IO[bytes], parts: Sequence[Part]) -> Counter[str]:
    """Write the parts one after the other, the bytes that one task would have written; return the counts."""
    counts: Counter[str] = Counter()
    for path, manifest in parts:
        counts.update({name: int(value) for name, value in manifest.counts.items()})
        with open(path, "rb") as part:
            shutil.copyfileobj(part, file)
    return counts
