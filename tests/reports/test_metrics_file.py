"""What `evaluate` writes is what reports read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.reports.metrics_file import one_run, read_metrics, split_name


@pytest.fixture
def both(tiny_collection, cli_here, tmp_path):
    """A metrics file of two runs, made by the commands."""
    cli_here("index", "--corpus", tiny_collection, "--type", "bm25", "--output", tmp_path / "index", "-q")
    for hits in (1, 5):
        cli_here(
            "search", "--index", tmp_path / "index", "--queries", f"{tiny_collection}:test",
            "--hits", hits, "--output", tmp_path / f"hits{hits}.trec", "-q",
        )  # fmt: skip
    cli_here(
        "evaluate", "--run", tmp_path / "hits1.trec", "--run", tmp_path / "hits5.trec",
        "--metrics", "R@5 RR@10",
        "--qrels", f"{tiny_collection}:test", "--output", tmp_path / "both.json", "-q",
    )  # fmt: skip
    return tmp_path / "both.json"


def test_every_run_with_its_means_and_queries(both):
    first, second = read_metrics(both)
    assert (first.name, second.name) == ("hits1", "hits5")
    assert len(second.query_ids) == 6
    for name in ("R@5", "RR@10"):
        assert second.means[name] == pytest.approx(np.mean(list(second.by_query(name).values())))


def test_one_of_several_must_be_named(both):
    assert one_run(both, "hits5").name == "hits5"
    with pytest.raises(
        UsageError, match=r"both.json holds 2 runs \(hits1, hits5\); name one: .*both.json#RUN"
    ):
        one_run(both)
    with pytest.raises(UsageError, match="has no run 'hits9'; it has: hits1, hits5"):
        one_run(both, "hits9")


def test_macro_means_have_their_own_names(tmp_path):
    run = {"name": "a", "mean": {"top20": 0.5}, "macro": {"top20": 0.25}, "per_query": {"q": {"top20": 0.5}}}
    (tmp_path / "m.json").write_text(json.dumps({"runs": [run]}))
    assert one_run(tmp_path / "m.json").means == {"top20": 0.5, "macro:top20": 0.25}


def test_names_of_runs_stand_behind_a_hash():
    assert split_name("a/b.json#dense") == ("a/b.json", "dense")
    assert split_name("a/b.json") == ("a/b.json", "")


def test_other_files(tmp_path):
    with pytest.raises(
        PreconditionError, match="absent.json does not exist; make it with `dretrieve evaluate"
    ):
        read_metrics(tmp_path / "absent.json")
    for text in ("{", "[]", "{}", '{"runs": [{}]}'):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(DataError, match="is not a metrics file of `dretrieve evaluate`"):
            read_metrics(tmp_path / "m.json")


def test_the_cure_of_a_missing_file_can_be_pasted(tmp_path):
    with pytest.raises(PreconditionError, match=r"--output '.*/with a blank\.json'`"):
        read_metrics(tmp_path / "with a blank.json")
