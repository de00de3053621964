"""What recipes do with files besides dretrieve's commands.

python recipes/files.py concatenate OUTPUT FILE...          tables with one header line become one
python recipes/files.py link PASSAGES QUESTIONS OUTPUT      a collection of two others' files
python recipes/files.py best LINK MODEL[=METRICS]...        the model best on dev, or by those measures
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


def best(name: Path, *choices: Path) -> None:
    """Say every model's value on dev and lead ``name`` to the highest; of equal ones to the first.

    Args:
        name: the link.
        choices: models that looked at dev in training, or ``MODEL=METRICS`` with nDCG@10 in a metrics file.
    """
    values = {}
    for choice in choices:
        folder, _, metrics = str(choice).partition("=")
        if metrics:
            value = json.loads(Path(metrics).read_bytes())["runs"][0]["mean"]["nDCG@10"]
            said = f"dev nDCG@10 {value:.4f}"
        else:
            extra = json.loads((choice / "manifest.json").read_bytes())["extra"]
            value = extra["best"]
            said = f"dev {extra['metric']} {value:.4f} after step {extra['best_step']}"
        values[Path(folder)] = value
        sys.stdout.write(f"{Path(folder).name}: {said}\n")
    chosen = max(values, key=lambda folder: values[folder])
    sys.stdout.write(f"{name.name} is {chosen.name}\n")
    lead(name, chosen)


def lead(name: Path, target: Path) -> None:
    """Make ``name`` a relative link to ``target``."""
    name.unlink(missing_ok=True)
    name.symlink_to(os.path.relpath(target, name.parent))


if __name__ == "__main__":
    {"concatenate": concatenate, "link": link, "best": best}[sys.argv[1]](*map(Path, sys.argv[2:]))
