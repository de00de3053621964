"""A token index's codes: the same bytes however they are made; what does not fit is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import Interrupted, PreconditionError, UsageError, VerificationError
from dretrieve.index import token_build, token_clusters
from dretrieve.index.registry import build_index, open_vector_index, plan_index
from dretrieve.index.token_codes import TokenCodes, open_codes
from dretrieve.jobs import index as index_job
from dretrieve.jobs import merge
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.types import Silent, Vectors, offsets_of
from tests.common import bytes_of

ROWS, DIM = 3000, 10
IDS = [f"p{row * 7919 % ROWS}" for row in range(ROWS)]


def texts(seed: int = 0) -> Vectors:
    """Return texts of 0 to 3 tokens around 60 middles, not normalised."""
    chance = np.random.default_rng(seed)
    lengths = chance.integers(0, 4, ROWS)
    middles = chance.standard_normal((60, DIM))
    values = middles[chance.integers(0, 60, lengths.sum())] + 0.3 * chance.standard_normal(
        (lengths.sum(), DIM)
    )
    return Vectors((3 * values).astype(np.float16), offsets_of(lengths))


PASSAGES = texts()


@pytest.fixture
def embeddings(write_embeddings) -> Path:
    folder: Path = write_embeddings("emb", IDS, PASSAGES, score="maxsim_sum")
    return folder


@pytest.fixture
def build(embeddings: Path, tmp_path: Path) -> Callable[..., Path]:
    def made(name: str, **options) -> Path:
        given = {"type": "token", "embeddings": embeddings, "output": tmp_path / name, **options}
        index_job.run(index_job.IndexConfig(**given))
        return tmp_path / name

    return made


def reconstructed(codes: TokenCodes) -> np.ndarray:
    bits = np.unpackbits(codes.residuals, axis=1, bitorder="little")[:, : DIM * codes.bits]
    numbers = bits.reshape(-1, DIM, codes.bits) @ (1 << np.arange(codes.bits))
    steps = codes.levels.astype(np.float32) * np.float32(codes.scale)
    return codes.centroids[codes.codes] + steps[numbers]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_reconstruction_is_as_near_as_its_error_says(build, bits: int) -> None:
    folder = build("index", settings={"bits": bits})
    codes: TokenCodes = open_codes(folder)
    values, borders = PASSAGES.values.astype(np.float64), PASSAGES.offsets
    assert borders is not None
    tokens = len(values)
    off = np.linalg.norm(values - reconstructed(codes), axis=1)
    assert codes.errors.shape == ((tokens,) if bits == 8 else (len(codes.centroids),))
    errors = codes.errors if bits == 8 else codes.errors[codes.codes]
    assert (off <= errors).all()
    assert off.mean() < (3.0, 1.6, 0.5, 0.05)[(1, 2, 4, 8).index(bits)]
    assert codes.residuals.shape == (tokens, -(-DIM * bits // 8))
    assert np.array_equal(codes.borders, borders)
    assert len(codes.centroids) == (256 if bits > 2 else 64)
    assert (folder / "lists.npy").exists() == (bits == 8)
    for centroid in (0, 10, 31):
        listed = codes.lists[codes.list_offsets[centroid] : codes.list_offsets[centroid + 1]]
        owners = np.flatnonzero(codes.codes == centroid)
        assert listed.tolist() == sorted(set(np.searchsorted(borders, owners, side="right") - 1))
    far = np.linalg.norm(values[:, None] - codes.centroids, axis=2).argmin(axis=1)
    assert (far == codes.codes).mean() > 0.9, "almost always the nearest of all centroids"


def test_the_bytes_do_not_depend_on_shards_threads_parts_or_interruptions(
    build, write_embeddings, monkeypatch, tmp_path
) -> None:
    whole = bytes_of(build("index"))
    assert PASSAGES.offsets is not None
    empty = int((np.diff(PASSAGES.offsets) == 0).sum())
    assert json.loads(whole["manifest.json"])["counts"]["without_tokens"] == empty > 0
    monkeypatch.setattr(token_build, "CHUNK_TOKENS", 500)
    write_embeddings("emb3", IDS, PASSAGES, score="maxsim_sum", shards=3)
    for name, options in {"threads": {"threads": 3}, "chunks": {}}.items():
        assert bytes_of(build(name, **options)) == whole
    other = bytes_of(build("shards", embeddings=tmp_path / "emb3"))
    assert {name: data for name, data in other.items() if name != "manifest.json"} == {
        name: data for name, data in whole.items() if name != "manifest.json"
    }

    centroids = build("centroids", settings={"only": "centroids"})
    parts = [
        build(f"part{part}", shard=(part, 7), settings={"centroids": str(centroids)} if part else {})
        for part in range(7)  # of three chunks, so that some are empty
    ]
    merge.run(merge.MergeConfig(partials=parts[::-1], output=tmp_path / "merged"))
    assert bytes_of(tmp_path / "merged") == whole

    class Stopping(Signals):
        looks = 0

        def check(self) -> None:
            self.looks += 1
            if self.looks == 7:
                raise Interrupted("stop")

    planned = plan_index(
        "token", Embeddings.open(tmp_path / "emb"), tmp_path / "again", {}, progress=Silent()
    )
    with pytest.raises(Interrupted):
        build_index(*planned, progress=Silent(), signals=Stopping())
    grown = tmp_path / "again" / token_build.PARTIAL / "journal.jsonl"
    assert 0 < len(grown.read_bytes().splitlines()) < 9
    assert bytes_of(build("again")) == whole


def test_an_index_in_the_place_of_another_has_nothing_of_it(build, write_embeddings, monkeypatch, tmp_path):
    salience = np.linspace(0, 1, len(PASSAGES.values), dtype=np.float16)
    salient = write_embeddings("salient", IDS, replace(PASSAGES, weights=salience), score="alignment")
    wanted = bytes_of(build("fresh", settings={"bits": 2}))
    build("index", embeddings=salient)
    assert {"salience.npy", "lists.npy"} <= bytes_of(tmp_path / "index").keys() - wanted.keys()
    assert bytes_of(build("index", settings={"bits": 2}, force=True)) == wanted
    (tmp_path / "index" / "manifest.json").write_text("{}")
    assert bytes_of(build("index", settings={"bits": 2}, force=True)) == wanted
    # its own centroids are read before it is replaced
    own = {"centroids": str(tmp_path / "index")}
    assert bytes_of(build("index", settings=own, force=True)) == wanted
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    build("index", embeddings=salient)
    (tmp_path / "index" / "manifest.json").unlink()  # as a kill leaves it amid being replaced
    build("index", settings={"bits": 2})
    assert open_codes(tmp_path / "index").salience is None


def test_a_changed_byte_is_found(build) -> None:
    folder = build("index")
    for name in ("codes.npy", "residuals.npy", "centroids.npy", "lists.npy"):
        data = bytearray((folder / name).read_bytes())
        data[-5] ^= 4
        (folder / name).write_bytes(data)
        with pytest.raises(VerificationError, match=name):
            open_vector_index(folder)
        data[-5] ^= 4
        (folder / name).write_bytes(data)
    open_vector_index(folder)


def test_what_does_not_fit_is_refused(build, write_embeddings, tmp_path) -> None:
    build("whole")
    centroids = build("centroids", settings={"only": "centroids", "bits": 4})
    with pytest.raises(PreconditionError, match="centroids alone; build an index with them"):
        open_vector_index(centroids)
    parts = [build(f"part{part}", shard=(part, 2), settings={"bits": 4}) for part in range(2)]
    with pytest.raises(PreconditionError, match=r"a part of an index; join all parts first"):
        open_vector_index(parts[0])

    def merged(*folders: Path) -> None:
        merge.run(merge.MergeConfig(partials=folders, output=tmp_path / "merged"))

    with pytest.raises(PreconditionError, match="lacks 1 of 2 shards; run --shard 1/2"):
        merged(parts[0])
    with pytest.raises(VerificationError, match="whole is a whole index, not a part"):
        merged(tmp_path / "whole", parts[0])
    with pytest.raises(UsageError, match="is no folder, and others are"):
        merged(parts[0], tmp_path / "run.trec")
    others = write_embeddings("others", IDS, texts(1), score="maxsim_sum")
    foreign = build("foreign", embeddings=others, settings={"only": "centroids", "bits": 4})
    strange = build("strange", shard=(1, 2), settings={"centroids": str(foreign)})
    with pytest.raises(VerificationError, match=r"parts of different indexes \(centroids"):
        merged(parts[0], strange)
    for settings, error, words in (
        ({"bits": 3}, UsageError, r"bits=3: expected 1 or 2 or 4 or 8"),
        ({"only": "codes"}, UsageError, "only=codes"),
        ({"only": "centroids", "centroids": str(centroids)}, UsageError, "leave one out"),
        *(
            ({"only": "centroids"} | later, UsageError, "only=centroids takes bits, keep and keep_by alone")
            for later in ({"target": 0.9}, {"queries": str(tmp_path)}, {"alone": True}, {"fast": False})
        ),
        ({"bits": 2, "centroids": str(centroids)}, UsageError, "were made for 4 bits"),
        ({"centroids": str(tmp_path / "none")}, PreconditionError, "does not exist"),
    ):
        with pytest.raises(error, match=words):
            build("index", settings=settings)
    for name, options in {"model": {"model": "other"}, "dim": {}}.items():
        vectors = texts()
        if name == "dim":
            vectors = Vectors(vectors.values[:, 1:], vectors.offsets)
        folder = write_embeddings(name, IDS, vectors, score="maxsim_sum", **options)
        with pytest.raises(VerificationError, match="has centroids of 10 dimensions by the model"):
            build("index", embeddings=folder, settings={"centroids": str(centroids)})
    with pytest.raises(UsageError, match="what all parts have in common; leave --shard away"):
        build("index", shard=(0, 2), settings={"only": "centroids"})
    few = write_embeddings("few", IDS[:900], PASSAGES[:900], score="maxsim_sum")
    with pytest.raises(UsageError, match="1,419 token vectors to index, which are searched without codes"):
        build("index", embeddings=few, settings={"only": "centroids"})
    assert sorted(bytes_of(build("small", embeddings=few))) == ["id_rank.npy", "manifest.json"]
    flat = write_embeddings("flat", ["a"], np.ones((1, DIM)))
    with pytest.raises(UsageError, match="type flat is built whole"):
        build("index", embeddings=flat, type="flat", shard=(0, 2))


def test_parts_with_different_centroids_are_refused(build, monkeypatch, tmp_path) -> None:
    parts = [build("part0", shard=(0, 2))]
    monkeypatch.setattr(token_clusters, "CENTROID_TURNS", 1)
    parts += [build("part1", shard=(1, 2))]
    with pytest.raises(VerificationError, match="part0 and .*part1 were made with different centroids"):
        merge.run(merge.MergeConfig(partials=parts, output=tmp_path / "merged"))
