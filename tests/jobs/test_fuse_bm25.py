"""fuse-bm25 on the command line: results, manifests, shards, and a sentence for every mistake."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dretrieve.store.manifest import manifest_path, read_manifest
from tests.common import lines


def write_run(path: Path, hits: dict[str, dict[str, float]]) -> Path:
    rows = [(query, passage, score) for query, found in hits.items() for passage, score in found.items()]
    return lines(path, *(f"{query} Q0 {passage} 0 {score} x" for query, passage, score in rows))


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A dense and a BM25 run of 3,000 queries: more than one chunk of 1,024, ids that look like numbers."""
    dense = {f"{row:05d}": {"a": 2.0 + row, "b": 1.0} for row in range(3000)}
    bm25 = {f"{row:05d}": {"b": 3.0, "c": 1.0} for row in range(3000)}
    return write_run(tmp_path / "dense.trec", dense), write_run(tmp_path / "bm25.trec", bm25)


@pytest.fixture
def dev(tmp_path: Path) -> dict[str, Path]:
    """Two dev sets with qrels and answers: one's right passage wins from alpha 1 on, two's up to 1.5."""
    for name, right in (("one", "b"), ("two", "a")):
        folder = tmp_path / name
        (folder / "qrels").mkdir(parents=True)
        passages = [
            {"_id": "a", "title": "Moon", "text": "The sea."},
            {"_id": "b", "title": "", "text": "A moon!"},
        ]
        (folder / "corpus.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in passages))
        query = {"_id": "q", "text": "what pulls?", "answers": ["moon" if right == "b" else "sea"]}
        (folder / "queries.jsonl").write_text(json.dumps(query) + "\n")
        (folder / "qrels" / "dev.tsv").write_text(f"query-id\tcorpus-id\tscore\nq\t{right}\t1\n")
    write_run(tmp_path / "dense-one.trec", {"q": {"a": 2.0, "b": 1.0}})
    write_run(tmp_path / "bm25-one.trec", {"q": {"b": 2.0, "a": 1.0}})
    write_run(tmp_path / "dense-two.trec", {"q": {"a": 4.0, "b": 2.0}})
    write_run(tmp_path / "bm25-two.trec", {"q": {"b": 2.0, "a": 1.0}})
    return {path.stem: path for path in tmp_path.glob("*.trec")}


def fuse(cli_here: Callable, run: Path, bm25: Path, output: Path, *words: object, code: int = 0):
    return cli_here("fuse-bm25", "--run", run, "--bm25-run", bm25, "--output", output, *words, code=code)


def test_a_run_is_fused_and_said_to_be_up_to_date(
    cli_here: Callable, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    given = (*runs, tmp_path / "out.trec", "--alpha")
    assert "3,000 queries, 9,000 hits; alpha 0.5" in fuse(cli_here, *given, 0.5).out
    lines = (tmp_path / "out.trec").read_text().splitlines()
    assert [line.split()[2:5] for line in lines[:3]] == [
        ["b", "1", "2.5"],
        ["a", "2", "2.5"],
        ["c", "3", "1.5"],
    ]
    assert "up to date" in fuse(cli_here, *given, 0.5).out
    assert "alpha 0.5 -> 1.0" in fuse(cli_here, *given, 1, code=3).err
    assert "written" in fuse(cli_here, *given, 1, "--force").out


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_shards_joined_are_the_whole(
    cli_here: Callable, runs: tuple[Path, Path], tmp_path: Path, ending: str
) -> None:
    whole, joined = tmp_path / f"whole.trec{ending}", tmp_path / f"joined.trec{ending}"
    fuse(cli_here, *runs, whole)
    for part in (2, 0, 1):
        fuse(cli_here, *runs, joined, "--shard", f"{part}/3")
    counts = [
        read_manifest(manifest_path(path)).counts["queries"]
        for path in sorted(tmp_path.glob("joined*shard*3"))
    ]
    assert counts == [1024, 1024, 952]
    fuse(cli_here, *runs, joined)
    assert joined.read_bytes() == whole.read_bytes()
    one, other = read_manifest(manifest_path(joined)), read_manifest(manifest_path(whole))
    assert (one.fingerprint, one.counts, one.extra) == (other.fingerprint, other.counts, other.extra)


def test_incomplete_or_other_parts_are_not_joined(
    cli_here: Callable, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    given = (*runs, tmp_path / "out.trec")
    fuse(cli_here, *given, "--shard", "0/2")
    fuse(cli_here, *given, "--shard", "1/2", "--alpha", 3)
    fuse(cli_here, *given)
    assert read_manifest(manifest_path(given[-1])).counts["queries"] == 3000


def test_one_alpha_is_tuned_over_two_sets_and_taken_for_another_run(
    cli_here: Callable, dev: dict[str, Path], runs: tuple[Path, Path], tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned.trec"
    words = ["--tune", "0.5:3:0.5", "--metric", "RR@1"]
    for name in ("one", "two"):
        words += ["--dev-run", dev[f"dense-{name}"], "--dev-bm25-run", dev[f"bm25-{name}"]]
        words += ["--qrels", f"{tmp_path / name}:dev"]
    found = fuse(cli_here, dev["dense-one"], dev["bm25-one"], tuned, *words, "--json").json()
    assert found["alpha"] == 1.0
    extra = read_manifest(manifest_path(tuned)).extra
    assert extra["alpha"] == 1.0
    assert extra["tuned"]["sets"] == ["one:dev", "two:dev"]
    assert extra["tuned"]["alphas"] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert extra["tuned"]["values"] == [[0, 1], [1, 1], [1, 1], [1, 0], [1, 0], [1, 0]]
    other, plain = tmp_path / "other.trec", tmp_path / "plain.trec"
    assert fuse(cli_here, *runs, other, "--alpha-from", tuned, "--json").json()["alpha"] == 1.0
    fuse(cli_here, *runs, plain, "--alpha", 1.0)
    assert other.read_bytes() == plain.read_bytes()


def test_answers_tune_too_on_the_run_itself(cli_here: Callable, dev: dict[str, Path], tmp_path: Path) -> None:
    given = (dev["dense-one"], dev["bm25-one"], tmp_path / "out.trec", "--tune", "0,0.5,2")
    done = fuse(cli_here, *given, "--answers", f"{tmp_path / 'one'}:dev", "--metric", "top1")
    assert "alpha 2" in done.out
    assert "2        1.0000 *" in done.out
    assert "an end of the range" in done.err
    named = f"--corpus {tmp_path}/one --answers {tmp_path}/one:dev --metric top1 --force"
    assert "alpha 2" in fuse(cli_here, *given, *named.split()).out


def test_queries_of_one_run_are_noted(cli_here: Callable, tmp_path: Path) -> None:
    dense = write_run(tmp_path / "dense.trec", {"q1": {"a": 1.0}, "q2": {"a": 1.0}})
    bm25 = write_run(tmp_path / "bm25.trec", {"q1": {"a": 1.0}})
    done = fuse(cli_here, dense, bm25, tmp_path / "out.trec")
    assert f"1 queries are not in {bm25}" in done.err
    assert "2 queries, 2 hits" in done.out


def test_a_dry_run_writes_nothing(cli_here: Callable, runs: tuple[Path, Path], tmp_path: Path) -> None:
    given = (*runs, tmp_path / "out.trec")
    assert "to do: would fuse" in fuse(cli_here, *given, "--dry-run").out
    assert not list(tmp_path.glob("out*"))
    fuse(cli_here, *given)
    assert "to do: would fuse" in fuse(cli_here, *given, "--dry-run", "--force").out
    assert "up to date" in fuse(cli_here, *given, "--dry-run").out  # that with --force changed nothing


def test_reciprocal_ranks_have_no_alpha(cli_here: Callable, runs: tuple[Path, Path], tmp_path: Path) -> None:
    ranks = tmp_path / "rrf.trec"
    assert fuse(cli_here, *runs, ranks, "--method", "rrf", "--json").json()["alpha"] is None
    taken = fuse(cli_here, *runs, tmp_path / "o", "--alpha-from", ranks, code=3)
    assert "was fused by ranks and has no alpha" in taken.err


def test_an_alpha_is_not_taken_for_the_other_runs_scores(
    cli_here: Callable, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    made, output = tmp_path / "made.trec", tmp_path / "o.trec"
    rule = ("--weight-on", "dense", "--missing", "zero", "--depth", 50)
    fuse(cli_here, *runs, made, "--alpha", 2, *rule)
    err = fuse(cli_here, *runs, output, "--alpha-from", made, code=3).err
    assert f"the alpha of {made} weighs dense; give --weight-on dense, or --alpha" in err
    said = f"the alpha of {made} is of a fusion with "
    taken = fuse(cli_here, *runs, output, "--alpha-from", made, *rule[:2])
    assert f"{said}--missing zero (here min), --depth 50 (here 100)" in taken.err
    fuse(cli_here, *runs, output, "--alpha-from", made, *rule, "--force")
    assert output.read_bytes() == made.read_bytes()
    assert said not in fuse(cli_here, *runs, output, "--alpha-from", made, *rule).err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--tune", "2:1:0.1", "--qrels", "ONE:dev"], 2, "holds no alpha"),
        (["--tune", "0:1:0.5"], 2, "add --qrels DIR:dev or --answers DIR:dev"),
        (["--qrels", "ONE:dev"], 2, "dev sets are for tuning; add --tune"),
        (["--metric", "RR@10"], 2, "dev sets are for tuning"),
        (["--tune", "0:1:0.5", "--qrels", "ONE:dev", "--answers", "ONE:dev"], 2, "not on both"),
        (
            ["--tune", "0:1:0.5", "--qrels", "ONE:dev", "--qrels", "TWO:dev"],
            2,
            "2 dev sets need as many --dev-run",
        ),
        (
            ["--tune", "0:1:0.5", "--answers", "ONE:dev", "--corpus", "ONE", "--corpus", "TWO"],
            2,
            "one for each",
        ),
        (["--tune", "0:1:0.5", "--qrels", "ONE:dev", "--metric", "RR@1 P@1"], 2, "names 2 measures"),
        (["--tune", "0:1:0.5", "--qrels", "ONE:dev", "--metric", "NumRet"], 2, "is a count"),
        (["--tune", "0:1:0.5", "--qrels", "ONE:dev", "--metric", "best"], 2, "is no measure"),
        (["--tune", "0:1:0.5", "--answers", "ONE:dev", "--metric", "nDCG@10"], 2, "is no measure of answers"),
        (
            ["--tune", "0:1:0.5", "--qrels", "ONE:dev", "--method", "rrf"],
            2,
            "--tune is of weighted sums, and --method rrf adds reciprocal ranks; leave it out",
        ),
        (["--method", "rrf", "--alpha", "2"], 2, "--alpha is of weighted sums"),
        (["--method", "rrf", "--alpha-from", "x"], 2, "--alpha-from is of weighted sums"),
        (["--method", "rrf", "--missing", "zero"], 2, "--missing is of weighted sums"),
        (["--method", "rrf", "--weight-on", "dense"], 2, "--weight-on is of weighted sums"),
        (["--rrf-k", "9"], 2, "--rrf-k goes with --method rrf"),
        (["--alpha", "2", "--alpha-from", "x"], 2, "--alpha stands beside --tune or --alpha-from"),
        (["--alpha", "2", "--tune", "0:1:0.5", "--qrels", "ONE:dev"], 2, "--alpha stands beside --tune"),
        (
            ["--tune", "0:1:0.5", "--qrels", "ONE:dev", "--corpus", "ONE"],
            2,
            "--corpus goes with --answers: it holds the texts that answers are looked for in",
        ),
        (["--tune", "0:1:0.5", "--qrels", "ONE:dev", "--alpha-from", "x"], 2, "leave one of them out"),
        (["--tune", "0:1:0.5", "--qrels", "ONE:test"], 2, "test"),
        (["--tune", "0:1:0.5", "--answers", "TWO-NO-ANSWERS:dev"], 4, "no query of"),
        (["--run", "another.trec"], 2, "--run takes one value"),
    ],
)
def test_mistakes_get_a_sentence(
    cli_here: Callable, dev: dict[str, Path], tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    bare = tmp_path / "bare"
    (bare / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "qrels/dev.tsv"):
        (bare / name).write_bytes((tmp_path / "two" / name).read_bytes())
    (bare / "queries.jsonl").write_text('{"_id": "q", "text": "what?"}\n')
    places = {"ONE": tmp_path / "one", "TWO-NO-ANSWERS": bare, "TWO": tmp_path / "two"}
    for name, folder in places.items():
        words = [word.replace(name, str(folder), 1) if word.startswith(name) else word for word in words]
    done = fuse(cli_here, dev["dense-one"], dev["bm25-one"], tmp_path / "out.trec", *words, code=code)
    assert message in done.err


def test_a_run_that_is_not_there(cli_here: Callable, dev: dict[str, Path], tmp_path: Path) -> None:
    done = fuse(cli_here, tmp_path / "nowhere.trec", dev["bm25-one"], tmp_path / "out.trec", code=3)
    assert "nowhere.trec does not exist" in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "out.trec").exists()


def test_runs_without_a_common_query_are_refused(cli_here: Callable, tmp_path: Path) -> None:
    dense = write_run(tmp_path / "dense.trec", {"1": {"a": 1.0}})
    bm25 = write_run(tmp_path / "bm25.trec", {"001": {"a": 1.0}})
    done = fuse(cli_here, dense, bm25, tmp_path / "out.trec", code=4)
    assert "have no query in common" in done.err


def test_a_compressed_run_holds_the_lines(
    cli_here: Callable, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    fuse(cli_here, *runs, tmp_path / "out.trec.gz", "--hits", 1)
    with gzip.open(tmp_path / "out.trec.gz", "rt") as file:
        assert len(file.readlines()) == 3000


MSMARCO = "q\ta\t1\nq\tb\t2\n"


@pytest.mark.parametrize("which", ["--run", "--bm25-run", "--dev-run", "--dev-bm25-run"])
def test_ranks_are_refused_where_scores_are_weighed(
    cli_here: Callable, dev: dict[str, Path], tmp_path: Path, which: str
) -> None:
    (tmp_path / "ranks.tsv").write_text(MSMARCO)
    given = {"--run": dev["dense-one"], "--bm25-run": dev["bm25-one"], "--output": tmp_path / "o.trec"}
    if "dev" in which:
        given |= {"--dev-run": dev["dense-one"], "--dev-bm25-run": dev["bm25-one"]}
        given |= {"--tune": "0:1:1", "--qrels": f"{tmp_path / 'one'}:dev"}
    given[which] = tmp_path / "ranks.tsv"
    err = cli_here("fuse-bm25", *(word for pair in given.items() for word in pair), code=4).err
    assert "ranks.tsv: the run holds ranks and no scores, and alpha weighs scores; fuse by ranks" in err
    assert not (tmp_path / "o.trec").exists()


def test_ranks_are_fused_by_rank_and_forms_can_be_named(
    cli_here: Callable, dev: dict[str, Path], tmp_path: Path
) -> None:
    ranks = tmp_path / "ranks.tsv"
    ranks.write_text("q\ta\t2\nq\tb\t1\n")
    words = (dev["dense-one"], ranks, tmp_path / "o.trec")
    err = fuse(cli_here, *words, code=4).err
    assert "line 1: the third of three columns may hold ranks or scores" in err
    forms = ("--run-format", "trec", "--run-format", "msmarco")
    fuse(cli_here, *words, *forms, "--method", "rrf")
    scores = [line.split()[2:5:2] for line in (tmp_path / "o.trec").read_text().splitlines()]
    assert scores == [["b", str(1 / 61 + 1 / 62)], ["a", str(1 / 61 + 1 / 62)]]
    fuse(cli_here, *words, "--run-format", "trec", "--run-format", "tevatron", "--force")
    assert (tmp_path / "o.trec").read_text().splitlines()[0].split()[2:5] == ["a", "1", "4"]


def test_the_order_of_close_doubles_survives(cli_here: Callable, tmp_path: Path) -> None:
    dense = write_run(tmp_path / "d.trec", {"q": {"zed": 0.500000021, "abc": 0.500000022}})
    bm25 = write_run(tmp_path / "b.trec", {"q": {"x": 1.0}})
    fuse(cli_here, dense, bm25, tmp_path / "o.trec", "--missing", "zero", "--alpha", 0)
    assert [line.split()[2] for line in (tmp_path / "o.trec").read_text().splitlines()] == ["abc", "zed", "x"]


def test_a_run_without_hits_leaves_the_other_alone(
    cli_here: Callable, dev: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty.trec").write_text("")
    said = fuse(cli_here, dev["dense-one"], tmp_path / "empty.trec", tmp_path / "o.trec").err
    assert "empty.trec holds no hits at all; the fused run has those of" in said
    assert [line.split()[2] for line in (tmp_path / "o.trec").read_text().splitlines()] == ["a", "b"]


def test_a_weight_that_leaves_no_finite_score_is_refused(
    cli_here: Callable, dev: dict[str, Path], tmp_path: Path
) -> None:
    given = (dev["dense-one"], dev["bm25-one"], tmp_path / "o.trec")
    err = fuse(cli_here, *given, "--alpha", "1e308", code=2).err
    assert "with --alpha 1e+308 a fused score is too large for 64 bits" in err


@pytest.mark.parametrize(
    ("right", "said"), [("z", "nDCG@10, 0.0000: no relevant"), ("a", "0.6309: the dev sets")]
)
def test_a_curve_that_is_flat_is_said_to_be(
    cli_here: Callable, dev: dict[str, Path], tmp_path: Path, right: str, said: str
) -> None:
    (tmp_path / "qrels.txt").write_text(f"q 0 {right} 1\n")
    dense = write_run(tmp_path / "d.trec", {"q": {"b": 2.0, "a": 1.0}})
    given = (dense, dense, tmp_path / "o.trec", "--qrels", tmp_path / "qrels.txt")
    err = fuse(cli_here, *given, "--tune", "0:1:0.5").err
    assert "all 3 alphas give the same nDCG@10" in err
    assert said in err
    assert "alpha 0 is taken as the smallest, not as the best" in err
    assert "end of the range" not in err
