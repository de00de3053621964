"""A shard killed at any moment and started again has the bytes of an unbroken one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import DataError, PreconditionError, VerificationError
from dretrieve.store.embeddings import EmbeddingPlan, Embeddings
from dretrieve.store.manifest import read_manifest
from dretrieve.store.shard_writer import ShardWriter, check_vectors
from dretrieve.store.shards import shard_rows
from dretrieve.types import Vectors, VectorSpec, offsets_of

ROWS, DIM = 20_000, 16
WRITER = """
import sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, {tests!r})
from test_shard_writer import plan, write_all
write_all(Path(sys.argv[1]), pause=0.05)
"""


def plan(**changes) -> EmbeddingPlan:
    settings = {
        "side": "passage",
        "vectors": VectorSpec(DIM, "one", "dot"),
        "dtype": "float16",
        "options": {"precision": "fp32"},
        "inputs": {"collection": "c", "passage_model": "m"},
    }
    return EmbeddingPlan(**{**settings, **changes})


def vectors_of(start: int, stop: int) -> Vectors:
    rows = np.arange(start, stop, dtype=np.float32)[:, None]
    return Vectors(np.sin(rows * np.arange(1, DIM + 1, dtype=np.float32)) + 2)


def write_all(folder: Path, index: int = 0, count: int = 1, pause: float = 0.0) -> None:
    writer = ShardWriter(folder, shard_rows(ROWS, index, count), plan())
    if writer.complete:
        return
    for start, stop in writer.shard.chunks()[writer.done_chunks :]:
        writer.write([f"id-{row}" for row in range(start, stop)], vectors_of(start, stop))
        time.sleep(pause)
    writer.commit({"rows": len(writer.shard)})


def hashed(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and "provenance" not in path.name
    }


def test_a_shard_written_by_two_at_once_has_the_bytes_of_one(tmp_path: Path) -> None:
    write_all(tmp_path / "one")
    shard = shard_rows(ROWS, 0, 1)
    first = ShardWriter(tmp_path / "two", shard, plan())
    chunks = shard.chunks()

    def write(writer: ShardWriter, upto: int) -> None:
        for start, stop in chunks[writer.done_chunks : upto]:
            writer.write([f"id-{row}" for row in range(start, stop)], vectors_of(start, stop))

    write(first, 5)
    second = ShardWriter(tmp_path / "two", shard, plan())
    assert second.done_chunks == 5
    write(first, 9)
    write(second, 7)
    write(first, len(chunks))
    first.commit({"rows": ROWS})
    write(second, len(chunks))
    second.commit({"rows": ROWS})
    assert hashed(tmp_path / "two") == hashed(tmp_path / "one")


@pytest.mark.parametrize("name", ["ids.txt", "vectors.npy"])
def test_a_shard_with_more_entries_than_rows_is_refused(tmp_path: Path, name: str) -> None:
    write_all(tmp_path)
    embeddings = Embeddings.open(tmp_path)
    file = next(tmp_path.glob(f"shard-*.{name}"))
    if name == "ids.txt":
        file.write_text(file.read_text() + "one-more\n")
    else:
        np.save(file, np.zeros((ROWS + 1, DIM), dtype=np.float16))
    with pytest.raises(VerificationError, match=r"20,001 entries where its shard of 20,000 rows"):
        embeddings.shards[0].ids() if name == "ids.txt" else embeddings.all_vectors()


def test_kill_nine_at_random_moments_then_again_gives_the_same_bytes(tmp_path: Path) -> None:
    write_all(tmp_path / "unbroken")
    code = WRITER.format(tests=str(Path(__file__).parent))
    random.seed(7)
    kills = 0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for _ in range(40):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "broken")], env=environment)
        try:
            process.wait(timeout=0.3 + random.random() * 0.2)
            assert process.returncode == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 1
    write_all(tmp_path / "broken")
    assert hashed(tmp_path / "broken") == hashed(tmp_path / "unbroken")
    assert not [path for path in (tmp_path / "broken").iterdir() if path.name.endswith(".partial")]


def test_what_a_kill_after_the_manifest_left_is_removed(tmp_path: Path) -> None:
    write_all(tmp_path)
    left = tmp_path / ".shard-00000-of-00001.partial"
    left.mkdir()
    (left / "vectors.npy").touch()
    write_all(tmp_path)
    assert not left.exists()


def test_shards_hold_the_bytes_of_the_whole(tmp_path: Path) -> None:
    write_all(tmp_path / "one")
    for index in range(3):
        write_all(tmp_path / "three", index, 3)
    one, three = (Embeddings.open(tmp_path / name) for name in ("one", "three"))
    assert one.all_vectors().values.tobytes() == three.all_vectors().values.tobytes()
    assert one.ids() == three.ids()
    assert one.fingerprint == three.fingerprint


def test_a_finished_shard_is_not_written_again_and_others_are_refused(tmp_path: Path) -> None:
    write_all(tmp_path)
    before = hashed(tmp_path)
    assert ShardWriter(tmp_path, shard_rows(ROWS, 0, 1), plan()).complete
    other = plan(inputs={"collection": "c", "passage_model": "another"})
    with pytest.raises(PreconditionError, match=r"input passage_model m -> another\); use --force"):
        ShardWriter(tmp_path, shard_rows(ROWS, 0, 1), other)
    assert hashed(tmp_path) == before
    forced = ShardWriter(tmp_path, shard_rows(ROWS, 0, 1), other, force=True)
    assert not forced.complete
    assert forced.done_chunks == 0
    forced.close()


def test_an_empty_shard_is_legal(tmp_path: Path) -> None:
    for index in range(2):
        writer = ShardWriter(tmp_path, shard_rows(5, index, 2), plan())
        for start, stop in writer.shard.chunks():
            writer.write([str(row) for row in range(start, stop)], vectors_of(start, stop))
        writer.commit({"rows": len(writer.shard)})
    embeddings = Embeddings.open(tmp_path)
    assert [len(entry.shard) for entry in embeddings.shards] in ([5, 0], [0, 5])
    np.testing.assert_array_equal(embeddings.all_vectors().values, vectors_of(0, 5).values.astype(np.float16))


@pytest.mark.parametrize("stops", [False, True])
def test_token_vectors_keep_offsets_salience_and_tokens(tmp_path: Path, stops: bool) -> None:
    """Also where a second writer goes on after the first chunk."""
    many = plan(vectors=VectorSpec(DIM, "many", "maxsim_sum"), salience=True)
    writer = ShardWriter(tmp_path, shard_rows(1500, 0, 1), many)
    lengths = np.arange(1500) % 4 + 1
    for start, stop in writer.shard.chunks():
        tokens = int(lengths[start:stop].sum())
        values = np.full((tokens, DIM), start + 1.0)
        numbers = np.arange(start, start + tokens)
        vectors = Vectors(values, offsets_of(lengths[start:stop]), np.ones(tokens), numbers)
        writer.write([str(row) for row in range(start, stop)], vectors)
        if stops and start == 0:
            writer.close()
            writer = ShardWriter(tmp_path, shard_rows(1500, 0, 1), many)
            assert writer.done_chunks == 1
    writer.commit({"rows": 1500})
    embeddings = Embeddings.open(tmp_path)
    shard, whole = embeddings.shards[0], embeddings.all_vectors()
    assert (len(whole), whole.dim, whole.many) == (1500, DIM, True)
    assert whole.weights is not None
    assert whole.weights.sum() == lengths.sum()
    np.testing.assert_array_equal(shard.array("offsets"), np.concatenate([[0], np.cumsum(lengths)]))
    assert shard.array("vectors").shape == (lengths.sum(), DIM)
    assert shard.array("salience").shape == (lengths.sum(),)
    first, second = int(lengths[:1024].sum()), int(lengths[1024:].sum())
    expected = [*range(first), *range(1024, 1024 + second)]
    np.testing.assert_array_equal(shard.array("tokens"), np.array(expected, dtype=np.int32))
    assert shard.array("tokens").dtype == np.int32


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "NaN or infinity"), (np.inf, "NaN"), (0, "only zeros")]
)
def test_broken_vectors_are_refused_by_the_ids_of_their_texts(value: float, words: str) -> None:
    vectors = np.ones((3, 4))
    vectors[1] = value
    with pytest.raises(DataError, match=rf"1 vectors hold {words}.*\(text ids b\)"):
        check_vectors(Vectors(vectors), ["a", "b", "c"])
    with pytest.raises(DataError, match=r"text ids b\)"):
        check_vectors(Vectors(np.vstack([vectors, np.ones((1, 4))]), np.array([0, 1, 4])), ["a", "b"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -1])
def test_salience_that_is_no_weight_is_refused(value: float) -> None:
    weights = np.array([0, 1, value, 1])
    with pytest.raises(DataError, match=r"1 vectors hold a salience that is negative, NaN .*text ids b\)"):
        check_vectors(Vectors(np.ones((4, 2)), np.array([0, 1, 4]), weights), ["a", "b"])


def test_overflow_of_the_stored_type_is_refused(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, shard_rows(2, 0, 1), plan())
    with pytest.raises(DataError, match="NaN or infinity"):
        writer.write(["a", "b"], Vectors(np.full((2, DIM), 1e6)))
    writer.close()


@pytest.mark.parametrize("beside", [False, True])
def test_a_stale_shard_of_embeddings_is_encoded_again(tmp_path, monkeypatch, beside):
    """Also where a task beside has removed it between two looks."""

    def writer(model: str) -> ShardWriter:
        inputs = {"collection": "c", "passage_model": model}
        return ShardWriter(tmp_path, shard_rows(2, 0, 1), plan(inputs=inputs))

    first = writer("a")
    first.write(["x", "y"], vectors_of(0, 2))
    first.commit({"rows": 2})
    with pytest.raises(PreconditionError, match="passage_model a -> b"):
        writer("b")
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert writer("a").complete
    if beside:
        look = "dretrieve.store.stage.read_manifest"
        monkeypatch.setattr(look, lambda path: path.unlink() or read_manifest(path))
    again = writer("b")
    assert not again.complete
    again.close()
