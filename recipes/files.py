"""What recipes do with files besides dretrieve's commands.

python recipes/files.py concatenate OUTPUT FILE...          tables with one header line become one
python recipes/files.py link PASSAGES QUESTIONS OUTPUT      a collection of two others' files
python recipes/files.py best LINK MODEL...                  the model that was best on dev
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def concatenate(output: Path, *files: Path) -> None:
    """Write the files' lines after one another, the header line once."""
    tables = [file.read_text(encoding="utf-8").splitlines(keepends=True) for file in files]
    if len({lines[0] for lines in tables}) != 1:
        raise ValueError(f"{', '.join(map(str, files))} begin with different header lines")
    text = "".join([tables[0][0], *(line for lines in tables for line in lines[1:])])
    if not output.exists() or output.read_text(encoding="utf-8") != text:
        output.write_text(text, encoding="utf-8")


def link(passages: Path, questions: Path, output: Path) -> None:
    """Make a collection of the one's passages and the other's training questions; nothing is copied."""
    (output / "qrels").mkdir(parents=True, exist_ok=True)
    lead(output / "corpus.jsonl", passages / "corpus.jsonl")
    for name in ("queries.jsonl", "qrels/train.tsv"):
        lead(output / name, questions / name)


def best(name: Path, *models: Path) -> None:
    """Say every model's value on dev and lead ``name`` to the highest; of equal ones to the first."""
    values = {}
    for folder in models:
        extra = json.loads((folder / "manifest.json").read_bytes())["extra"]
        values[folder] = extra["best"]
        said = f"dev {extra['metric']} {extra['best']:.4f} after step {extra['best_step']}"
        sys.stdout.write(f"{folder.name}: {said}\n")
    chosen = max(models, key=lambda folder: values[folder])
    sys.stdout.write(f"{name.name} is {chosen.name}\n")
    lead(name, chosen)


def lead(name: Path, target: Path) -> None:
    """Make ``name`` a relative link to ``target``."""
    name.unlink(missing_ok=True)
    name.symlink_to(os.path.relpath(target, name.parent))


if __name__ == "__main__":
    {"concatenate": concatenate, "link": link, "best": best}[sys.argv[1]](*map(Path, sys.argv[2:]))
