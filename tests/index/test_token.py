"""The token index: exact whatever the blocks, shards and threads; refuses what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import DataError, UsageError, VerificationError
from dretrieve.index import token, token_scan
from dretrieve.index.exact import ExactOptions
from dretrieve.index.registry import kind_at, open_vector_index
from dretrieve.index.top_k import TopK
from dretrieve.jobs import index as index_job
from dretrieve.jobs import merge, search
from dretrieve.order import id_ranks, top_k
from dretrieve.scoring.alignment import aligned_pairs, parse_alignment
from dretrieve.scoring.token_scores import TOKEN_SCORES
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import read_manifest
from dretrieve.types import Vectors, offsets_of
from tests import common
from tests.common import Told

ROWS, DIM, QUERIES = 5000, 12, 40
IDS = [f"p{row * 7919 % ROWS}" for row in range(ROWS)]
QUERY_IDS = [f"q{row}" for row in range(QUERIES)]


def texts(count: int, longest: int, seed: int) -> Vectors:
    """Return texts of 0 to ``longest`` tokens; whole numbers, so that many scores are equal."""
    chance = np.random.default_rng(seed)
    lengths = chance.integers(0, longest + 1, count)
    values = np.rint(chance.standard_normal((lengths.sum(), DIM)))
    values[:, 0] += 1 - np.abs(values).any(axis=1)
    return Vectors(values.astype(np.float16), offsets_of(lengths))


PASSAGES, ASKED = texts(ROWS, 5, 0), texts(QUERIES, 4, 1)


@pytest.fixture
def work(write_embeddings, tmp_path: Path) -> Path:
    write_embeddings("emb", IDS, PASSAGES, score="maxsim_sum")
    write_embeddings("queries", QUERY_IDS, ASKED, side="query", score="maxsim_sum")
    return tmp_path


def by_hand(passages: Vectors, asked: Vectors, ids: list[str], k: int) -> list[list[tuple[str, float]]]:
    """Return each query's best by float64 over all passages; exact here, the numbers being whole."""
    offsets, ranks, found = passages.offsets, id_ranks(ids), []
    assert offsets is not None
    present = np.flatnonzero(np.diff(offsets))
    for query in range(len(asked)):
        tokens = asked[query : query + 1].values.astype(np.float64)
        dots = np.maximum.reduceat(tokens @ passages.values.T.astype(np.float64), offsets[present], axis=1)
        scores = dots.sum(axis=0)
        best = present[top_k(scores, ranks[present], k)] if len(tokens) else []
        total = dict(zip(present.tolist(), scores.tolist(), strict=True))
        found.append([(ids[row], total[row]) for row in best])
    return found


def searched(index: token.TokenIndex, asked: Vectors, k: int, **options) -> list[list[tuple[str, float]]]:
    kept = TopK.empty(len(asked), k)
    index.search(asked, kept, (0, index.passages.rows), ExactOptions(**options))
    found = []
    for rows, scores in kept.best_first(index.passages.ranks):
        found.append([(IDS[row], score) for row, score in zip(rows, scores.tolist(), strict=True)])
    return found


@pytest.mark.parametrize("shards", [1, 16])
def test_hits_are_those_by_hand_whatever_the_shards_blocks_and_threads(
    write_embeddings, monkeypatch, shards: int
) -> None:
    folder = write_embeddings("emb", IDS, PASSAGES, shards=shards, score="maxsim_sum")
    expected = by_hand(PASSAGES, ASKED, IDS, 30)
    assert [] in expected, "a query without vectors finds nothing"
    index = token.over_embeddings(Embeddings.open(folder))
    assert searched(index, ASKED, 30) == expected
    monkeypatch.setattr(token_scan, "PASSAGE_TOKENS", 1 << 9)
    monkeypatch.setattr(token_scan, "QUERY_TOKENS", 7)
    assert searched(index, ASKED, 30, threads=3) == expected
    monkeypatch.setattr(token_scan, "PASSAGE_TOKENS", 1)
    assert searched(index, ASKED[:3], 5) == [hits[:5] for hits in expected[:3]]


def run_of(work: Path, output: str, **options) -> list[list[tuple[str, float]]]:
    return common.searched(common.searching(work, output, **{"hits": 25} | options))


def test_an_index_its_embeddings_and_merged_shards_give_the_same_run(work: Path) -> None:
    index_job.run(index_job.IndexConfig(type="token", embeddings=work / "emb", output=work / "index"))
    assert kind_at(work / "index") == kind_at(work / "emb") == "token"
    expected = by_hand(PASSAGES, ASKED, IDS, 25)
    found = run_of(work, "run.trec", settings={"mode": "exact"})
    assert found == [hits for hits in expected if hits]
    run_of(work, "bare.trec", index=work / "emb")
    for part in range(3):
        run_of(work, f"part{part}.trec", shard=(part, 3), settings={"mode": "exact"})
    parts = [work / f"part{part}.trec" for part in range(3)]
    merge.run(merge.MergeConfig(partials=parts, output=work / "merged.trec"))
    whole = (work / "run.trec").read_bytes()
    assert (work / "bare.trec").read_bytes() == whole
    assert (work / "merged.trec").read_bytes() == whole


@pytest.mark.parametrize("name", sorted(TOKEN_SCORES))
def test_texts_of_one_token_give_the_run_of_a_flat_index(write_embeddings, tmp_path: Path, name) -> None:
    chance = np.random.default_rng(4)
    passages, asked = chance.standard_normal((300, DIM)), chance.standard_normal((9, DIM))
    ids = IDS[:300]
    for kind, score in (("flat", "dot"), ("token", name)):
        for side, names, values in (("passage", ids, passages), ("query", QUERY_IDS[:9], asked)):
            offsets = np.arange(len(values) + 1) if kind == "token" else None
            vectors = Vectors(values, offsets)
            write_embeddings(f"{kind} {side}", names, vectors, side=side, score=score, dtype="float32")
        run_of(
            tmp_path,
            f"{kind}.trec",
            index=tmp_path / f"{kind} passage",
            query_embeddings=tmp_path / f"{kind} query",
        )
    assert (tmp_path / "token.trec").read_bytes() == (tmp_path / "flat.trec").read_bytes()


@pytest.mark.parametrize("weighted", [False, True])
def test_one_index_is_searched_by_any_alignment(write_embeddings, tmp_path: Path, weighted: bool) -> None:
    """The k best are those of the scores of all passages; the embeddings' own alignment is the default."""
    chance = np.random.default_rng(8)
    texts = []
    for of in (PASSAGES[:400], ASKED):
        weights = chance.integers(0, 3, len(of.values)).astype(np.float16) if weighted else None
        texts.append(Vectors(of.values, of.offsets, weights))
    passages, asked = texts
    extra = {"inference": {"alignment": "top2"}}
    write_embeddings("emb", IDS[:400], passages, score="alignment", extra=extra)
    write_embeddings("queries", QUERY_IDS, asked, side="query", score="alignment")
    index_job.run(index_job.IndexConfig(type="token", embeddings=tmp_path / "emb", output=tmp_path / "index"))
    lengths, present = np.diff(asked.offsets), np.flatnonzero(np.diff(passages.offsets))
    ranks, fingerprints = id_ranks(IDS[:400]), set()
    for word in ("top1", "top2", "p50", "da,k=2,eps=0.5"):
        expected, some = [], passages.take(present)
        every = np.arange(len(present), dtype=np.int32)
        for query in np.flatnonzero(lengths):
            alignment = parse_alignment(word)
            of = aligned_pairs(
                some, asked[query : query + 1], np.array([0, len(every)]), every, alignment=alignment
            )
            best = top_k(of, ranks[present], 25)
            expected.append([(IDS[present[row]], of[row]) for row in best])
        assert run_of(tmp_path, f"{word}.trec", settings={"alignment": word}) == expected
        bare = run_of(tmp_path, f"bare {word}.trec", index=tmp_path / "emb", settings={"alignment": word})
        assert bare == expected
        fingerprints.add(read_manifest(tmp_path / f"{word}.trec.manifest.json").fingerprint)
    assert len(fingerprints) == 4
    run_of(tmp_path, "default.trec")
    assert (tmp_path / "default.trec").read_bytes() == (tmp_path / "top2.trec").read_bytes()
    assert read_manifest(tmp_path / "default.trec.manifest.json").fingerprint in fingerprints


def test_an_alignment_that_changes_little_is_told(write_embeddings, tmp_path: Path) -> None:
    write_embeddings("emb", IDS[:400], PASSAGES[:400], score="alignment")
    write_embeddings("queries", QUERY_IDS, ASKED, side="query", score="alignment")
    present = np.diff(PASSAGES[:400].offsets)
    share = f"{np.mean(present[present > 0] < 4):.0%} of the passages have fewer than 4 tokens"
    for word, told in (("top4", share), ("p3", "alignment p3 is top1 here"), ("top2", "")):
        heard = Told()
        config = search.SearchConfig(
            index=tmp_path / "emb",
            query_embeddings=tmp_path / "queries",
            output=tmp_path / f"{word}.trec",
            settings={"alignment": word},
        )
        search.run(config, heard)
        assert told in "".join(heard.lines)
        assert any("no tokens" not in line for line in heard.lines) == bool(told)


def test_what_does_not_fit_is_refused(work: Path, write_embeddings) -> None:
    one = write_embeddings("one", IDS, np.ones((ROWS, DIM)))
    for kind, folder, other in (("token", one, "flat"), ("flat", work / "emb", "token")):
        config = index_job.IndexConfig(type=kind, embeddings=folder, output=work / "index")
        with pytest.raises(VerificationError, match=f"index it with --type {other}"):
            index_job.run(config)
    config = index_job.IndexConfig(
        type="token", embeddings=work / "emb", output=work / "index", settings={"m": 3}
    )
    with pytest.raises(UsageError, match="building an index of type token takes bits"):
        index_job.run(config)
    with pytest.raises(VerificationError, match="hold one vector per token, the passages .* per passage"):
        run_of(work, "run.trec", index=one)
    write_embeddings("later", IDS, PASSAGES, score="bm25")
    with pytest.raises(VerificationError, match="cannot be compared by the score 'bm25'"):
        open_vector_index(work / "later")
    with pytest.raises(UsageError, match="compared by maxsim_sum, which aligns tokens in one way only"):
        run_of(work, "run.trec", index=work / "emb", settings={"alignment": "top2"})
    aligned = write_embeddings("aligned", IDS, PASSAGES, score="alignment")
    with pytest.raises(UsageError, match="alignment 'first' is none; expected top1"):
        open_vector_index(aligned, settings={"alignment": "first"})


def test_scores_beyond_float32_are_refused(write_embeddings) -> None:
    huge = Vectors(np.full((2, DIM), 1e30, np.float32), np.array([0, 2]))
    index = token.over_embeddings(
        Embeddings.open(write_embeddings("emb", ["a"], huge, dtype="float32", score="maxsim_sum"))
    )
    with pytest.raises(DataError, match="too large for float32"):
        searched(index, Vectors(huge.values, huge.offsets), 1)
