"""The state of an interrupted search is found again, or ignored when it is another's or broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dretrieve.index.base import Passages
from dretrieve.index.top_k import TopK
from dretrieve.runs.checkpoint import Checkpoint, checkpoint_path, discard_checkpoint
from dretrieve.store.embeddings import Embeddings
from dretrieve.types import Vectors, offsets_of


@pytest.fixture
def kept() -> TopK:
    filled = TopK.empty(3, 4)
    filled.scores[:, :2] = np.arange(6).reshape(3, 2)
    filled.rows[:, :2] = 7
    filled.sizes[:] = 2
    return filled


def test_saved_hits_come_back(tmp_path: Path, kept: TopK) -> None:
    Checkpoint(checkpoint_path(tmp_path / "run"), "abc").save(kept, 2048, now=True)
    found, row = Checkpoint(checkpoint_path(tmp_path / "run"), "abc").load(TopK.empty(3, 4), 0)
    assert row == 2048
    assert np.array_equal(found.scores, kept.scores)
    assert np.array_equal(found.rows, kept.rows)
    assert np.array_equal(found.sizes, kept.sizes)


def test_it_saves_when_it_is_time(tmp_path: Path, kept: TopK) -> None:
    path = checkpoint_path(tmp_path / "run")
    Checkpoint(path, "abc", seconds=1000).save(kept, 5)
    assert not path.exists()
    Checkpoint(path, "abc", seconds=0).save(kept, 5)
    assert path.exists()
    discard_checkpoint(tmp_path / "run")
    assert not path.exists()


@pytest.mark.parametrize("damage", ["other search", "other shape", "cut", "garbage", "nothing"])
def test_what_does_not_fit_is_ignored(tmp_path: Path, kept: TopK, damage: str) -> None:
    path = checkpoint_path(tmp_path / "run")
    if damage != "nothing":
        Checkpoint(path, "abc").save(kept, 5, now=True)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    if damage == "garbage":
        path.write_bytes(b"not a checkpoint")
    empty = TopK.empty(3, 5 if damage == "other shape" else 4)
    name = "xyz" if damage == "other search" else "abc"
    found, row = Checkpoint(path, name).load(empty, 9)
    assert row == 9
    assert found is empty


def test_a_flipped_number_is_noticed(tmp_path: Path, kept: TopK) -> None:
    path = checkpoint_path(tmp_path / "run")
    Checkpoint(path, "abc").save(kept, 5, now=True)
    data = path.read_bytes()
    place = data.index(kept.rows.tobytes())
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    _, row = Checkpoint(path, "abc").load(TopK.empty(3, 4), 0)
    assert row == 0


@pytest.mark.parametrize(
    "other", ["nothing", "stage", "passages", "query vectors", "query tokens", "salience"]
)
def test_it_is_of_one_stage_over_these_vectors(
    write_embeddings, tmp_path: Path, kept: TopK, other: str
) -> None:
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    changed = {
        "query vectors": Vectors(values + 1, offsets_of([3, 3]), np.ones(6, np.float32)),
        "query tokens": Vectors(values, offsets_of([2, 4]), np.ones(6, np.float32)),
        "salience": Vectors(values, offsets_of([3, 3]), np.zeros(6, np.float32)),
    }
    asked = Vectors(values, offsets_of([3, 3]), np.ones(6, np.float32))

    def of(stage: str, folder: Path, queries: Vectors) -> Checkpoint:
        return Checkpoint.of(tmp_path / "run", stage, Passages(Embeddings.open(folder)), queries)

    mine, theirs = (
        write_embeddings(name, ["a", "b"], values[row : row + 2]) for row, name in enumerate("mt")
    )
    of("stage", mine, asked).save(kept, 5, now=True)
    stage = "another" if other == "stage" else "stage"
    found = of(stage, theirs if other == "passages" else mine, changed.get(other, asked))
    assert found.load(TopK.empty(3, 4), 0)[1] == (5 if other == "nothing" else 0)
