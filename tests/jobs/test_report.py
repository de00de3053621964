"""The report job: plain comparisons, recipes, what fits together, what is written."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.jobs.configs.report import RecipeOptions
from dretrieve.jobs.report import ReportConfig, run


@pytest.fixture
def measured(tiny_collection, cli_here, tmp_path):
    """A work folder with the metrics of two runs, made by the commands."""
    work = tmp_path / "work"
    cli_here("index", "--corpus", tiny_collection, "--type", "bm25", "--output", work / "index", "-q")
    test = f"{tiny_collection}:test"
    for hits in (1, 20):
        name = work / f"h{hits}"
        words = f"--index {work}/index --queries {test} --hits {hits} --output {name}.trec -q"
        cli_here("search", *words.split())
        cli_here(
            "evaluate", "--run", f"{name}.trec", "--qrels", test, "--output", f"{name}.json", "-q",
            "--metrics", "nDCG@10 R@1 R@5 R@20",
        )  # fmt: skip
    return work


def test_a_work_folder_gives_a_row_for_each_run(measured):
    result = run(ReportConfig(target=measured))
    assert [row["system"] for row in result.data["rows"]] == ["h1", "h20"]
    assert result.data["num_queries"] == 6
    assert [figure.name for figure in result.page.figures] == ["ndcg-10", "r-curves"]
    assert result.exit_code == 0


def test_named_rows_keep_their_order_and_write_a_folder(measured, tmp_path):
    rows = (f"Deep={measured}/h20.json", f"Shallow={measured}/h1.json#h1")
    result = run(ReportConfig(rows=rows, title="Two", output=tmp_path / "out"))
    assert [row["system"] for row in result.data["rows"]] == ["Deep", "Shallow"]
    assert sorted(path.name for path in result.written) == [
        "ndcg-10.svg", "r-curves.svg", "report.html", "report.md", "report.tex",
    ]  # fmt: skip
    first = {path: path.read_bytes() for path in result.written}
    again = run(ReportConfig(rows=rows, title="Two", output=tmp_path / "out"))
    assert {path: path.read_bytes() for path in again.written} == first


def test_a_dry_run_writes_nothing(measured, tmp_path):
    result = run(ReportConfig(target=measured, output=tmp_path / "out", dry_run=True))
    assert result.render() == result.as_json()["plan"] == "would compare h1, h20"
    assert not (tmp_path / "out").exists()


def test_an_edited_metrics_file_is_refused(measured):
    path = measured / "h1.json"
    path.write_text(path.read_text().replace("0", "1", 1))
    with pytest.raises(VerificationError, match=r"h1.json .*changed"):
        run(ReportConfig(target=measured))


@pytest.mark.parametrize(
    ("config", "error", "sentence"),
    [
        (ReportConfig(), UsageError, "name what to report: a recipe, a work folder, or --row NAME=FILE"),
        (ReportConfig(rows=("x.json",)), UsageError, "--row takes NAME=FILE, not 'x.json'"),
        (ReportConfig(rows=("A=x.json",)), PreconditionError, "x.json does not exist"),
    ],
)
def test_what_does_not_fit(config, error, sentence):
    with pytest.raises(error, match=sentence):
        run(config)


def test_folders_without_metrics(tmp_path):
    with pytest.raises(PreconditionError, match="holds no metrics; make them with `dretrieve evaluate"):
        run(ReportConfig(target=tmp_path))
    with pytest.raises(PreconditionError, match="is no folder; name a recipe or the work folder"):
        run(ReportConfig(target=tmp_path / "absent"))
    with pytest.raises(UsageError, match="has no expected.yaml; --profile, --work"):
        run(ReportConfig(target=tmp_path, recipe=RecipeOptions(profile="mini")))
    with pytest.raises(UsageError, match=r"--output .*x.docx: give a folder, or a file that ends in"):
        run(ReportConfig(target=tmp_path, output=tmp_path / "x.docx"))


@pytest.mark.parametrize(
    ("recipe", "given", "sentence"),
    [
        (False, {"rows": ("A=b",)}, "--row names what is compared, and .* is not looked at"),
        (True, {"rows": ("A=b",)}, "--row names what is compared, and .* is not looked at"),
        (True, {"title": "Mine"}, "--title is of a plain comparison"),
        (True, {"recipe": RecipeOptions(hardware="two cores")}, "--hardware .* give --record too"),
        (
            None,
            {"rows": ("A=b",), "recipe": RecipeOptions(profile="mini")},
            "comparison has no expected.yaml",
        ),
    ],
)
def test_what_would_be_ignored_is_refused(recipe, given, sentence, tmp_path):
    if recipe:
        (tmp_path / "expected.yaml").write_text("")
    with pytest.raises(UsageError, match=sentence):
        run(ReportConfig(target=None if recipe is None else tmp_path, **given))


def test_a_comparison_hashes_every_file_again_when_asked(measured):
    path = measured / "h1.json"
    times = path.stat()
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for config in (ReportConfig(target=measured), ReportConfig(rows=(f"A={path}",))):
        with pytest.raises(VerificationError, match=r"h1.json does not have the checksum"):
            run(replace(config, verify=True))


@pytest.mark.parametrize(
    ("qrels", "words", "sentence"),
    [
        ("other.tsv", [], "h2.json was measured with other judgements than .*h1.json; evaluate all runs"),
        (
            "qrels/test.tsv",
            ["--drop-self"],
            r"h2.json was measured with other options \(--depth, --drop-self",
        ),
    ],
)
def test_metrics_made_in_another_way_are_refused(measured, tiny_collection, cli_here, qrels, words, sentence):
    """Of the same queries: their ids tell nothing."""
    graded = (tiny_collection / "qrels" / "test.tsv").read_text().replace("\t1\n", "\t2\n", 1)
    (tiny_collection / "other.tsv").write_text(graded)
    (measured / "h20.json.manifest.json").unlink()
    other = measured / "h2.json"
    cli_here(
        "evaluate", "--run", f"{measured}/h20.trec", "--qrels", tiny_collection / qrels, "--output", other,
        "-q", "--metrics", "nDCG@10", *words,
    )  # fmt: skip
    for config in (ReportConfig(target=measured), ReportConfig(rows=(f"A={measured}/h1.json", f"B={other}"))):
        with pytest.raises(VerificationError, match=sentence):
            run(config)
