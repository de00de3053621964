"""DDR's tables: the invented world through every one of them, and the paper's own profile in miniature."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from dretrieve.text.training_rows import read_training

ROOT = Path(__file__).parents[2]
TABLES = ("table2", "sweeps", "modules", "costs")
# Of its own five systems the paper prints this many numbers.
PRINTED = 30
# What `smoke` cannot fill: the paper's sets, the cut encoder, longer prefixes.
ELSEWHERE = ("paper.", "paper-", "cut.", "len32-", "len64-", "len128-")
BEIR = "fever trec-covid nfcorpus scidocs scifact climate-fever dbpedia-entity".split()
# Pairs of metrics files of `smoke`, and the cells that each of them fills.
SWAPS = {
    ("prior.scifact.1", "uniform.scifact.1"): (
        "table2.prior.scifact",
        "table2.prior.all",
        "modules.prior.seen",
    ),
    ("top1.medquad.1", "top2.medquad.1"): ("k.top1.medquad", "table2.top2.seen"),
    ("at7e-3.nq-dev.1", "at2e-3.nq-dev.1"): ("rates.at7e-3.nq", "rates.at2e-3.dev"),
    ("later.nfcorpus.1", "removed.nfcorpus.1"): ("modules.later.nfcorpus", "modules.removed.seen"),
    ("bm25.arguana", "untuned.arguana"): ("table2.bm25.arguana", "table2.untuned.zero"),
}


@pytest.mark.slow
def test_smoke_fills_every_table_and_learns(paper, tmp_path):
    ddr = paper("ddr", tmp_path / "work")
    cells = ddr.smoke(TABLES, ELSEWHERE)["cells"]
    values = {name: cell["ours"] for name, cell in cells.items()}
    # The rate is that which was better on the joined dev sets.
    best = max(("at7e-3", "at2e-3"), key=lambda row: values[f"rates.{row}.dev"])
    assert (ddr.work / "models" / "rate").resolve().name == f"prior.{best[2:]}.1"
    assert values["modules.returned.all"] == values["modules.prior.all"]
    assert len({values[f"table2.{row}.medquad"] for row in ("general", "prior", "uniform", "soft")}) > 1
    counts = {row: values[f"costs.{row}.parameters"] for row in ("dr", "general", "prior", "module")}
    assert counts["general"] - counts["dr"] == 6 * 2 * 4 * 64
    assert counts["prior"] - counts["general"] == 5 * counts["module"] == 5 * (6 * 2 * 4 * 64 + 65)
    ddr.check_swapped("smoke", SWAPS)
    ddr.check_again("modules", 101)


def test_a_row_is_tested_with_the_routing_that_it_is_trained_with(calls_of):
    """Where domains are prior's, queries say theirs, of those that the model has; else they say nothing."""
    calls = []
    for table in ("table2", "modules"):
        calls += calls_of(ROOT / f"recipes/ddr/{table}.sh", PROFILE="mini-cpu", SHARDS="1")
    trained = {call.made: call for call in calls if call[0] == "train"}
    for row, routing in (
        ("top2", "topk"),
        ("soft", "soft"),
        ("uniform", "uniform"),
        ("everything", "uniform"),
    ):
        call = trained[f"{row}.7e-3.1"]
        assert call.behind("--routing") == routing
        assert any("domains=" in word for word in call) == (row != "everything")
    assert trained["prior.7e-3.1"].behind("--train-domains") == (
        "fact-verification+medical+qa+science+wikipedia"
    )
    assert trained["first.7e-3.1"].behind("--train-domains") == ("fact-verification+qa+science+wikipedia")
    assert trained["later.7e-3.1"].behind("--train-domains") == "medical"
    assert Path(trained["later.7e-3.1"].behind("--backbone")).name == "first.7e-3.1"
    asked = {
        call.made.partition(".1.")[::2]: call.behind("--set")
        for call in calls
        if call[0] == "search" and "--model" in call
    }
    wanted = {
        ("prior", "pubmedqa"): "domains=medical+qa+science",
        ("uniform", "arguana"): "domains=fact-verification",
        ("without-scifact", "arguana"): "routing=none",
        ("without-scifact", "scifact"): "domains=science",
        ("without-nfcorpus", "nfcorpus"): "domains=medical+science",
        ("first", "medquad"): "domains=qa",
        ("later", "medquad"): "domains=medical+qa",
        ("removed", "nfcorpus"): "domains=science",
        ("soft", "nfcorpus"): "",
        ("top2", "nfcorpus"): "",
        ("everything", "nfcorpus"): "",
        ("general", "nfcorpus"): "",
    }
    assert {key: asked[key[0], f"{key[1]}.trec.zst"] for key in wanted} == wanted


def test_a_set_of_berri_is_read_in_each_of_its_layouts(script, tmp_path):
    files = script("recipes/files.py")
    row = {"question": "q", "positive_ctxs": [{"title": None, "text": "p"}]}
    forms = {
        "agnews/qa_data.json": [row | {"negative_ctxs": [{"text": ["n"]}]}],
        "medical_sim/x_train_dpr.jsonl": [row | {"negative_ctxs": [{"text": {"title": "", "text": "n"}}]}],
        "pubmed.json": [row | {"hard_negative_ctxs": [{"text": "n"}], "negative_ctxs": [{"text": "easy"}]}],
    }
    for name, rows in forms.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(rows[0]) + "\n" if name.endswith("l") else json.dumps(rows))
        files.berri(tmp_path / "out.jsonl", tmp_path / name.split("/")[0].removesuffix(".json"))
        (_, read), *others = read_training(tmp_path / "out.jsonl", "dpr-training")
        assert others == []
        assert [[record.text for record in part] for part in (read.positives, read.negatives)] == [
            ["p"],
            ["n"],
        ]
    before = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "qa_data.json").write_text(json.dumps([row, {}]))
    with pytest.raises(KeyError):
        files.berri(tmp_path / "out.jsonl", tmp_path / "bad")
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_a_sample_keeps_whole_questions_from_all_of_the_table(script, tmp_path):
    files = script("recipes/files.py")
    lines = [f"q{row // 2}\td{row}\t1\n" for row in range(20)]
    (tmp_path / "in.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    files.sample(tmp_path / "new" / "out.tsv", tmp_path / "in.tsv", 3)
    header, *kept = (tmp_path / "new" / "out.tsv").read_text().splitlines(keepends=True)
    assert header == "query-id\tcorpus-id\tscore\n"
    assert kept == [line for line in lines if line.startswith(("q0\t", "q3\t", "q6\t"))]


def write_berri(mirror: ModuleType, world: Path, folder: Path, names: list[str]) -> None:
    """Write sets of BERRI's of a hundred rows each, in the layouts of its archive."""
    passages = {row["_id"]: row for row in mirror.rows_of(world / "nq" / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in mirror.rows_of(world / "nq" / "queries.jsonl")}
    rows = [
        {
            "question": queries[one],
            "positive_ctxs": [passages[two]],
            "negative_ctxs": [*passages.values()][:2],
        }
        for one, two in mirror.judged(world, "train")
        if one in queries
    ][:100]
    for name in names:
        lines = name.endswith("preprocessed")
        file = folder / name / (f"{name}_train_dpr.jsonl" if lines else "qa_data.json")
        if name.endswith("added"):
            file = folder / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))


@pytest.mark.slow
@pytest.mark.long
def test_every_table_of_the_paper_is_filled_in_miniature(script, mirror, paper, tmp_path):
    """Every number that the paper prints of its own systems has ours beside it."""
    script("recipes/smoke.py").main(tmp_path / "world")
    settled = (ROOT / "recipes/ddr/profiles.sh").read_text().partition("settle_paper()")[2]
    names = [word.split("]")[0] for word in settled.split("[")[1:] if "_" in word.split("]")[0]]
    write_berri(mirror, tmp_path / "world", tmp_path / "berri", [*names, "msmarco-triplets_embeddings_600k"])
    (tmp_path / "mirror").mkdir()
    mirror.write_beir(tmp_path / "mirror", tmp_path / "world" / "nq", BEIR, mirror.SPLITS)
    ddr = paper("ddr", tmp_path / "work")
    with mirror.served(tmp_path / "mirror") as address:
        cells = ddr.miniature(TABLES, address, BERRI=str(tmp_path / "berri"))
    found = ddr.filled(cells)
    own = {name for name, cell in cells.items() if name.startswith("paper") and cell["verdict"] != "CITED"}
    sets = [name for name in own if cells[name]["paper"] is not None and name.split(".")[2] in BEIR]
    assert len(sets) == PRINTED
    assert {name for name in own - found if "len" not in name} == set()
    assert ddr.shards("vectors/general.1.scidocs") == 2
