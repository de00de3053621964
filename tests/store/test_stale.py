"""Recipes replace what went stale; by hand it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.store.embeddings import EmbeddingPlan
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import shard_rows
from dretrieve.store.stage import Stage
from dretrieve.store.stale import replaces_stale
from dretrieve.types import Vectors, VectorSpec


def finished(path: Path, hits: int) -> Stage:
    stage = Stage(path, "file", "search", options={"hits": hits})
    with stage.write() as file:
        file.write(b"run")
    stage.commit()
    return stage


def test_a_stale_result_is_made_again_and_a_fresh_one_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "run.trec"
    finished(path, 10)
    stale = Stage(path, "file", "search", options={"hits": 20})
    with pytest.raises(PreconditionError, match="hits 10 -> 20"):
        stale.up_to_date()
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert Stage(path, "file", "search", options={"hits": 10}).up_to_date()
    assert not stale.up_to_date()
    finished(path, 20)
    assert stale.up_to_date()


def test_a_file_of_someone_else_is_never_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    (tmp_path / "run.trec").write_text("precious")
    with pytest.raises(PreconditionError, match="was not made by dretrieve"):
        Stage(tmp_path / "run.trec", "file", "search").up_to_date()


def test_a_stale_shard_of_embeddings_is_encoded_again(tmp_path, monkeypatch):
    def writer(model: str) -> ShardWriter:
        plan = EmbeddingPlan(
            side="passage",
            vectors=VectorSpec(4, "one", "dot"),
            dtype="float32",
            options={},
            inputs={"collection": "c", "passage_model": model},
        )
        return ShardWriter(tmp_path, shard_rows(2, 0, 1), plan)

    first = writer("a")
    first.write(["x", "y"], Vectors(np.ones((2, 4), np.float32)))
    first.commit({"rows": 2})
    with pytest.raises(PreconditionError, match="passage_model a -> b"):
        writer("b")
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert writer("a").complete
    again = writer("b")
    assert not again.complete
    again.close()


def test_any_other_word_is_a_mistake(monkeypatch):
    monkeypatch.setenv("DRETRIEVE_STALE", "yes")
    with pytest.raises(UsageError, match="'yes' is neither 'refuse' nor 'replace'"):
        replaces_stale()
