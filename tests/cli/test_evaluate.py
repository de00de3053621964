import json

import pytest

from dretrieve.metrics.registry import names


@pytest.fixture
def run(tmp_path, tiny_collection):
    topics = ("bees", "tides", "bread", "chess", "volcano")
    path = tmp_path / "r.trec"
    path.write_text("".join(f"q-{topic}-2 Q0 {topic}-2 0 1.0 t\n" for topic in topics))
    return path


def test_a_table_on_stdout(cli_here, tiny_collection, run):
    done = cli_here(
        "evaluate", "--run", run, "--qrels", f"{tiny_collection}:test", "--metrics", "RR@10 R@1", "-q"
    )
    assert "0.8333" in done.out
    assert "1 of 6 judged queries have no hits; they count as 0" in done.out
    assert done.err == ""


def test_json_and_an_output_file(cli_here, tiny_collection, run, tmp_path):
    done = cli_here(
        "evaluate", "--run", run, "--qrels", f"{tiny_collection}:test", "-m", "ndcg_cut.10", "-m", "P@1",
        "--output", tmp_path / "m.json", "--json", "--per-query",
    )  # fmt: skip
    value = done.json()
    assert value["measures"] == ["nDCG@10", "P@1"]
    assert value["runs"][0]["per_query"]["q-printing-2"] == {"nDCG@10": 0.0, "P@1": 0.0}
    assert json.loads((tmp_path / "m.json").read_text())["runs"] == value["runs"]


def test_retrieved_only_and_depth_and_formats(cli_here, tiny_collection, run):
    done = cli_here(
        "evaluate", "--run", run, "--qrels", f"{tiny_collection}:test", "--metrics", "RR", "--retrieved_only",
        "-M", "10", "--format", "markdown",
    )  # fmt: skip
    assert "| r   | 1.0000 |       5 |" in done.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--complete", "--retrieved-only"], 2, "--complete and --retrieved-only exclude each other"),
        (["-l", "2"], 2, "write AP(rel=2) or P(rel=2)@10 instead of -l 2"),
        (["--topk", "5"], 2, 'there is no option --topk: write --metrics "top5 top20 top100" with --answers'),
        (["q.txt", "a b.trec"], 2, "trec_eval's QRELS RUN is written --qrels q.txt --run 'a b.trec'"),
        (
            ["other.trec"],
            2,
            "'other.trec' stands behind no option; files are named by --qrels QRELS and --run RUN",
        ),
    ],
)
def test_mistakes_have_one_sentence_and_a_code(cli_here, tiny_collection, run, words, code, message):
    done = cli_here("evaluate", "--run", run, "--qrels", f"{tiny_collection}:test", "-q", *words, code=code)
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out == ""


@pytest.mark.parametrize(
    "words", [["--format", form] for form in ("tsv", "markdown", "latex", "json")] + [["--json"]]
)
def test_notes_reach_people_beside_every_rendering(cli_here, tiny_collection, run, words):
    done = cli_here("evaluate", "--run", run, "--qrels", f"{tiny_collection}:test", "-m", "all_trec", *words)
    assert "1 of 6 judged queries have no hits; they count as 0" in done.err
    assert "of trec_eval's all_trec these are not measured here: relstring" in done.err


def test_notes_stand_once_below_the_table_of_a_terminal(cli_here, tiny_collection, run):
    done = cli_here("evaluate", "--run", run, "--qrels", f"{tiny_collection}:test", "-m", "set")
    assert "have no hits" not in done.err
    assert "1 of 6 judged queries have no hits" in done.out
    assert "of trec_eval's set these are not measured here: utility" in done.out


def test_help_shows_an_example_first(cli_here):
    done = cli_here("evaluate", "--help")
    assert "dretrieve evaluate --run run.trec --qrels" in done.out
    assert ", ".join(names()) in " ".join(done.out.split())


def test_a_small_evaluation_imports_no_heavy_library(cli, tiny_collection, run, tmp_path):
    code = (
        "import sys; from dretrieve_cli.app import main; "
        f"main(['evaluate', '--run', {str(run)!r}, '--qrels', '{tiny_collection}:test', '-q']); "
        "print(sorted({'torch', 'transformers', 'faiss', 'numba', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    import subprocess
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root,
        env={"PYTHONPATH": f"{root}:{root / 'cli'}", "PATH": ""}, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
