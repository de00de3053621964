"""Shards are runs of whole chunks and tile the rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.store.shards import (
    ARRAY_VARIABLES,
    CHUNK_ROWS,
    Shard,
    array_tasks,
    check_tiling,
    parse_shard,
    shard_rows,
)


@given(st.integers(0, 50_000), st.integers(1, 40))
def test_shards_tile_every_row_once_on_chunk_borders(total: int, count: int) -> None:
    shards = [shard_rows(total, index, count) for index in range(count)]
    assert [row for shard in shards for row in range(shard.start, shard.stop)] == list(range(total))
    assert all(shard.start % CHUNK_ROWS == 0 or len(shard) == 0 for shard in shards)
    sizes = [len(shard.chunks()) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    whole = shard_rows(total, 0, 1)
    assert [chunk for shard in shards for chunk in shard.chunks()] == whole.chunks()
    check_tiling(reversed(shards), total, "x")


@pytest.mark.parametrize(("index", "count"), [(3, 3), (-1, 3), (0, 0)])
def test_a_shard_that_does_not_exist(index: int, count: int) -> None:
    with pytest.raises(UsageError, match="shards are numbered from 0"):
        shard_rows(10, index, count)


def test_missing_shards_are_named_as_they_are_run() -> None:
    shards = [shard_rows(9000, index, 4) for index in (0, 3)]
    with pytest.raises(PreconditionError, match=r"emb lacks 2 of 4 shards; run --shard 1/4, 2/4"):
        check_tiling(shards, 9000, "emb")


def test_mixed_cuts_and_overlaps_are_refused() -> None:
    with pytest.raises(VerificationError, match="different cuts"):
        check_tiling([shard_rows(9000, 0, 2), shard_rows(9000, 1, 3)], 9000, "emb")
    with pytest.raises(VerificationError, match="different sizes"):
        check_tiling([shard_rows(9000, 0, 2), shard_rows(8000, 1, 2)], 9000, "emb")
    crooked = [
        Shard(start=0, stop=2048, index=0, count=2, total=3000),
        Shard(start=1024, stop=3000, index=1, count=2, total=3000),
    ]
    with pytest.raises(VerificationError, match="overlap at row 1,024"):
        check_tiling(crooked, 3000, "emb")
    gap = [crooked[0], Shard(start=2500, stop=3000, index=1, count=2, total=3000)]
    with pytest.raises(VerificationError, match="leave a gap at row 2,048"):
        check_tiling(gap, 3000, "emb")


@pytest.fixture
def bare(monkeypatch):
    """No array variable stands in the environment."""
    for name in (*ARRAY_VARIABLES, "SLURM_ARRAY_TASK_MAX"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_array_variable_is_asked_for_by_name(bare) -> None:
    with pytest.raises(PreconditionError, match="SLURM_ARRAY_TASK_ID"):
        parse_shard("array/4")
    bare.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert parse_shard("array/4") == (2, 4)
    assert parse_shard("3/16") == (3, 16)
    bare.setenv("SLURM_ARRAY_TASK_ID", "7")
    with pytest.raises(UsageError, match="shard 7/4 does not exist"):
        parse_shard("array/4")


@pytest.mark.parametrize(("name", "first"), ARRAY_VARIABLES.items())
def test_every_scheduler_counts_in_its_own_way(bare, name, first) -> None:
    """Grid Engine and LSF cannot begin below 1; all others begin at 0 or where the user says."""
    assert first == (name in ("SGE_TASK_ID", "LSB_JOBINDEX"))
    for index in range(4):
        bare.setenv(name, str(index + first))
        assert parse_shard("array/4") == (index, 4)
    bare.setenv(name, str(4 + first))
    with pytest.raises(UsageError, match=f"tasks {first} to {3 + first}, so shard 4/4 does not exist"):
        parse_shard("array/4")


@pytest.mark.parametrize(("name", "value"), [("SGE_TASK_ID", "undefined"), ("LSB_JOBINDEX", "0")])
def test_a_job_that_is_no_array(bare, name, value) -> None:
    bare.setenv(name, value)
    assert array_tasks() == {}
    with pytest.raises(PreconditionError, match="write I/4"):
        parse_shard("array/4")


def test_an_array_of_slurm_that_begins_at_one_is_refused_in_each_task(bare) -> None:
    bare.setenv("SLURM_ARRAY_TASK_ID", "2")
    bare.setenv("SLURM_ARRAY_TASK_MAX", "4")
    with pytest.raises(UsageError, match="4 shards are the tasks 0 to 3"):
        parse_shard("array/4")
    bare.setenv("SLURM_ARRAY_TASK_MAX", "3")
    assert parse_shard("array/4") == (2, 4)


def test_two_variables_agree_or_are_a_question(bare) -> None:
    bare.setenv("SGE_TASK_ID", "3")
    bare.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "2")
    assert parse_shard("array/4") == (2, 4)
    bare.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "3")
    with pytest.raises(PreconditionError, match=r"SGE_TASK_ID=3 \(shard 2\), AWS.*=3 \(shard 3\); write I/4"):
        parse_shard("array/4")


def test_one_node_of_one_is_no_array(bare) -> None:
    bare.setenv("SKYPILOT_NODE_RANK", "0")
    bare.setenv("SKYPILOT_NUM_NODES", "1")
    bare.setenv("SKYPILOT_JOB_RANK", "3")
    bare.setenv("SKYPILOT_NUM_JOBS", "4")
    assert parse_shard("array/4") == (3, 4)


@pytest.mark.parametrize("text", ["3", "3of16", "a/3", "1/0", "-1/3", "4/4"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_shard(text)
