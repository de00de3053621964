"""Pruning: searches with it are those by hand; an index of kept tokens is one like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import DataError, UsageError, VerificationError
from dretrieve.index.base import Passages
from dretrieve.index.token_codes import open_codes
from dretrieve.index.token_prune import Keep, Pruned, drawn, pruned
from dretrieve.jobs import index as index_job
from dretrieve.jobs import merge
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import read_manifest
from dretrieve.types import Vectors, offsets_of
from tests.common import bytes_of, indexing, searched, searching

ROWS, QUERIES, DIM = 250, 12, 12
IDS = [f"p{row * 7919 % 1300}" for row in range(1300)]
QUERY_IDS = [f"q{row}" for row in range(QUERIES)]
Hits = list[list[tuple[str, float]]]


def texts(count: int, longest: int, seed: int, *, least: int = 0) -> Vectors:
    """Return texts of whole numbers, with saliences of which many are equal and some 0."""
    chance = np.random.default_rng(seed)
    lengths = chance.integers(least, longest + 1, count)
    values = np.rint(chance.standard_normal((lengths.sum(), DIM)))
    values[:, 0] += 1 - np.abs(values).any(axis=1)
    weights = chance.integers(0, 4, lengths.sum())
    return Vectors(values.astype(np.float16), offsets_of(lengths), weights.astype(np.float16))


def each(of: Vectors) -> list[tuple[np.ndarray, list[float]]]:
    assert of.offsets is not None
    assert of.weights is not None
    spans = zip(of.offsets[:-1], of.offsets[1:], strict=True)
    return [(of.values[a:b].astype(np.float64), of.weights[a:b].tolist()) for a, b in spans]


def most_salient(weights: list[float], share: str | None) -> list[int]:
    if share is None:
        return list(range(len(weights)))
    count = max(1, int(Fraction(share) * len(weights)))
    return sorted(sorted(range(len(weights)), key=lambda at: (-weights[at], at))[:count])


def by_hand(
    passages: Vectors,
    asked: Vectors,
    word: str,
    k: int,
    keep: str | None = None,
    ask: str | None = None,
    wanted: list[float] | None = None,
) -> Hits:
    """Return the best by equations 1 and 2 over kept and asked tokens; those wanted most are kept."""
    found = []
    assert passages.offsets is not None
    for vectors, weights in each(asked):
        scores = {}
        for row, (others, own) in enumerate(each(passages)):
            numbers = own if wanted is None else wanted[passages.offsets[row] : passages.offsets[row + 1]]
            kept, top, total = most_salient(numbers, keep) if own else [], 0.0, 0.0
            count = int(word[3:]) if word[0] == "t" else max(1, int(Fraction(word[1:]) * len(own) / 100))
            for token in most_salient(weights, ask) if weights else []:
                dots = [float(vectors[token] @ others[at]) for at in kept]
                for place in sorted(range(len(kept)), key=lambda at: -dots[at])[:count]:
                    share = weights[token] * own[kept[place]]
                    top, total = top + share * dots[place], total + share
            if own and weights:
                scores[IDS[row]] = np.float32(top / total if total else 0.0)
        found.append(sorted(scores.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)[:k])
    return [hits for hits in found if hits]


def run_of(work: Path, index: str, **settings: object) -> Hits:
    config = searching(work, f"{index} {settings}.trec", index, hits=20, settings=settings)
    return searched(config)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    def made(name: str, embeddings: str = "emb", shard: tuple[int, int] | None = None, **settings) -> Path:
        index_job.run(indexing(tmp_path, name, embeddings, settings=settings, shard=shard))
        return tmp_path / name

    return made


def test_runs_are_those_by_hand(write_embeddings, build, tmp_path: Path) -> None:
    passages, asked = texts(ROWS, 9, 0), texts(QUERIES, 5, 1)
    write_embeddings("emb", IDS[:ROWS], passages, score="alignment")
    write_embeddings("queries", QUERY_IDS, asked, side="query", score="alignment")
    build("index", keep=0.4)
    build("whole", keep=1.0)
    for word in ("top1", "top2", "p50"):
        every = by_hand(passages, asked, word, 20)
        assert run_of(tmp_path, "index", alignment=word) == every, "scored by all tokens"
        assert run_of(tmp_path, "whole", alignment=word, rescore="kept") == every
        kept = by_hand(passages, asked, word, 20, keep="2/5")
        assert kept != every
        assert run_of(tmp_path, "index", alignment=word, rescore="kept", mode="exact") == kept
        both = by_hand(passages, asked, word, 20, keep="2/5", ask="3/5")
        assert run_of(tmp_path, "index", alignment=word, rescore="kept", ask=0.6) == both
        asked_alone = by_hand(passages, asked, word, 20, ask="3/5")
        assert run_of(tmp_path, "emb", alignment=word, rescore="kept", ask=0.6) == asked_alone
    manifests = [read_manifest(file) for file in sorted(tmp_path.glob("*.trec.manifest.json"))]
    assert len({manifest.fingerprint for manifest in manifests}) == 3 * 4, "two of five searches are one"


def test_a_share_of_tokens_keeps_one_at_least_and_knows_how_many_there_were() -> None:
    of = texts(60, 7, 3)
    for share, exact in ((0.01, "1/100"), (0.5, "1/2"), (0.3, "3/10"), (1.0, "1")):
        found, rows = pruned(of, share), []
        assert found.whole is not None
        assert np.array_equal(found.whole, np.diff(of.offsets))
        for (vectors, weights), (mine, own) in zip(each(of), each(found), strict=True):
            best = most_salient(weights, exact) if weights else []
            assert np.array_equal(mine, vectors[best])
            assert own == [weights[at] for at in best]
            rows.append(len(best))
        taken = Vectors.joined([found[:20], found.take(np.arange(20, 60))])
        assert np.array_equal(taken.lengths, found.whole)
        assert np.array_equal(np.diff(found.offsets), rows)


@pytest.fixture
def large(write_embeddings) -> Vectors:
    """Return 1300 texts of 8 to 14 tokens, of which 6 in 10 are enough for codes."""
    passages = texts(1300, 14, 5, least=8)
    chance = np.random.default_rng(6)
    values = passages.values + 0.1 * chance.standard_normal(passages.values.shape)
    tokens = chance.integers(0, 500, len(values)).astype(np.int32)
    passages = Vectors(values.astype(np.float16), passages.offsets, passages.weights, tokens)
    write_embeddings("emb", IDS, passages, score="alignment")
    write_embeddings("queries", QUERY_IDS, texts(QUERIES, 6, 7, least=2), side="query", score="alignment")
    return passages


def test_codes_are_of_the_kept_tokens_and_the_manifest_says_what_they_take(large, build, tmp_path) -> None:
    index = build("index", keep=0.6)
    codes, kept = open_codes(index), pruned(large, 0.6)
    assert np.array_equal(codes.borders, kept.offsets)
    off = np.linalg.norm(codes.reconstructed(0, len(kept.values)) - kept.values.astype(np.float64), axis=1)
    assert (off <= codes.errors).all()
    assert off.mean() < 0.05
    seen = Pruned(Passages(Embeddings.open(tmp_path / "emb"), many=True), Keep(0.6))
    assert np.array_equal(
        np.concatenate([seen.block(row, 1300)[:1].values for row in range(1300)]), kept.values
    )
    before, after = ((2 + DIM + 4 + 2) * len(of.values) / 1300 for of in (large, kept))
    plain = build("plain", keep=0.6, fast=False)
    assert {path.name for path in plain.iterdir()} == {"id_rank.npy", "manifest.json", "provenance.json"}
    assert run_of(tmp_path, "plain") == run_of(tmp_path, "index", mode="exact")
    for other in ({"target": 0.9}, {"bits": 4}, {"alone": True}):
        with pytest.raises(
            UsageError, match="fast=false makes no codes, and only keep and keep_by go with it"
        ):
            build("none", keep=0.6, fast=False, **other)
    manifest = read_manifest(index / "manifest.json")
    said = manifest.extra["pruned"]["bytes_a_passage"]
    assert said == {"before": round(before, 1), "after": round(after, 1)}
    assert manifest.counts["tokens"] == len(kept.values)
    for settings in ({}, {"rescore": "kept"}, {"ask": 0.8}):
        exact_too = {"rescore": "kept"} if "rescore" in settings else {}
        fast, exact = (
            run_of(tmp_path, "index", **given) for given in (settings, {"mode": "exact", **exact_too})
        )
        scores = [dict(hits) for hits in run_of(tmp_path, "index", mode="exact", **exact_too)]
        common = [
            len({row for row, _ in a} & {row for row, _ in b}) for a, b in zip(fast, exact, strict=True)
        ]
        assert np.mean(common) >= 17
        assert all(
            of.get(row, score) == score for of, hits in zip(scores, fast, strict=True) for row, score in hits
        )


@pytest.mark.parametrize("rule", ["salience", "random", "rarest"])
def test_parts_and_changes_give_the_bytes_and_hits_of_one_index(
    large, build, write_embeddings, tmp_path, rule
) -> None:
    keep = {"keep": 0.6, "keep_by": rule}
    whole = bytes_of(build("index", **keep))
    centroids = build("centroids", only="centroids", **keep)
    parts = [build(f"part{part}", shard=(part, 2), centroids=str(centroids), **keep) for part in range(2)]
    merge.run(merge.MergeConfig(partials=parts, output=tmp_path / "merged"))
    assert bytes_of(tmp_path / "merged") == whole
    other = build("other", shard=(1, 2), **(keep | {"keep": 0.7}))
    with pytest.raises(VerificationError, match="parts of different indexes"):
        merge.run(merge.MergeConfig(partials=[parts[0], other], output=tmp_path / "no"))
    write_embeddings("more", ["new"], large[:1], score="alignment")
    (tmp_path / "gone").write_text(f"{IDS[0]}\n{IDS[7]}\n")
    change = {"add": str(tmp_path / "more"), "delete": str(tmp_path / "gone")}
    if rule == "rarest":
        with pytest.raises(UsageError, match="rarest tokens, and which these are depends on all passages"):
            build("index", **change)
        return
    build("index", **change)
    write_embeddings(
        "fresh", [*IDS[1:7], *IDS[8:], "new"], large.take(np.r_[1:7, 8:1300, 0]), score="alignment"
    )
    found = [
        run_of(tmp_path, name, rescore="kept", mode="exact")
        for name in ("index", str(build("now", "fresh", **keep)))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("salience", [True, False])
@pytest.mark.parametrize("rule", ["random", "rarest"])
def test_tokens_are_kept_by_chance_or_rarity(
    write_embeddings, build, tmp_path: Path, rule: str, salience: bool
) -> None:
    passages, asked = texts(ROWS, 9, 0), texts(QUERIES, 5, 1)
    tokens = np.random.default_rng(2).integers(0, 30, len(passages.values)).astype(np.int32) ** 2 // 30
    passages, often = replace(passages, tokens=tokens), Counter(tokens.tolist())
    wanted = drawn(passages).tolist() if rule == "random" else [-often[token] for token in tokens.tolist()]
    if not salience:
        passages, asked = (replace(of, weights=np.ones_like(of.weights)) for of in (passages, asked))
    stored = [of if salience else replace(of, weights=None) for of in (passages, asked)]
    write_embeddings("emb", IDS[:ROWS], stored[0], score="alignment")
    write_embeddings("queries", QUERY_IDS, stored[1], side="query", score="alignment")
    manifest = read_manifest(build("index", keep=0.4, keep_by=rule) / "manifest.json")
    assert (manifest.options["keep_by"], manifest.extra["pruned"]["by"]) == (rule, rule)
    assert manifest.extra["pruned"]["bytes_a_passage"]["before"] == round(
        2 * (DIM + salience) * len(tokens) / ROWS, 1
    )
    assert run_of(tmp_path, "index", alignment="top2") == by_hand(passages, asked, "top2", 20)
    kept = by_hand(passages, asked, "top2", 20, keep="2/5", wanted=wanted)
    assert kept != by_hand(passages, asked, "top2", 20, keep="2/5")
    assert run_of(tmp_path, "index", alignment="top2", rescore="kept", mode="exact") == kept


def test_chance_is_fair_and_a_texts_own(large) -> None:
    numbers = drawn(large)
    assert np.array_equal(drawn(large[700:]), numbers[large.offsets[700] :])
    backwards = [numbers[a:b] for a, b in zip(large.offsets[:-1], large.offsets[1:], strict=True)][::-1]
    assert np.array_equal(drawn(large.take(np.arange(1299, -1, -1))), np.concatenate(backwards))
    first = [
        [numbers[start + place] > np.median(numbers[start : start + 8]) for place in range(8)]
        for start in large.offsets[:-1].tolist()
    ]
    assert np.mean(first, axis=0) == pytest.approx(0.5, abs=0.06)  # four of its standard deviations


def test_what_does_not_fit_is_refused(write_embeddings, build, tmp_path: Path) -> None:
    passages, asked = texts(40, 5, 0), texts(QUERIES, 5, 1)
    write_embeddings("emb", IDS[:40], Vectors(passages.values, passages.offsets), score="alignment")
    write_embeddings("queries", QUERY_IDS, asked, side="query", score="alignment")
    with pytest.raises(UsageError, match="--set keep=0.2: the tokens of .* have no salience"):
        build("index", keep=0.2)
    with pytest.raises(UsageError, match="--set ask=0.5: the tokens of .* have no salience"):
        run_of(tmp_path, "emb", ask=0.5)
    for kept in ({}, {"keep": 1.0}):
        with pytest.raises(UsageError, match="--set keep_by=random says which tokens are kept; give a share"):
            build("index", **kept, keep_by="random")
    write_embeddings("salient", IDS[:40], passages, score="alignment")
    for share in (0.0, 1.5):
        with pytest.raises(UsageError, match="expected a number above 0 to 1"):
            build("index", "salient", keep=share)
    with pytest.raises(UsageError, match="an exact search compares all passages.*leave mode=exact away"):
        run_of(tmp_path, "salient", ask=0.5, mode="exact")
    build("few", "salient")  # too few tokens for a fast search
    for exact in ("salient", "few"):
        with pytest.raises(UsageError, match="an exact search compares all.*search an index that is fast"):
            run_of(tmp_path, exact, ask=0.5)
        assert run_of(tmp_path, exact, ask=0.5, neighbours=2)
    for wrong in (-1.0, np.inf, np.nan):
        weights = np.array(passages.weights)
        weights[3] = wrong
        with pytest.raises(
            DataError, match="1 of .* tokens have a salience that is negative, NaN or infinity"
        ):
            pruned(Vectors(passages.values, passages.offsets, weights), 0.5)
