"""A folder of embeddings opens only when it is whole, of one piece, and unchanged."""

import os
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import PreconditionError, VerificationError
from dretrieve.store.embeddings import VERSIONS, EmbeddingPlan, Embeddings
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import shard_rows
from dretrieve.types import Vectors, VectorSpec
from tests.common import flip

ROWS = 4000
VECTORS = np.arange(1, ROWS * 4 + 1, dtype=np.float32).reshape(ROWS, 4)


def write(
    folder: Path, count: int, indices: list[int] | None = None, model: str = "m", engine: int | None = None
) -> None:
    plan = EmbeddingPlan(
        side="passage",
        vectors=VectorSpec(4, "one", "dot"),
        dtype="float32",
        options={},
        inputs={"collection": "c", "passage_model": model},
        extra=None if engine is None else {"engine_version": engine},
    )
    for index in range(count) if indices is None else indices:
        writer = ShardWriter(folder, shard_rows(ROWS, index, count), plan)
        for start, stop in writer.shard.chunks():
            writer.write([f"p{row}" for row in range(start, stop)], Vectors(VECTORS[start:stop]))
        writer.commit({"rows": len(writer.shard)})


def test_vectors_of_all_shards_stand_in_row_order(tmp_path: Path) -> None:
    write(tmp_path, 3)
    np.testing.assert_array_equal(Embeddings.open(tmp_path).all_vectors().values, VECTORS)


@pytest.mark.parametrize(
    ("name", "broken", "words"),
    [
        ("offsets", np.array([0, 2, 1, 3]), "offsets.npy does not rise from 0"),
        ("offsets", np.array([1, 2, 2, 3]), "offsets.npy does not rise from 0"),
        ("offsets", np.array([0, 1, 3]), "offsets.npy has 3 entries"),
        ("offsets", np.array([0, 1, 2, 2]), "vectors.npy has 3 entries where .* needs 2"),
        ("salience", np.ones(4, np.float16), "salience.npy has 4 entries where .* needs 3"),
        ("tokens", np.ones(2, np.int32), "tokens.npy has 2 entries where .* needs 3"),
    ],
)
def test_token_arrays_that_do_not_fit_together_are_refused(
    write_embeddings, name: str, broken: np.ndarray, words: str
) -> None:
    tokens = Vectors(np.ones((3, 2)), np.array([0, 1, 1, 3]), np.ones(3))
    embeddings = Embeddings.open(write_embeddings("emb", ["a", "b", "c"], tokens, score="maxsim_sum"))
    np.save(embeddings.folder / f"shard-00000-of-00001.{name}.npy", broken)
    with pytest.raises(VerificationError, match=words):
        embeddings.all_vectors()


def test_vectors_of_tokens_without_their_numbers_are_refused(write_embeddings, monkeypatch) -> None:
    monkeypatch.setitem(VERSIONS, "many", 1)
    folder = write_embeddings("emb", ["a"], Vectors(np.ones((1, 2)), np.array([0, 1])), score="maxsim_sum")
    monkeypatch.undo()
    with pytest.raises(PreconditionError, match="numbers were not kept; encode again with --force"):
        Embeddings.open(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write(tmp_path, 4, [0, 2])
    with pytest.raises(PreconditionError, match="lacks 2 of 4 shards; run --shard 1/4, 3/4"):
        Embeddings.open(tmp_path)
    with pytest.raises(PreconditionError, match="make them with `dretrieve encode"):
        Embeddings.open(tmp_path / "none")


def test_shards_of_two_models_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 2, [0])
    write(tmp_path, 2, [1], model="other")
    with pytest.raises(VerificationError, match="input passage_model m -> other"):
        Embeddings.open(tmp_path)


def test_shards_of_two_versions_of_the_engine_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 3, [0])
    write(tmp_path, 3, [1, 2], engine=2)
    assert Embeddings.open(tmp_path).rows == ROWS, "of a shard without a record nothing is known"
    (tmp_path / "shard-00002-of-00003.manifest.json").unlink()
    write(tmp_path, 3, [2], engine=3)
    message = (
        "the engine computed shard-00001-of-00003 by version 2 and shard-00002-of-00003 by version 3; remove"
    )
    with pytest.raises(VerificationError, match=message) as found:
        Embeddings.open(tmp_path)
    assert found.value.exit_code == 5


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    path = tmp_path / "shard-00000-of-00001.vectors.npy"
    flip(path, 5000, dated=True)
    with pytest.raises(VerificationError, match="bytes were changed"):
        Embeddings.open(tmp_path)


def test_it_opens_after_being_copied_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "a", 2)
    os.rename(tmp_path / "a", tmp_path / "b")
    for path in (tmp_path / "b").iterdir():
        os.utime(path)
    assert Embeddings.open(tmp_path / "b").rows == ROWS
