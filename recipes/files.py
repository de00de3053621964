"""What recipes do with files besides dretrieve's commands.

python recipes/files.py concatenate OUTPUT FILE...          tables with one header line become one
python recipes/files.py link PASSAGES QUESTIONS OUTPUT      a collection of two others' files
python recipes/files.py best LINK MODEL[=METRICS,...]...    the model best on dev, or by the mean of those
python recipes/files.py sample OUTPUT QRELS COUNT           the judgements of so many of the questions
python recipes/files.py berri OUTPUT SET                    a set of BERRI's as DPR's training rows
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from dretrieve.store.atomic import replacing, temporary_beside, write_bytes


def concatenate(output: Path, *files: Path) -> None:
    """Write the files' lines after one another, the header line once."""
    tables = [file.read_text(encoding="utf-8").splitlines(keepends=True) for file in files]
    if len({lines[0] for lines in tables}) != 1:
        raise ValueError(f"{', '.join(map(str, files))} begin with different header lines")
    text = "".join([tables[0][0], *(line for lines in tables for line in lines[1:])])
    if not output.exists() or output.read_text(encoding="utf-8") != text:
        write_bytes(output, text.encode())


def link(passages: Path, questions: Path, output: Path) -> None:
    """Make a collection of the one's passages and the other's questions, judged or not; nothing is copied."""
    (output / "qrels").mkdir(parents=True, exist_ok=True)
    lead(output / "corpus.jsonl", passages / "corpus.jsonl")
    for file in (questions / "queries.jsonl", *questions.glob("qrels/*.tsv")):
        lead(output / file.relative_to(questions), file)


def best(name: Path, *choices: Path) -> None:
    """Say every model's value on dev and lead ``name`` to the highest; of equal ones to the first.

    Args:
        name: the link.
        choices: models that looked at dev in training, or ``MODEL=METRICS,…``: by files' nDCG@10.
    """
    values = {}
    for choice in choices:
        folder, _, metrics = str(choice).partition("=")
        if metrics:
            files = [json.loads(Path(file).read_bytes()) for file in metrics.split(",")]
            value = sum(file["runs"][0]["mean"]["nDCG@10"] for file in files) / len(files)
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


def sample(output: Path, qrels: Path, count: int) -> None:
    """Write the judgements of ``count`` of the table's questions, at equal distances."""
    header, *lines = qrels.read_text(encoding="utf-8").splitlines(keepends=True)
    names = list(dict.fromkeys(line.split("\t")[0] for line in lines))
    kept = {names[row * len(names) // count] for row in range(count)}
    text = header + "".join(line for line in lines if line.split("\t")[0] in kept)
    write_bytes(output, text.encode())


def berri(output: Path, name: Path) -> None:
    """Write a set of BERRI's as DPR's training rows; sets name and nest their parts differently.

    Args:
        output: the file.
        name: the set's folder, or its file without ``.json``.
    """
    places = [name / "qa_data.json", *name.glob("*_train_dpr.jsonl"), name.with_name(f"{name.name}.json")]
    file = next(place for place in places if place.exists())
    with file.open(encoding="utf-8") as lines:
        rows = json.load(lines) if file.suffix == ".json" else [json.loads(line) for line in lines]
    with replacing(output, text=True) as written:
        for row in rows:
            found = {"question": row["question"], "answers": []}
            good = _passages(row, "positive_ctxs")
            hard = _passages(row, "hard_negative_ctxs") or _passages(row, "negative_ctxs")
            found |= {"positive_ctxs": good, "hard_negative_ctxs": hard}
            written.write(json.dumps(found, ensure_ascii=False) + "\n")


def _passages(row: dict[str, Any], part: str) -> list[dict[str, str]]:
    found = []
    for passage in row.get(part) or ():
        text = passage["text"]
        while not isinstance(text, str):  # a passage in a passage (medical_sim), or a list of one
            text = text["text"] if isinstance(text, dict) else text[0]
        found.append({"title": passage.get("title") or "", "text": text})
    return found


def lead(name: Path, target: Path) -> None:
    """Make ``name`` a relative link to ``target``; at any time it leads there or where it led before."""
    aside = temporary_beside(name)
    aside.symlink_to(os.path.relpath(target, name.parent))
    os.replace(aside, name)


if __name__ == "__main__":
    name, *words = sys.argv[1:]
    if name == "sample":
        sample(Path(words[0]), Path(words[1]), int(words[2]))
    else:
        {"concatenate": concatenate, "link": link, "best": best, "berri": berri}[name](*map(Path, words))
