"""SB-MoE's tables: the invented world through every one of them, and the paper's own profile in miniature."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TABLES = ("table1", "controls", "samples", "costs")
SURE = 0.01
# Of this many cells the paper's numbers could be recovered.
PRINTED = 70
ENCODERS = ("tinybert", "bert-small", "bert-base", "contriever")
# What `smoke` cannot fill: other collections and encoders, and the training of a frozen encoder.
ELSEWHERE = (*ENCODERS, ".scifact", ".nfcorpus", ".medquad", ".finetuned.")
BEIR = (
    "msmarco nq-train nq hotpotqa trec-covid nfcorpus fiqa arguana webis-touche2020 quora dbpedia-entity "
    "scidocs fever climate-fever scifact"
).split()
# Pairs of metrics files of `smoke`, and the cells that each of them fills.
SWAPS = {
    ("small.n6.nq.1", "small.n6-all.nq.1"): ("small.n6.nq", "small-r100.n6-all.nq"),
    ("larger.soft.nq.1", "small.soft.nq.1"): ("larger.soft.nq", "small.soft.nq"),
    ("small.untuned.nq", "small.untuned.squad"): ("small.untuned.nq", "samples-small.untuned.squad-all"),
    ("larger.n1.squad-all.1", "larger.n1.squad-5000.1"): ("samples-larger.n1.squad-all",),
    ("small.wide.squad-all-elsewhere.1", "small.n1.squad-all-elsewhere.1"): ("zeroshot-small.n1.elsewhere",),
}


def script(path: str) -> ModuleType:
    """Return a file of this checkout as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


taser = script("tests/recipes/test_taser.py")
mirror = taser.mirror


def killed_in_table1(work: Path, asked: Path) -> None:
    """Begin the first table, and kill all of it when some of its models stand."""
    variables = {"WORK": str(work), "PYTHON": sys.executable, "PROFILE": "smoke", "ASKED": str(asked)}
    command = ["bash", str(ROOT / "recipes" / "sb_moe" / "table1.sh")]
    with subprocess.Popen(
        command,
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as begun:
        deadline = time.monotonic() + 300
        while len(list((work / "models").glob("*/manifest.json"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(begun.pid, signal.SIGKILL)
    assert len(list((work / "models").glob("*/manifest.json"))) >= 3


def test_smoke_fills_every_table_and_learns(tmp_path):
    work, asked = tmp_path / "work", tmp_path / "asked"
    asked.touch()
    killed_in_table1(work, asked)
    for table in TABLES:
        taser.run(table, work, "sb_moe", PROFILE="smoke", ASKED=str(asked))
    found = taser.report(work, "smoke", paper="sb_moe")
    assert "FAIL" not in found["tally"], found["tally"]
    absent = [name for name, cell in found["cells"].items() if cell["verdict"] == "NOT RUN"]
    assert [name for name in absent if not any(part in name for part in ELSEWHERE)] == []
    claim = found["claims"]["learns"]
    assert (claim["outcome"], claim["p"] < SURE) == ("HOLDS", True)
    values = {name: cell["ours"] for name, cell in found["cells"].items()}
    # The best on dev is one of those that it was chosen of, and choices of one model are measured apart.
    assert values["small.best.nq"] in [values[f"small.n{count}.nq"] for count in (3, 6, 9, 12)]
    assert len({values[f"small.n6{choice}.nq"] for choice in ("", "-k2", "-k3", "-all")}) > 1
    taser.swap(work, SWAPS)
    swapped = taser.report(work, "smoke", code=5, paper="sb_moe")["cells"]
    taser.swap(work, SWAPS)
    cells = [name for names in SWAPS.values() for name in names]
    assert {name: swapped[name]["verdict"] for name in cells} == dict.fromkeys(cells, "FAIL")
    other = taser.report(work, "mini-cpu", code=5, paper="sb_moe")["cells"]  # takes none of it
    assert [name for name, cell in other.items() if cell["ours"] is not None] == []
    stands = taser.made(work)
    again = taser.run("controls", work, "sb_moe", PROFILE="smoke")
    assert taser.made(work) == stands
    assert again.stdout.count("up to date") > 100
    assert "train (" not in again.stderr


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_mirror(world: Path, folder: Path) -> None:
    """Write all that the profile `paper` fetches: BEIR's zips, two domains, DL 2020's two files."""
    folder.mkdir()
    for name in BEIR:
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as bundle:
            for file in ("corpus", "queries", "qrels/train", "qrels/dev", "qrels/test"):
                ending = ".tsv" if "/" in file else ".jsonl"
                bundle.writestr(f"{name}/{file}{ending}", (world / "nq" / f"{file}{ending}").read_text())
    queries = {row["_id"]: row["text"] for row in mirror.rows_of(world / "nq" / "queries.jsonl")}
    with zipfile.ZipFile(folder / "political_science.zip", "w") as bundle:
        passages = mirror.rows_of(world / "nq" / "corpus.jsonl")
        lines = [
            json.dumps({"id": row["_id"], "title": row["title"], "text": row["text"]}) for row in passages
        ]
        bundle.writestr("political_science/collection.jsonl", "\n".join(lines))
        for split, named in (("train", "train"), ("dev", "val"), ("test", "test")):
            judged = [
                line.split("\t") for line in (world / f"nq/qrels/{split}.tsv").read_text().splitlines()[1:]
            ]
            lines = [
                json.dumps({"id": one, "text": queries[one], "rel_doc_ids": [two]}) for one, two, _ in judged
            ]
            bundle.writestr(f"political_science/{named}/queries.jsonl", "\n".join(lines))
    content = (folder / "political_science.zip").read_bytes()
    (folder / "computer_science.zip").write_bytes(content)
    tested = [line.split("\t") for line in (world / "nq/qrels/test.tsv").read_text().splitlines()[1:]]
    (folder / "queries.tsv").write_text("".join(f"{one}\t{queries[one]}\n" for one, _, _ in tested))
    (folder / "qrels.txt").write_text("".join(f"{one} 0 {two} 1\n" for one, two, _ in tested))


@pytest.mark.slow
@pytest.mark.long
def test_every_table_of_the_paper_is_filled_in_miniature(tmp_path):
    """Every recovered number has ours beside it, and so has every cell that could not be recovered."""
    script("recipes/smoke.py").main(tmp_path / "world")
    write_mirror(tmp_path / "world", tmp_path / "mirror")
    with mirror.served(tmp_path / "mirror") as address:
        variables = {
            "PROFILE": "paper",
            "MIRROR": address,
            "BACKBONE": "tiny",
            "SHARDS": "2",
            "DL20": str(tmp_path / "mirror"),
            "DRETRIEVE": taser.WARM,
            "DRETRIEVE_CACHE": str(tmp_path / "cache"),
            "ASKED": str(tmp_path / "asked"),
        }
        work = tmp_path / "work"
        for table in TABLES:
            taser.run(table, work, "sb_moe", **variables)
        cells = taser.report(work, "paper", code=5, paper="sb_moe", **variables)["cells"]
    found = taser.filled(cells)  # a hundred rows do not give the paper's numbers
    own = {name for name in cells if any(encoder in name for encoder in ENCODERS)}
    assert len([name for name in own if cells[name]["paper"] is not None]) == PRINTED
    assert own - found == set()
    shards = (work / "made" / "tinybert.n6.msmarco.1.msmarco").glob("shard-*-of-00002.manifest.json")
    assert len(list(shards)) == 2
