"""``dretrieve report``: forms on stdout, exit code 5 for a cell that fails."""

from __future__ import annotations

import pytest

EXPECTED = """
paper: TINY
title: Words
profiles: {small: {target: paper}}
tables:
  t:
    title: Words
    measure: R@5
    file: run.json
    columns: {tiny: {}}
    rows: {bm25: [PAPER]}
"""
SCRIPT = """
source "{root}/recipes/lib.sh"
recipe tiny "words" small
dretrieve index --corpus "{collection}" --type bm25 --output "$WORK/index"
dretrieve search --index "$WORK/index" --queries "{collection}:test" --hits 20 --output "$WORK/run.trec"
dretrieve evaluate --run "$WORK/run.trec" --qrels "{collection}:test" --metrics R@5 --output "$WORK/run.json"
finish
"""


@pytest.fixture
def work(tiny_collection, cli_here, tmp_path):
    folder = tmp_path / "work"
    cli_here("index", "--corpus", tiny_collection, "--type", "bm25", "--output", folder / "index", "-q")
    test, run = f"{tiny_collection}:test", f"{folder}/run.trec"
    words = f"search --index {folder}/index --queries {test} --hits 20 --output {run} -q"
    cli_here(*words.split())
    words = f"evaluate --run {run} --qrels {test} --metrics R@5 --output {folder}/run.json -q"
    cli_here(*words.split())
    return folder


def recipe(tmp_path, paper, tiny_collection, root):
    folder = tmp_path / "tiny"
    folder.mkdir(exist_ok=True)
    (folder / "table.sh").write_text(SCRIPT.format(root=root, collection=tiny_collection))
    (folder / "expected.yaml").write_text(EXPECTED.replace("PAPER", str(paper)))
    return folder


def test_exit_code_5_says_that_a_cell_failed(work, cli_here, tmp_path, tiny_collection, root):
    about = tiny_collection, root
    good = cli_here("report", recipe(tmp_path, 1.0, *about), "--work", work)
    assert "OK" in good.out
    outcome = cli_here("report", recipe(tmp_path, 0.5, *about), "--work", work)
    assert "BETTER" in outcome.out
    (work / "run.trec").write_text("another run\n")
    outcome = cli_here("report", recipe(tmp_path, 1.0, *about), "--work", work, code=5)
    assert "FAIL" in outcome.out
    assert cli_here("report", recipe(tmp_path, 1.0, *about), "--work", work, "--json", code=5).json()[
        "tally"
    ] == {"FAIL": 1}


def test_forms(work, cli_here):
    assert "| a   | run" in cli_here("report", work, "--format", "markdown").out
    assert cli_here("report", work, "--format", "html").out.startswith("<!doctype html>")
    assert r"\begin{table}" in cli_here("report", work, "--format", "latex").out
    assert "run" in cli_here("report", work).out


def test_what_was_written_is_said(work, cli_here, tmp_path):
    outcome = cli_here("report", "--row", f"BM25={work}/run.json", "--output", tmp_path / "r.md")
    assert f"wrote {tmp_path}/r.md" in outcome.err
