"""What is made in parts, each by a task of its own, and what the parts add up to.

Parts of one output file stand beside it: ``fused.trec.shard-00000-of-00004``.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import IO

from dretrieve.errors import DretrieveError, VerificationError
from dretrieve.store.manifest import Manifest
from dretrieve.store.shards import Shard, check_tiling, shard_stem
from dretrieve.store.stage import Stage, differences, open_artefact

Part = tuple[Path, Manifest]


def part_of(whole: Stage, shard: tuple[int, int] | None) -> Stage:
    """Return the stage of that part (index, count) of a stage's output; the whole for None."""
    if shard is None:
        return whole
    output = whole.output.with_name(f"{whole.output.name}.{shard_stem(*shard)}")
    return replace(whole, output=output, options={**whole.options, "shard": list(shard)})


def finished_parts(whole: Stage) -> list[Part]:
    """Return the parts that together are the stage's output, in order; none while one of them lacks.

    A part is a stage like the whole, whose options have ``shard`` (index, count) beside; a part has none.
    """
    if "shard" in whole.options:
        return []
    found: dict[int, dict[int, Part]] = {}
    for path in sorted(whole.output.parent.glob(f"{escape(whole.output.name)}.shard-*-of-?????")):
        try:
            manifest = open_artefact(path, (whole.name,))
        except DretrieveError:
            continue  # broken or half written: as good as not there
        if whole_of(manifest).fingerprint == whole.fingerprint:
            index, count = manifest.options.get("shard", (0, 0))
            found.setdefault(count, {})[index] = (path, manifest)
    complete = (parts for count, parts in found.items() if len(parts) == count)
    return [part for _, part in sorted(next(complete, {}).items())]


def whole_of(part: Manifest, own: Collection[str] = ("shard",)) -> Manifest:
    """Return the manifest without counts and files, and without the options that are a part's ``own``."""
    options = {name: value for name, value in part.options.items() if name not in own}
    return Manifest(stage=part.stage, version=part.version, options=options, inputs=part.inputs)


def tiling_parts(
    found: Sequence[Part],
    kind: str,
    kinds: str,
    *,
    where: str,
    elsewhere: str = "",
    own: Collection[str] = ("shard",),
) -> list[Part]:
    """Return finished parts of one thing in the order of their rows, which they cover exactly once.

    Args:
        found: each with its `Shard` among its options.
        kind: what is not whole, and which command makes parts: "run, not a part made by search".
        kinds: "searches".
        where: "the list of partial runs".
        elsewhere: what to do with a whole one.
        own: options in which the parts of one thing may differ.

    Raises:
        PreconditionError: a part is missing.
        VerificationError: no parts, parts of different things, overlapping parts.
    """
    first_path, first = found[0]
    for path, manifest in found:
        if "shard" not in manifest.options:
            raise VerificationError(f"{path} is a whole {kind} --shard I/N{elsewhere}")
        ours, theirs = whole_of(first, own), whole_of(manifest, own)
        if ours.fingerprint != theirs.fingerprint:
            raise VerificationError(
                f"{first_path} and {path} are parts of different {kinds} ({differences(ours, theirs)}); "
                "merge the parts of one"
            )
    shards = [Shard(**manifest.options["shard"]) for _, manifest in found]
    check_tiling(shards, shards[0].total, where)
    return [part for _, part in sorted(zip(shards, found, strict=True), key=lambda pair: pair[0])]


def join_parts(file: IO[bytes], parts: Sequence[Part]) -> Counter[str]:
    """Write the parts one after the other, the bytes that one task would have written; return the counts."""
    counts: Counter[str] = Counter()
    for path, manifest in parts:
        counts.update({name: int(value) for name, value in manifest.counts.items()})
        with open(path, "rb") as part:
            shutil.copyfileobj(part, file)
    return counts
