"""A token index that stands alone: searched without its embeddings, as the reconstruction would be."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import UsageError, VerificationError
from dretrieve.index.registry import open_vector_index
from dretrieve.index.token_codes import open_codes
from dretrieve.jobs import index as index_job
from dretrieve.jobs import merge, search, validate
from dretrieve.types import Vectors, offsets_of
from tests.common import bytes_of

DIM, ROWS = 5, 2200
IDS = [f"p{row}" for row in range(ROWS)]


def texts(count: int, longest: int, seed: int) -> Vectors:
    chance = np.random.default_rng(seed)
    lengths = chance.integers(0, longest + 1, count)
    return Vectors(chance.standard_normal((lengths.sum(), DIM)).astype(np.float16), offsets_of(lengths))


@pytest.fixture
def work(write_embeddings, tmp_path: Path) -> Path:
    write_embeddings("emb", IDS, texts(ROWS, 4, 0), score="maxsim_mean")
    queries = [f"q{row}" for row in range(15)]
    write_embeddings("queries", queries, texts(15, 3, 1), side="query", score="maxsim_mean")
    return tmp_path


def indexed(work: Path, output: str, **options) -> Path:
    given = {"settings": {"alone": True, "bits": 4}, "embeddings": work / "emb", **options}
    index_job.run(index_job.IndexConfig(type="token", output=work / output, **given))
    return work / output


def searched(work: Path, index: str, output: str, **options) -> bytes:
    given = {"hits": 20, "settings": {"mode": "exact"}, "query_embeddings": work / "queries", **options}
    search.run(search.SearchConfig(index=work / index, output=work / output, **given))
    return (work / output).read_bytes()


def test_hits_are_those_of_the_reconstruction_when_the_embeddings_are_gone(work, write_embeddings) -> None:
    parts = [indexed(work, f"part{part}", shard=(part, 2)) for part in range(2)]
    codes = open_codes(indexed(work, "index"))
    exact = searched(work, "emb", "exact.trec", shard=(0, 2))
    values = codes.reconstructed(0, len(codes.codes))
    write_embeddings("stored", IDS, Vectors(values, codes.borders), dtype="float32", score="maxsim_mean")
    merge.run(merge.MergeConfig(partials=tuple(parts), output=work / "merged"))
    assert bytes_of(work / "index") == bytes_of(work / "merged")
    shutil.rmtree(work / "emb")
    whole = searched(work, "index", "run.trec")
    checked = validate.run(validate.ValidateConfig(paths=(str(work / "index"), str(work / "run.trec"))))
    assert "was searched with" in checked.render()
    assert "everything fits" in checked.render()
    assert whole == searched(work, "stored", "stored.trec")
    scored = {tuple(line.split()[:3]): line.split()[4] for line in whole.decode().splitlines()}
    fast = [line.split() for line in searched(work, "index", "fast.trec", settings={}).decode().splitlines()]
    assert all(scored.get((*line[:3],), line[4]) == line[4] for line in fast)
    assert sum((*line[:3],) in scored for line in fast) >= 0.9 * len(scored)
    assert searched(work, "index", "part0.trec", shard=(0, 2)) != exact
    searched(work, "index", "part1.trec", shard=(1, 2))
    runs = [work / "part0.trec", work / "part1.trec"]
    merge.run(merge.MergeConfig(partials=tuple(runs), output=work / "joined.trec"))
    assert (work / "joined.trec").read_bytes() == whole
    with pytest.raises(VerificationError, match="parts of different searches"):
        merge.run(merge.MergeConfig(partials=(work / "exact.trec", runs[1]), output=work / "mixed.trec"))


def test_what_does_not_fit_is_refused(work: Path, write_embeddings) -> None:
    indexed(work, "index")
    with pytest.raises(UsageError, match="stands alone, without the embeddings that a change needs"):
        indexed(work, "index", settings={"add": str(work / "emb")})
    vectors = texts(ROWS, 4, 0)
    weighted = Vectors(vectors.values, vectors.offsets, np.ones(len(vectors.values), np.float16))
    folder = write_embeddings("weighted", IDS, weighted, score="alignment")
    with pytest.raises(UsageError, match="have a salience, which stays with the embeddings"):
        indexed(work, "other", embeddings=folder)
    few = write_embeddings("few", IDS[:9], vectors[:9], score="maxsim_sum")
    with pytest.raises(UsageError, match="are searched without codes"):
        indexed(work, "other", embeddings=few)


def test_vectors_of_length_1_are_reconstructed_so_below_8_bits(write_embeddings, tmp_path: Path) -> None:
    given, asked = (texts(count, 4, seed) for count, seed in ((ROWS, 0), (15, 1)))
    values, queries = (of.values / np.linalg.norm(of.values.astype(float), axis=1, keepdims=True)
                       for of in (given, asked))  # fmt: skip
    stored = Vectors(values.astype(np.float16), given.offsets)
    write_embeddings("emb", IDS, stored, score="maxsim_mean")
    names, own = [f"q{row}" for row in range(15)], Vectors(queries.astype(np.float16), asked.offsets)
    write_embeddings("queries", names, own, side="query", score="maxsim_mean")
    off = {}
    for bits in (2, 8):
        index = indexed(tmp_path, f"index{bits}", settings={"alone": True, "bits": bits})
        codes = open_codes(index)
        plain = codes.reconstructed(0, len(codes.codes)).astype(np.float64)
        again = plain / np.linalg.norm(plain, axis=1, keepdims=True) if bits < 8 else plain
        name = f"stored{bits}"
        vectors = Vectors(again.astype(np.float32), codes.borders)
        write_embeddings(name, IDS, vectors, dtype="float32", score="maxsim_mean")
        assert searched(tmp_path, index.name, f"{bits}.trec") == searched(tmp_path, name, f"{name}.trec")
        passages = open_vector_index(index).passages
        alone = [passages.gather(np.array([row])).values for row in range(99)]
        assert np.array_equal(np.concatenate(alone), passages.block(0, 99).values), (
            "of any block the same bits"
        )
        # a vector's product with itself is 1
        off[bits] = [np.abs(np.einsum("td,td->t", values, of) - 1).mean() for of in (plain, again)]
    assert off[2][1] < 0.5 * off[2][0]
