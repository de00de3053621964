"""The files of a model's folder, for the stages that write one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from dretrieve.store.manifest import read_manifest
from dretrieve.store.stage import Stage

RECORDS = ("manifest.json", "provenance.json", "state.json")


def listed(stage: Stage) -> list[Path]:
    """Return the files of the finished result that stands in the output, whatever made it."""
    if not stage.manifest_file.exists():
        return []
    return [stage.output / name for name in read_manifest(stage.manifest_file).files]


def model_files(folder: Path, skipped: Collection[str] = ()) -> list[str]:
    """Return the names of what stands in a model's folder but records, hidden files and ``skipped`` parts."""
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        str(name)
        for name in names
        if name.parts[0] not in skipped and name.name not in RECORDS and not name.name.startswith(".")
    ]
