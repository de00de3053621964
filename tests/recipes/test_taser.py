"""TASER's tables: the invented world through every one of them, and the paper's own profile in miniature."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dretrieve.jobs.prepare import PrepareConfig
from dretrieve.jobs.prepare import run as prepare
from dretrieve.text.collection import Collection

ROOT = Path(__file__).parents[2]
TABLES = ("table1", "table2", "tableA1", "tableA3")
# A training's loss must fall to less than this share of its first value, and a test be this sure.
LOSS_SHARE, SURE = 0.6, 0.01
# Of two experts each must read more than this share of the tokens of each side where gates choose.
CONSTANT = 0.05
# So many numbers at least does the paper print in these tables.
PRINTED = 122
# What the small profiles cannot fill: sets and weights that are not here, and the bench.
ELSEWHERE = (
    ".trivia .webquestions .curatedtrec -co- .arguana .dbpedia-entity .fever .hotpotqa .scifact .nfcorpus "
    ".medquad speed."
).split()


# Pairs of metrics files of `smoke`, and the cells that each of them fills.
SWAPS = {
    ("det.nq-test.1", "det.squad-test.1"): ("table1.det.nq", "table1.det.squad", "r1.det.nq"),
    ("a1.det.nq-dev.1", "a1.det.nq-test.1"): ("tableA1.det.dev", "tableA1.det.test"),
    ("dpr.nq-test.1", "dpr-nosquad.nq-test.1"): ("table1.dpr.nq", "table1.dpr-nosquad.nq"),
    ("dpr.squad-test.judged.1", "dpr-nosquad.squad-test.judged.1"): ("mrr10.dpr.squad",),
    ("bm25.nq-test", "bm25.squad-test"): ("table1.bm25.nq", "tableA2.bm25.squad"),
    ("every2.nq-test.1", "every2.squad-test.1"): ("sweep.every2.nq", "sweep.every2.squad"),
}


def first_expert(work: Path, row: str) -> dict[str, list[float]]:
    """Return side to the share of tokens that the first expert reads, by specialised layer."""
    found = json.loads((work / "routing" / row / "explain.json").read_bytes())["explanations"]["routing"]
    return {side: [shares[0] for shares in of["shares"]] for side, of in found["tokens"].items()}


@pytest.mark.slow
def test_smoke_fills_every_table_and_learns(paper, tmp_path):
    taser, asked = paper("taser", tmp_path / "work"), tmp_path / "asked"
    asked.touch()
    first: list[str] = []  # what Table 1 calls that makes something
    for table in TABLES:
        taser.run(table, PROFILE="smoke", ASKED=str(asked))
        first = first or [line for line in asked.read_text().splitlines() if not line.startswith("evaluate")]
    found = taser.smoke_report(ELSEWHERE)
    for model in ("det.1", "dpr.1", "seq2.1", "det-mined.1"):
        curve = json.loads((taser.work / "models" / model / "curves.json").read_bytes())["curve"]
        losses = [point["loss"] for point in curve if "loss" in point]
        assert losses[-1] < LOSS_SHARE * losses[0], model
    for name in ("nq", "squad"):
        claim = found["claims"][f"tuned-above-untuned-{name}-r1"]
        assert (claim["outcome"], claim["p"] < SURE) == ("HOLDS", True)
    det, tokens = first_expert(taser.work, "det.1"), first_expert(taser.work, "tok2.1")
    assert det == {"query": [1.0, 1.0], "passage": [0.0, 0.0]}
    assert all(CONSTANT < share < 1 - CONSTANT for shares in tokens.values() for share in shares), tokens
    taser.check_swapped("smoke", SWAPS)
    for profile in ("mini-cpu", "mini"):
        taser.check_nothing_is_taken(profile)
    assert len(first) > 40
    taser.check_again("table1", len(first))


@pytest.fixture(scope="module")
def miniature(script, mirror, paper, tmp_path_factory) -> Iterator[tuple[Any, dict[str, str]]]:
    """TASER's tables in a work folder of the profile `paper`, and the variables that they are made with.

    The scripts are as they are; the files that they fetch have a hundred rows each and stand on this machine.
    """
    folder = tmp_path_factory.mktemp("paper")
    script("recipes/smoke.py").main(folder / "world")
    mirror.write_mirror(folder / "world", folder / "mirror")
    with mirror.served(folder / "mirror") as address:
        taser = paper("taser", folder / "work")
        yield taser, taser.variables(address)


@pytest.mark.slow
def test_the_papers_profile_runs_unchanged_in_miniature(miniature, mirror):
    taser, variables = miniature
    work = taser.work
    assert "det-mined.1 is det-mined.1.5e-5." in taser.run("table1", **variables).stdout
    # A hundred rows do not give the paper's numbers.
    found = taser.filled(taser.report("paper", code=5, **variables)["cells"])
    rows = ("bm25", "dpr", "dpr-mined", "det-mined", "det-mined-bm25", "det-co-mined-bm25")
    sets = [name.replace("squad1", "squad") for name in mirror.SETS]
    assert {f"table1.{row}.{name}" for row in rows for name in sets} - found == set()
    # Two shards that tile the corpus, the rate that was best on dev, one alpha for all sets.
    assert taser.shards("vectors/det-mined.1") == 2
    assert (work / "models" / "det-mined.1").is_symlink()
    alphas = {
        json.loads(path.read_bytes())["extra"]["alpha"]
        for path in (work / "runs").glob("det-mined-bm25.1.*.manifest.json")
    }
    assert len(alphas) == 1


@pytest.mark.slow
@pytest.mark.long
def test_every_table_of_the_paper_is_filled_in_miniature(miniature):
    """Every number that the paper prints of its own systems has ours beside it."""
    taser, variables = miniature
    work = taser.work
    for table in TABLES:
        taser.run(table, **variables)
    cells = taser.report("paper", code=5, **variables)["cells"]
    found = taser.filled(cells)
    printed = {name for name, cell in cells.items() if cell["paper"] is not None}
    printed -= {name for name in printed if cells[name]["verdict"] == "CITED"}
    assert len(printed) >= PRINTED
    assert printed - found == set()
    # And what it does not print: the gate with all its entries, the dev columns, the sweep.
    ours = {f"sweep.every{every}.{name}" for every in (2, 3, 6) for name in ("nq", "squad")}
    ours |= {f"tableA1.{row}.dev" for row in ("seq2-all", "dpr", "dpr-mined")}
    ours |= {f"table2.dpr-mined.{name}" for name in ("entities", "arguana")}
    assert ours - found == set()
    # A row of Table A1 is trained on NQ alone, and BEIR's sets are searched in shards like the corpus.
    alone = [path for path in (work / "models").glob("single-*.1") if path.is_symlink()]
    sets = [json.loads((path / "manifest.json").read_bytes())["options"]["sets"] for path in alone]
    assert len(sets) == 10
    assert {one["name"] for of in sets for one in of} == {"nq", "nq-first"}
    assert taser.shards("vectors/det-mined.1.fever") == 2
    # Which expert reads what: of every router that has one to choose.
    routed = {path.parent.name for path in (work / "routing").glob("*/explain.json")}
    assert routed == {f"{row}.1" for row in ("det", "seq2", "seq2-all", "seq4", "tok2", "tok4")}


def test_every_file_of_the_miniature_is_read_as_its_original(script, mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("DRETRIEVE_CACHE", str(tmp_path / "cache"))
    smoke = script("recipes/smoke.py")
    entities, answers, abroad, rng = smoke.world_words()
    world = tmp_path / "world"
    smoke.write_collection(world / "nq", entities[:20], answers, rng)
    smoke.write_collection(world / "squad", entities[20:40], answers, rng)
    smoke.write_collection(world / "elsewhere", abroad[:10], answers, rng, smoke.ABROAD)
    smoke.write_entities(world / "entities", [world / "nq", world / "squad"])
    mirror.write_mirror(world, tmp_path / "mirror")
    with mirror.served(tmp_path / "mirror") as address:

        def fetched(source: str) -> dict:
            output = tmp_path / source.replace(":", "-")
            config = PrepareConfig(source=source, output=output, mirror=address, unchecked=True)
            return prepare(config).as_json()

        assert fetched("dpr:psgs_w100")["counts"]["passages"] == 120
        for name in mirror.SETS:
            assert fetched(f"dpr:biencoder-{name}-train")["counts"]["examples"] == 16
            questions = tmp_path / f"dpr-{name}-test.qa"
            assert fetched(f"dpr:{name}-test.qa")["counts"]["queries"] > 0
            regex = Collection.open(f"{questions}:test").queries().answers_are_regex
            assert set(regex) == {name == "curatedtrec"}
        assert fetched("dpr:trivia-dev.qa")["counts"]["queries"] > 0
        assert fetched("beir:fever")["counts"]["passages"] == 30
        assert fetched("entityquestions:test")["counts"]["queries"] == 40


def test_a_call_whose_minutes_are_over_does_not_wait_for_the_queue(tmp_path):
    """Nor does it queue what is missing; the tasks that are queued go on without it."""
    for state in ('{"queued": [1], "missing": [1]}', '{"queued": [], "missing": [0, 1]}'):
        program = tmp_path / "array.sh"
        program.write_text(f"#!/bin/sh\necho \"$@\" >>'{tmp_path}/calls'\necho '{state}'\n")
        program.chmod(0o755)
        lines = tmp_path / "lines.sh"
        lines.write_text(
            f"source {ROOT}/recipes/taser/rows.sh\nrecipe taser late paper\nSHARDS=2 QUEUE=slurm\n"
            "in_shards encode --model m --corpus c --output parts\n"
        )
        variables = {"DRETRIEVE": str(program), "MINUTES": "1", "BEGAN": str(round(time.time() - 99))}
        environment = os.environ | {"WORK": str(tmp_path / "work"), "PROFILE": "paper", **variables}
        done = subprocess.run(
            ["bash", str(lines)], env=environment, capture_output=True, text=True, timeout=50
        )
        assert (done.returncode, "are over" in done.stderr) == (75, True), done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["--json", "--json"]


def test_tables_with_one_header_become_one(script, tmp_path):
    files = script("recipes/files.py")
    for name, rows in (("a", "q1\td1\t1\n"), ("b", "q2\td2\t1\n")):
        (tmp_path / name).write_text("query-id\tcorpus-id\tscore\n" + rows)
    files.concatenate(tmp_path / "out", tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "out").read_text() == "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n"
    (tmp_path / "b").write_text("other\n")
    with pytest.raises(ValueError, match="different header lines"):
        files.concatenate(tmp_path / "out", tmp_path / "a", tmp_path / "b")


def test_the_best_on_dev_is_taken_and_of_equal_ones_the_first(script, tmp_path, capsys):
    files = script("recipes/files.py")
    for name, value in (("slow", 0.5), ("fast", 0.7), ("other", 0.7)):
        (tmp_path / name).mkdir()
        extra = {"best": value, "best_step": 3, "metric": "RR@10"}
        (tmp_path / name / "manifest.json").write_text(json.dumps({"extra": extra}))
    models = [tmp_path / name for name in ("slow", "fast", "other")]
    files.best(tmp_path / "chosen", *models)
    files.best(tmp_path / "chosen", *models)
    assert (tmp_path / "chosen").resolve() == tmp_path / "fast"
    assert "fast: dev RR@10 0.7000 after step 3" in capsys.readouterr().out


def test_a_link_leads_somewhere_at_any_time(script, tmp_path, monkeypatch):
    files, replace, led = script("recipes/files.py"), os.replace, []
    files.lead(tmp_path / "chosen", tmp_path / "a")

    def replaced(source, target):
        led.append(os.readlink(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", replaced)
    files.lead(tmp_path / "chosen", tmp_path / "b")
    assert led == ["a"]
    assert os.readlink(tmp_path / "chosen") == "b"
    assert os.listdir(tmp_path) == ["chosen"]


def test_a_linked_collection_moves_with_its_folder(script, tmp_path):
    files = script("recipes/files.py")
    for path in ("wiki/corpus.jsonl", "nq/queries.jsonl", "nq/qrels/train.tsv"):
        (tmp_path / "work" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / path).write_text(path)
    files.link(tmp_path / "work/wiki", tmp_path / "work/nq", tmp_path / "work/mining/nq")
    (tmp_path / "work").rename(tmp_path / "moved")
    assert (tmp_path / "moved/mining/nq/corpus.jsonl").read_text() == "wiki/corpus.jsonl"
    assert (tmp_path / "moved/mining/nq/qrels/train.tsv").read_text() == "nq/qrels/train.tsv"


def test_the_warm_python_answers_as_a_fresh_one_does(paper, tmp_path):
    """Output, errors, folder and exit code are the command's own."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}

    def asked(*words: str) -> list[tuple[int, str, str]]:
        found = []
        for program in (paper.warm.split(), [sys.executable, "-m", "dretrieve_cli"]):
            done = subprocess.run(
                [*program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
            )
            found.append((done.returncode, done.stdout, done.stderr))
        return found

    (tmp_path / "c.tsv").write_text("1\tbees make honey\n")
    for words in (("--version",), ("inspect", "absent"), ("prepare", "c.tsv", "--output", "o", "--dry-run")):
        warm, fresh = asked(*words)
        assert warm == fresh
    assert asked("inspect", "absent")[0][0] == 3
