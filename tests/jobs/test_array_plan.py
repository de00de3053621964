"""The shard map and the words of a plan."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dretrieve.errors import UsageError
from dretrieve.jobs import array_plan


def test_rows_are_those_of_the_side_that_is_cut(tiny_collection):
    passages = array_plan.rows_of("encode", {"corpus": str(tiny_collection)})
    queries = array_plan.rows_of("encode", {"queries": f"{tiny_collection}:test"})
    assert passages is not None
    assert queries is not None
    assert (passages[0], queries[0]) == (30, 6)
    assert len({passages[1], queries[1]}) == 2
    assert array_plan.rows_of("search", {"queries": f"{tiny_collection}:test"}) is None
    with pytest.raises(UsageError, match="passages have no splits"):
        array_plan.rows_of("encode", {"corpus": f"{tiny_collection}:test"})


def test_a_plan_without_rows_still_names_every_shard(tmp_path):
    config = array_plan.ArrayConfig(
        stage="fuse-bm25",
        words=("--run", "a"),
        output=tmp_path / "run",
        shards=2,
        folder=tmp_path / "plan",
        program=(sys.executable,),
        working_folder=Path("/x"),
    )
    plan = array_plan.plan_of(config)
    assert [task["stem"] for task in plan["tasks"]] == ["shard-00000-of-00002", "shard-00001-of-00002"]
    assert plan["rows"] is None
    assert all("start" not in task for task in plan["tasks"])


@pytest.mark.parametrize("values", [{}, {"precision": "fp32"}, {"precision": None}])
def test_a_precision_that_is_chosen_stays(values):
    assert array_plan.resolved_precision(values, None) == ()


def test_a_shard_with_a_file_of_its_own(tmp_path):
    output = tmp_path / "run.{shard}.trec"
    assert array_plan.shard_output(output, 3, 16) == tmp_path / "run.shard-00003-of-00016.trec"
    assert array_plan.shard_output(tmp_path / "emb", 3, 16) == tmp_path / "emb"
