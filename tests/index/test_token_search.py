"""Search by codes: exact mode is a plain loop bit for bit, and so is fast mode that looks at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dretrieve.index import token_scan, token_search
from dretrieve.index.base import Passages
from dretrieve.index.exact import ExactOptions
from dretrieve.index.token_codes import TokenCodes
from dretrieve.index.token_scan import search_tokens
from dretrieve.index.token_search import Counts, TokenSearch, fast_grid
from dretrieve.index.top_k import TopK
from dretrieve.kernels.residuals import lists_of
from dretrieve.runs.write import write_run
from dretrieve.scoring.token_scores import TOKEN_SCORES, token_score
from dretrieve.store.embeddings import Embeddings
from dretrieve.types import Run, Vectors, offsets_of

LEVELS = {8: np.arange(-128, 128), 4: np.arange(-120, 121, 16), 2: [-90, -30, 30, 90], 1: [-50, 50]}
K = 7


def codes_of(passages: Vectors, bits: int, count: int, chance: np.random.Generator) -> TokenCodes:
    """Return codes around random tokens, in plain numpy."""
    values, borders, levels = passages.values.astype(np.float32), passages.offsets, np.int8(LEVELS[bits])
    assert borders is not None
    means = values[chance.integers(0, len(values), count)]
    unit = np.float32(max(np.abs(means).max(), 1e-9) / 127)
    centroids = np.rint(means / unit).astype(np.float32) * unit
    codes = ((centroids**2).sum(axis=1) - 2 * values @ centroids.T).argmin(axis=1).astype(np.uint16)
    scale = float(np.abs(values - centroids[codes]).max() / 127) or 1.0
    found = np.abs((values - centroids[codes])[..., None] / scale - levels.astype(np.float32)).argmin(axis=-1)
    each = 8 // bits
    full = np.zeros((len(values), -(-values.shape[1] // each) * each), np.int64)
    full[:, : values.shape[1]] = found
    packed = (full.reshape(len(values), -1, each) << np.arange(0, 8, bits)).sum(axis=-1).astype(np.uint8)
    offsets, lists = lists_of(codes, borders, count)
    made = TokenCodes(
        centroids, codes, packed, levels, scale, np.zeros(1, np.float32), offsets, lists, borders, bits
    )
    off = np.linalg.norm(values.astype(np.float64) - made.reconstructed(0, len(values)), axis=1)
    errors = off
    if bits != 8:
        errors = np.zeros(count)
        np.maximum.at(errors, codes, off)
    upper = np.nextafter(errors.astype(np.float32), np.float32(np.inf))
    return TokenCodes(centroids, codes, packed, levels, scale, upper, offsets, lists, borders, bits)


def texts(chance: np.random.Generator, count: int, longest: int, dim: int, kind: str) -> Vectors:
    """Return ragged texts: whole numbers (ties), unit length, one vector many times, or neither."""
    lengths = chance.integers(0, longest + 1, count)
    lengths[0] = max(1, lengths[0])
    values = chance.standard_normal((lengths.sum(), dim))
    if kind == "ties":
        values = np.rint(values)
    elif kind == "unit":
        values /= np.linalg.norm(values, axis=1, keepdims=True)
    elif kind == "equal":
        values[:] = values[0]
    else:
        values *= np.exp(2 * chance.standard_normal((len(values), 1)))
    return Vectors(values.astype(np.float16), offsets_of(lengths))


class Held(Passages):
    """Passages in memory, in two shards."""

    def __init__(self, vectors: Vectors, chance: np.random.Generator) -> None:
        self._held, self._ranks = vectors, chance.permutation(len(vectors))
        self._starts = np.array([0, len(vectors) // 3, len(vectors)])

    ranks = property(lambda self: self._ranks)  # type: ignore[assignment]

    def lengths(self) -> np.ndarray:
        return self._held.lengths

    def gather(self, rows: np.ndarray) -> Vectors:
        return self._held.take(rows)

    def vectors(self, shard: int) -> Vectors:
        return self._held[int(self._starts[shard]) : int(self._starts[shard + 1])]


def hits(kept: TopK, passages: Passages) -> list[tuple[list[int], bytes]]:
    return [(rows.tolist(), scores.tobytes()) for rows, scores in kept.best_first(passages.ranks)]


def world(seed: int):
    chance = np.random.default_rng(seed)
    kind = ("ties", "unit", "equal", "ragged")[seed % 4]
    bits, dim = (8, 4, 2, 1)[seed // 4 % 4], (8, 12, 13, 30)[seed // 3 % 4]
    vectors = texts(chance, int(chance.integers(1, 80)), int(chance.integers(1, 12)), dim, kind)
    asked = texts(chance, 5, (3, 8, 16, 40, 70)[seed % 5], dim, kind)
    codes = codes_of(vectors, bits, 1 << int(chance.integers(0, 6)), chance)
    score = TOKEN_SCORES[("maxsim_sum", "maxsim_mean")[seed % 2]]
    return asked, TokenSearch(codes, Held(vectors, chance), score)


def expected(asked: Vectors, index: TokenSearch, rows: tuple[int, int]) -> TopK:
    passages = index.passages
    kept = TopK.empty(len(asked), K)
    return search_tokens(passages.block, index.score, asked, kept, passages.ranks, rows, ExactOptions())


def products(query: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return [n, m] products: eight lanes in turn, these in pairs, rounded once."""
    lanes = np.zeros((len(query), len(tokens), 8))
    for first in range(0, query.shape[1], 8):
        some = query[:, None, first : first + 8].astype(np.float32).astype(np.float64)
        lanes[:, :, : some.shape[2]] += some * tokens[None, :, first : first + 8].astype(np.float64)
    pairs = lanes[:, :, 0::2] + lanes[:, :, 1::2]
    halves = pairs[:, :, 0::2] + pairs[:, :, 1::2]
    return (halves[:, :, 0] + halves[:, :, 1]).astype(np.float32)


def looped(
    asked: Vectors, vectors: Vectors, ranks: np.ndarray, *, mean: bool, k: int = K
) -> list[tuple[list[int], bytes]]:
    """Return each query's best by a loop over queries and passages, in which nothing is left out."""
    found = []
    for q in range(len(asked)):
        query, scores = asked[q : q + 1].values, {}
        for row in range(len(vectors)):
            tokens = vectors[row : row + 1].values
            if len(query) and len(tokens):
                total = 0.0
                for best in products(query, tokens).max(axis=1).tolist():
                    total += best
                scores[row] = np.float32(total / len(query) if mean else total)
        rows = sorted(scores, key=lambda row: (-scores[row], -ranks[row]))[:k]
        found.append((rows, np.array([scores[row] for row in rows], np.float32).tobytes()))
    return found


def test_exact_mode_is_the_double_loop_in_200_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(200):
        if seed == 100:
            monkeypatch.setattr(token_scan, "PASSAGE_TOKENS", 16)
        asked, index = world(seed)
        rows, mean = index.passages.rows, bool(index.score.mean)
        plain = looped(asked, index.passages.gather(np.arange(rows)), index.passages.ranks, mean=mean)
        assert hits(expected(asked, index, (0, rows)), index.passages) == plain, seed
        kept = index.exact(asked, TopK.empty(len(asked), K), (0, rows), ExactOptions(threads=1 + seed % 2))
        assert hits(kept, index.passages) == plain, seed
        # in two parts, as shards are searched
        kept, cut = TopK.empty(len(asked), K), rows // 2
        for part in ((0, cut), (cut, rows)):
            index.exact(asked, kept, part, ExactOptions())
        assert hits(kept, index.passages) == plain, seed


@pytest.mark.parametrize("dim", [1, 128, 768])
def test_a_passage_of_10000_tokens_and_any_dimension(dim: int) -> None:
    chance = np.random.default_rng(dim)
    lengths = np.array([3, 10_000, 0, 1, 40])
    values = chance.standard_normal((lengths.sum(), dim)).astype(np.float16)
    vectors, asked = Vectors(values, offsets_of(lengths)), texts(chance, 3, 6, dim, "unit")
    index = TokenSearch(codes_of(vectors, 1, 8, chance), Held(vectors, chance), TOKEN_SCORES["maxsim_sum"])
    for k in (2, K):
        plain = looped(asked, vectors, index.passages.ranks, mean=False, k=k)
        kept = index.exact(asked, TopK.empty(len(asked), k), (0, len(vectors)), ExactOptions())
        assert hits(kept, index.passages) == plain
    assert hits(expected(asked, index, (0, len(vectors))), index.passages) == plain


@pytest.mark.realdata
@pytest.mark.slow
def test_runs_of_real_token_vectors_are_the_double_loop_byte_for_byte(data_dir, cli, tmp_path: Path) -> None:
    model, kept = tmp_path / "model", ["--layers", "0,3", "--pooling", "tokens"]
    cli("convert", "minilm", *kept, "--pca", data_dir / "cranfield", "--output", model)
    for name, count in {"adi": 35, "cranfield": 4, "nfcorpus": 2}.items():
        texts, k = data_dir / name, 10
        passages, asked, index = (tmp_path / f"{what}-{name}" for what in ("passages", "asked", "index"))
        cli("encode", "--model", model, "--corpus", texts, "--output", passages)
        cli("encode", "--model", model, "--queries", f"{texts}:test", "--output", asked)
        cli("index", "--embeddings", passages, "--type", "token", "--output", index)
        search = ["--query-embeddings", asked, "--set", "mode=exact", "--hits", k]
        cli("search", "--index", index, *search, "--output", tmp_path / "exact.trec", "--force")
        assert (index / "residuals.npy").exists(), "it is searched by bounds"

        stored, queries = Embeddings.open(passages), Embeddings.open(asked)
        ids, ranks = stored.ids(), np.empty(len(stored.ids()), np.int64)
        ranks[sorted(range(len(ids)), key=lambda row: ids[row].encode())] = np.arange(len(ids))
        found = looped(queries.all_vectors()[:count], stored.all_vectors(), ranks, mean=False, k=k)
        rows = np.array([row for hits, _ in found for row in hits], np.int32)
        scores = np.frombuffer(b"".join(scores for _, scores in found), np.float32)
        run = Run(queries.ids()[:count], ids, k * np.arange(count + 1), rows, scores)
        assert write_run(tmp_path / "plain.trec", run) == count * k
        lines = (tmp_path / "exact.trec").read_bytes().splitlines(keepends=True)
        assert b"".join(lines[: count * k]) == (tmp_path / "plain.trec").read_bytes()


ALIGNMENTS = ("top1", "top2", "top5", "p40", "p100", "da,k=1,eps=0.1", "da,k=3,eps=0.3")


def weighted(of: Vectors, chance: np.random.Generator) -> Vectors:
    return Vectors(of.values, of.offsets, chance.integers(0, 4, len(of.values)).astype(np.float16))


def aligned_world(seed: int, longest: int) -> tuple[Vectors, TokenSearch]:
    """Return queries and passages of up to so many tokens, every third time with saliences."""
    chance = np.random.default_rng(seed)
    kind, bits = ("ties", "unit", "ragged")[seed % 3], (8, 4, 8, 1)[seed // 3 % 4]
    vectors, asked = (texts(chance, count, most, 12, kind) for count, most in ((50, longest), (5, 19)))
    if seed % 3 == seed // 3 % 3:
        vectors, asked = weighted(vectors, chance), weighted(asked, chance)
    codes = replace(codes_of(vectors, bits, 16, chance), salience=vectors.weights)
    score = token_score("alignment", weighted=vectors.weights is not None, alignment="top1")
    return asked, TokenSearch(codes, Held(vectors, chance), score)


@pytest.mark.parametrize("longest", [9, 30])
def test_any_alignment_is_the_plain_search_where_all_is_looked_at(longest: int) -> None:
    for seed in range(18):
        asked, index = aligned_world(seed, longest)
        for word in ALIGNMENTS:
            by = index.by(token_score("alignment", weighted=index.codes.salience is not None, alignment=word))
            plain = hits(expected(asked, by, (0, 50)), by.passages)
            kept = by.sure(asked, TopK.empty(len(asked), K), (0, 50), ExactOptions())
            assert hits(kept, by.passages) == plain, (seed, word)
            for probes in (0, 100):
                for counts in (Counts(probes, 50, 50, 50, 3.0), Counts(probes, 50, 50, 49, 300.0)):
                    kept = by.fast(asked, TopK.empty(len(asked), K), counts, ExactOptions(threads=2))
                    assert hits(kept, by.passages) == plain, (seed, word, counts)


@pytest.mark.parametrize(("exactly", "looked"), [(0, 32), (3, 32), (0, 0)])
def test_a_grid_finds_what_each_of_its_alignments_finds_alone(monkeypatch, exactly: int, looked: int) -> None:
    """Of the few passages that are looked at, the query's tables being filled once."""
    monkeypatch.setattr(token_scan, "LOOKED", looked)
    filled, fill = [], token_search.fill_tables
    monkeypatch.setattr(token_search, "fill_tables", lambda *given: (filled.append(1), fill(*given)))
    options, missed = ExactOptions(threads=2), 0
    for seed in range(18):
        asked, index = aligned_world(seed, 30)
        weighted = index.codes.salience is not None
        each = [index.by(token_score("alignment", weighted=weighted, alignment=word)) for word in ALIGNMENTS]
        counts: list[Counts | None] = [Counts(0, 60, 30, 8 + number, 1.0) for number in range(len(each))]
        counts[:exactly] = [None] * exactly
        alone = [
            by.sure(asked, TopK.empty(len(asked), K), (0, 50), options)
            if of is None
            else by.fast(asked, TopK.empty(len(asked), K), of, options)
            for by, of in zip(each, counts, strict=True)
        ]
        filled.clear()
        kept = [TopK.empty(len(asked), K) for _ in each]
        fast_grid(list(zip(each, counts, strict=True)), asked, asked, kept, options)
        assert exactly or len(filled) == np.count_nonzero(np.diff(asked.offsets))
        for by, mine, theirs in zip(each, kept, alone, strict=True):
            assert hits(mine, by.passages) == hits(theirs, by.passages), (seed, by.score.alignment)
            missed += hits(mine, by.passages) != hits(expected(asked, by, (0, 50)), by.passages)
    assert missed > 18, "so that candidates matter"


def test_bounds_are_used_for_what_they_hold_for() -> None:
    _, index = aligned_world(1, 30)
    assert index.codes.salience is None
    for word, bounded in zip(ALIGNMENTS, (True, True, True, True, False, False, False), strict=True):
        assert index.by(token_score("alignment", weighted=False, alignment=word)).bounded == bounded
    salient = aligned_world(0, 9)[1]
    assert salient.codes.salience is not None
    assert not salient.bounded


@pytest.mark.parametrize("probes", [0, 100])
def test_fast_mode_that_looks_at_everything_is_exact(probes: int) -> None:
    for seed in range(40):
        asked, index = world(seed)
        plain = hits(expected(asked, index, (0, index.passages.rows)), index.passages)
        for counts in (Counts(probes, 100, 100, 100, 3.0), Counts(probes, 100, 100, 79, 300.0)):
            kept = index.fast(asked, TopK.empty(len(asked), K), counts, ExactOptions(threads=2))
            assert hits(kept, index.passages) == plain, (seed, counts)


def clustered(seed: int) -> tuple[Vectors, TokenSearch]:
    """Return 600 passages of unit tokens around 64 directions, and queries of noisy tokens of one passage."""
    chance = np.random.default_rng(seed)
    heart = chance.standard_normal((64, 32))
    lengths = chance.integers(5, 15, 600)
    values = heart[chance.integers(0, 64, lengths.sum())] + 0.4 * chance.standard_normal((lengths.sum(), 32))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    vectors = Vectors(values.astype(np.float16), offsets_of(lengths))
    asked = vectors.take(np.arange(0, 600, 30))
    noisy = asked.values + 0.1 * chance.standard_normal(asked.values.shape)
    index = TokenSearch(codes_of(vectors, 8, 64, chance), Held(vectors, chance), TOKEN_SCORES["maxsim_sum"])
    return Vectors(noisy.astype(np.float32), asked.offsets), index


def overlap(asked: Vectors, by: TokenSearch, counts: Counts) -> float:
    """Return the share of the exact hits that a fast search finds."""
    whole = (0, by.passages.rows)
    plain = [rows for rows, _ in hits(expected(asked, by, whole), by.passages)]
    kept = by.fast(asked, TopK.empty(len(asked), K), counts, ExactOptions())
    mine = [rows for rows, _ in hits(kept, by.passages)]
    return float(np.mean([len({*a} & {*b}) / K for a, b in zip(mine, plain, strict=True)]))


@pytest.mark.parametrize("word", ["top3", "p25", "da,k=1,eps=0.1"])
@pytest.mark.parametrize("probes", [0, 8])
def test_candidates_know_the_alignment(probes: int, word: str) -> None:
    asked, index = clustered(4)
    counts = Counts(probes, 400, 150, 40, 3.0)
    found = overlap(asked, index.by(token_score("alignment", weighted=False, alignment=word)), counts)
    assert found >= 0.95
    assert found >= overlap(asked, index, counts) - 0.04, "nearly as well as by the largest alone"


@pytest.mark.parametrize("probes", [0, 2])
@pytest.mark.parametrize("word", ["", "top3", "da,k=1,eps=0.1"])
def test_a_short_query_is_looked_for_more_widely(monkeypatch, word: str, probes: int) -> None:
    asked, by = clustered(4)
    short = Vectors(asked.values[np.add.outer(asked.offsets[:-1], range(2)).ravel()], np.arange(0, 41, 2))
    if word:
        by = by.by(token_score("alignment", weighted=False, alignment=word))
    counts = Counts(probes, 36, 12, 11, 3.0)
    found = overlap(short, by, counts)
    monkeypatch.setattr(token_search, "USUAL_TOKENS", 0)
    assert found > 0.95
    assert overlap(short, by, counts) < 0.6


def test_one_long_passage_does_not_narrow_the_look_for_all() -> None:
    score = token_score("alignment", weighted=False, alignment="p15")
    lengths, chance = np.array([5] * 20 + [300]), np.random.default_rng(0)
    vectors = Vectors(chance.standard_normal((lengths.sum(), 8)).astype(np.float16), offsets_of(lengths))
    by = TokenSearch(codes_of(vectors, 8, 16, chance), Held(vectors, chance), score)
    assert (by.matches.most, by.aligned) == (45, 1)


def test_more_alignments_and_more_tokens_need_no_wider_look() -> None:
    counts = Counts(32, 225, 75, 20, 2.0)
    assert token_search.for_tokens(counts, 24, 1) == token_search.for_tokens(counts, 12, 8) == counts
    assert token_search.for_tokens(counts, 6, 1) == Counts(256, 1800, 600, 40, 2.0)
    assert token_search.for_tokens(counts, 6, 4) == Counts(128, 900, 300, 32, 2.0)


@pytest.mark.parametrize("probes", [0, 8])
def test_fast_mode_finds_nearly_all_of_the_best_and_scores_them_canonically(probes: int) -> None:
    asked, index = clustered(0)
    plain = hits(expected(asked, index, (0, 600)), index.passages)
    kept = index.fast(asked, TopK.empty(len(asked), K), Counts(probes, 400, 250, 60, 3.0), ExactOptions())
    scores = dict[tuple[int, int], float]()
    every = TopK.empty(len(asked), 600)
    search_tokens(
        index.passages.block, index.score, asked, every, index.passages.ranks, (0, 600), ExactOptions()
    )
    for q, (rows, values) in enumerate(every.best_first(index.passages.ranks)):
        scores |= {(q, row): value for row, value in zip(rows.tolist(), values.tolist(), strict=True)}
    common = 0
    for q, (rows, values) in enumerate(kept.best_first(index.passages.ranks)):
        assert values.tolist() == [scores[q, row] for row in rows.tolist()]
        common += len(set(rows.tolist()) & set(plain[q][0]))
    assert common >= 0.95 * K * len(asked)


def test_numbers_that_float32_cannot_tell_apart_are_searched_plainly() -> None:
    asked, index = clustered(1)
    assert index.fits(asked)
    for factor in (1e32, 1e-20):
        assert not index.fits(Vectors(asked.values * np.float32(factor), asked.offsets))


def test_embeddings_of_several_shards(write_embeddings, tmp_path: Path) -> None:
    asked, index = clustered(2)
    vectors = index.passages.block(0, 200)
    folder = write_embeddings("emb", [f"p{row}" for row in range(200)], vectors, shards=1, score="maxsim_sum")
    passages = Passages(Embeddings.open(folder), many=True, without=np.array([3, 77, 78]))
    kept_rows = np.setdiff1d(np.arange(200), [3, 77, 78])
    codes = codes_of(vectors.take(kept_rows), 4, 16, np.random.default_rng(3))
    search = TokenSearch(codes, passages, index.score)
    plain = hits(expected(asked, search, (0, 197)), passages)
    assert hits(search.exact(asked, TopK.empty(len(asked), K), (0, 197), ExactOptions()), passages) == plain
    every = Counts(0, 197, 197, 197, 3.0)
    assert hits(search.fast(asked, TopK.empty(len(asked), K), every, ExactOptions()), passages) == plain


def test_a_few_queries_are_widened_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, index = clustered(3)
    tokens, pack = [], token_search.pack_queries
    monkeypatch.setattr(token_search, "QUERIES_AT_ONCE", 3)
    monkeypatch.setattr(token_search, "pack_queries", lambda of: tokens.append(len(of)) or pack(of))
    for find in (
        lambda kept: index.fast(asked, kept, Counts(0, 60, 60, 30, 3.0), ExactOptions()),
        lambda kept: index.exact(asked, kept, (0, 600), ExactOptions()),
    ):
        find(TopK.empty(len(asked), K))
        assert sum(tokens) == len(asked.values)
        assert max(tokens) <= 3 * asked.lengths.max()
        tokens.clear()
