"""The flat index: reads embeddings in place, same hits with its bytes and without, refuses what changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import Interrupted, PreconditionError, UsageError, VerificationError
from dretrieve.index import flat
from dretrieve.index.exact import ExactOptions
from dretrieve.index.registry import (
    KINDS,
    build_index,
    kind_at,
    kind_named,
    open_vector_index,
    plan_index,
)
from dretrieve.index.top_k import TopK
from dretrieve.kernels.codes import PANEL_ROWS
from dretrieve.order import id_ranks, top_k
from dretrieve.scoring.dot import dot_matrix
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.types import Silent, Vectors
from tests.common import bytes_of, flip

ROWS, DIM = 5000, 20


@pytest.fixture
def vectors() -> np.ndarray:
    chance = np.random.default_rng(3)
    found = np.rint(chance.standard_normal((ROWS, DIM))).astype(np.float16)
    found[:, 0] += 5
    return found


@pytest.fixture
def ids() -> list[str]:
    return [f"p{row * 7919 % ROWS}" for row in range(ROWS)]


def build(embeddings: Path, output: Path, **options):
    force, signals = options.get("force", False), options.get("signals", Signals())
    planned = plan_index("flat", Embeddings.open(embeddings), output, {}, force=force, progress=Silent())
    return build_index(*planned, progress=Silent(), signals=signals)


def search(
    index: flat.FlatIndex, queries: np.ndarray, k: int, **options
) -> list[tuple[list[int], list[float]]]:
    kept = index.search(
        Vectors(queries), TopK.empty(len(queries), k), (0, index.passages.rows), ExactOptions(**options)
    )
    return [(rows.tolist(), scores.tolist()) for rows, scores in kept.best_first(index.passages.ranks)]


@pytest.mark.parametrize(("shards", "dtype"), [(1, "float16"), (3, "float32"), (9, "float16")])
@pytest.mark.parametrize("queries", [1, 40])
def test_hits_with_bytes_without_and_by_hand_agree(
    write_embeddings, vectors, ids, tmp_path, shards, dtype, queries
) -> None:
    folder = write_embeddings("emb", ids, vectors, shards=shards, dtype=dtype)
    build(folder, tmp_path / "index")
    asked = np.rint(np.random.default_rng(1).standard_normal((queries, DIM))).astype(np.float32)
    scores, ranks = dot_matrix(asked, vectors), id_ranks(ids)
    expected = [top_k(row, ranks, 30) for row in scores]
    by_hand = [(best.tolist(), scores[query][best].tolist()) for query, best in enumerate(expected)]
    for place in (tmp_path / "index", folder):
        index = open_vector_index(place)
        assert search(index, asked, 30, threads=2) == by_hand
        assert search(index, asked, 30, first_block=96, largest_block=160) == by_hand


def test_bytes_are_served_where_rows_begin_a_panel(write_embeddings, vectors, ids, tmp_path) -> None:
    build(write_embeddings("emb", ids, vectors, shards=2), tmp_path / "index")
    index = flat.open_index(tmp_path / "index")
    assert index.block(1024, 1500).codes is not None
    assert index.block(1030, 1500).codes is None
    block = index.block(2048, ROWS)
    assert block.first + len(block.vectors) == 2048 or len(block.vectors) % PANEL_ROWS in (
        0,
        ROWS % PANEL_ROWS,
    )


def test_files_are_few_and_the_vectors_stay_where_they_are(write_embeddings, vectors, ids, tmp_path) -> None:
    folder = write_embeddings("emb", ids, vectors)
    manifest = build(folder, tmp_path / "index")
    assert manifest.extra == {"embeddings": "../emb"}
    assert manifest.counts == {"rows": ROWS, "dim": DIM}
    vectors_bytes = (folder / "shard-00000-of-00001.vectors.npy").stat().st_size
    codes_bytes = (tmp_path / "index" / "shard-00000-of-00001.codes.npy").stat().st_size
    assert codes_bytes <= vectors_bytes * 0.52
    assert np.array_equal(np.load(tmp_path / "index" / "id_rank.npy"), id_ranks(ids))


def test_index_and_embeddings_move_together(write_embeddings, vectors, ids, tmp_path) -> None:
    build(write_embeddings("emb", ids, vectors), tmp_path / "index")
    (tmp_path / "elsewhere").mkdir()
    for name in ("emb", "index"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    assert flat.open_index(tmp_path / "elsewhere" / "index").passages.rows == ROWS


def test_missing_embeddings_are_named(write_embeddings, vectors, ids, tmp_path) -> None:
    folder = write_embeddings("emb", ids, vectors)
    build(folder, tmp_path / "index")
    folder.rename(tmp_path / "away")
    with pytest.raises(
        PreconditionError, match=r"reads its vectors from .*emb, which is not there; move it back"
    ):
        flat.open_index(tmp_path / "index")


def test_embeddings_encoded_anew_are_refused(write_embeddings, vectors, ids, tmp_path) -> None:
    folder = write_embeddings("emb", ids, vectors)
    build(folder, tmp_path / "index")
    shutil.rmtree(folder)
    write_embeddings("emb", ids, vectors + np.float16(1))
    with pytest.raises(VerificationError, match="was built over other vectors"):
        flat.open_index(tmp_path / "index")


def test_flipped_byte_is_found(write_embeddings, vectors, ids, tmp_path) -> None:
    build(write_embeddings("emb", ids, vectors), tmp_path / "index")
    codes = tmp_path / "index" / "shard-00000-of-00001.codes.npy"
    flip(codes, 5000, dated=True)
    with pytest.raises(VerificationError, match="does not have the checksum"):
        flat.open_index(tmp_path / "index")


def test_same_bytes_again_and_up_to_date(write_embeddings, vectors, ids, tmp_path) -> None:
    folder = write_embeddings("emb", ids, vectors, shards=2)
    first = build(folder, tmp_path / "one")
    build(folder, tmp_path / "two")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert build(folder, tmp_path / "one").files == first.files


def test_a_signal_stops_between_blocks_and_the_same_command_finishes(
    write_embeddings, vectors, ids, tmp_path
) -> None:
    folder = write_embeddings("emb", ids, vectors)
    signals = Signals()
    signals.set(15)
    with pytest.raises(Interrupted):
        build(folder, tmp_path / "index", signals=signals)
    assert json.loads((tmp_path / "index" / "state.json").read_text())["state"] == "interrupted"
    assert not (tmp_path / "index" / "manifest.json").exists()
    build(folder, tmp_path / "index")
    assert not (tmp_path / "index" / "state.json").exists()


def test_queries_are_not_passages(write_embeddings, vectors, ids, tmp_path) -> None:
    folder = write_embeddings("queries", ids, vectors, side="query")
    with pytest.raises(VerificationError, match="holds vectors of queries, passages are wanted"):
        build(folder, tmp_path / "index")


def test_no_passages(write_embeddings, tmp_path) -> None:
    folder = write_embeddings("emb", [], np.empty((0, 4), np.float16), shards=2)
    build(folder, tmp_path / "index")
    index = flat.open_index(tmp_path / "index")
    assert search(index, np.ones((2, 4)), 0) == [([], []), ([], [])]


def test_flat_has_no_options(write_embeddings, ids, vectors, tmp_path) -> None:
    folder = write_embeddings("emb", ids, vectors)
    with pytest.raises(UsageError, match="--set m: building an index of type flat takes no settings"):
        plan_index("flat", Embeddings.open(folder), tmp_path / "index", {"m": 3}, progress=Silent())
    with pytest.raises(UsageError, match="--set ef_search: searching the embeddings .* takes no settings"):
        open_vector_index(folder, settings={"ef_search": 3})
    build(folder, tmp_path / "index")
    with pytest.raises(UsageError, match="--set ef_search: searching an index of type flat takes no"):
        open_vector_index(tmp_path / "index", settings={"ef_search": 3})


def test_kinds(write_embeddings, vectors, ids, tmp_path) -> None:
    folder = write_embeddings("emb", ids, vectors)
    build(folder, tmp_path / "index")
    assert kind_at(folder) == "flat"
    assert kind_at(tmp_path / "index") == "flat"
    with pytest.raises(UsageError, match="there is no index of type 'tree'; there are flat"):
        kind_named("tree")
    with pytest.raises(PreconditionError, match="is no folder"):
        kind_at(tmp_path / "nowhere")
    manifest = tmp_path / "index" / "manifest.json"
    assert set(KINDS) >= {"flat", "bm25"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(PreconditionError, match="holds no finished index"):
        kind_at(tmp_path / "empty")
    assert manifest.exists()
