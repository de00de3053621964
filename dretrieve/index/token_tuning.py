"""How widely a fast search of token vectors looks: chosen when the index is built, on sampled queries.

Of two halves of the sample one chooses: the first step of a ladder whose hits share ``target`` of the exact
ones, at k 10 and at k 100. What the other half then shares is stored and said by `search`. All of it is a
function of the passages and the queries, so the bytes of an index do not depend on the machine.

Where a search may choose the alignment, it is tuned for several; by another one a search looks as widely as
the widest of its kind, hard or soft.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import UsageError, VerificationError
from dretrieve.index.base import Passages
from dretrieve.index.exact import ExactOptions
from dretrieve.index.token_scan import search_grid
from dretrieve.index.token_search import TokenSearch
from dretrieve.index.top_k import TopK
from dretrieve.kernels.token_search import Counts
from dretrieve.scoring.alignment import parse_alignment
from dretrieve.scoring.token_scores import grid_of, token_score
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.store.stage import Stage
from dretrieve.types import Vectors, offsets_of

FILE = "fast.json"
SAMPLED = 64
PIECES = (8, 24)
"""Tokens of a piece of a passage that stands for a query, in turn."""
LISTED_TOKENS = 1 << 20
"""From so many tokens on the lists of the best centroids are read and not the codes of all passages, unless
tokens have a salience, which lists do not know."""
NEAR, SALIENT_NEAR = 2.0, 6.0
"""`Counts.near`; with a salience it matters which token is the largest, not only how large it is."""
ALIGNED = ("top1", "top4", "p1.5", "da,k=1,eps=0.05")
SAMPLED_ALIGNED = 48  # fewer, for an exact search by several alignments takes long
WIDENED = ("listed", "coded", "rescored")
LISTED, LISTED_ALIGNED, PROBES_ALIGNED = 3, 8, 2
"""Passages from lists, for each that is scored in bytes; where several tokens of a passage count, lists order
coarsely, and twice as many are read."""
# of each step: passages scored in bytes, and canonically; lists read for a query token
STEPS_10 = ((75, 20, 32), (100, 20, 32), (150, 20, 48), (250, 20, 64), (400, 25, 64), (600, 30, 96))
STEPS_100 = ((300, 150, 64), (400, 200, 64), (600, 250, 96), (1000, 350, 128), (1500, 500, 256))
LADDERS = {
    10: (*STEPS_10, (1000, 50, 128), (2000, 100, 256)),
    100: (*STEPS_100, (3000, 1000, 512)),
}
# soft: a canonical score is dear, and one in bytes orders nearly as well
SOFT_10 = ((100, 14, 32), (150, 14, 48), (250, 20, 64), (400, 20, 64), (600, 30, 96))
SOFT_100 = ((300, 120, 64), (400, 130, 64), (600, 150, 96), (1000, 200, 128), (1500, 300, 256))
SOFT_LADDERS = {
    10: (*SOFT_10, (1000, 40, 128), (2000, 60, 256)),
    100: (*SOFT_100, (3000, 600, 512)),
}


@dataclass(frozen=True, slots=True)
class Tuned:
    """What building an index chose, at each k of `LADDERS`.

    Attributes:
        counts: None where no step of the ladder reached the target: the search is exact.
        measured: the share of exact hits that the other half of the sample had.
        queries: what the sample was made of.
        alignments: those that it was chosen for, where a search has another; else none.
        changed: whether passages came or went since.
    """

    counts: dict[int, Counts | None]
    measured: dict[int, float]
    queries: str
    alignments: tuple[str, ...] = ()
    changed: bool = False

    @classmethod
    def open(cls, folder: Path, alignment: str = "") -> Tuned:
        """Return what stands in a verified index for a search by that alignment; empty: by a MaxSim."""
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        every = found["alignments"] if "alignments" in found else {alignment: found["steps"]}
        like = (alignment,) if alignment in every else _of_kind(every, alignment)
        chosen = [every[word] for word in like]
        counts = {int(k): _widest([steps[k]["counts"] for steps in chosen]) for k in chosen[0]}
        measured = {int(k): min(steps[k]["overlap"] for steps in chosen) for k in chosen[0]}
        others = () if like == (alignment,) else like
        return cls(counts, measured, found["queries"], others, found.get("changed", False))

    def for_hits(self, k: int) -> Counts | None:
        """Return how widely to look for k hits, between two tuned k in proportion; None: exactly."""
        most = max(self.counts)
        above = min((hits for hits in self.counts if hits >= k), default=most)
        below = max((hits for hits in self.counts if hits <= k), default=above)
        wide, narrow = self.counts[above], self.counts[below]
        if wide is None:
            return None
        if k > most:
            wider = {name: math.ceil(getattr(wide, name) * k / most) for name in WIDENED}
            return wide._replace(**wider)
        if narrow is None or above == below:
            return wide
        share = (k - below) / (above - below)
        pairs = {name: (getattr(narrow, name), getattr(wide, name)) for name in ("probes", *WIDENED)}
        return wide._replace(**{name: math.ceil(a + (b - a) * share) for name, (a, b) in pairs.items()})

    @property
    def said(self) -> str:
        """One line for the user."""
        shares = ", ".join(f"overlap@{k} {share:.3f}" for k, share in self.measured.items())
        by = f" by {', '.join(self.alignments)}" if self.alignments else ""
        before = " before passages were added or deleted" if self.changed else ""
        return f"fast search; beside exact search: {shares}, measured on {self.queries}{by}{before}"


def _of_kind(words: Iterable[str], alignment: str) -> tuple[str, ...]:
    """Return those alignments that are hard, or soft, as the given one is."""
    soft = bool(parse_alignment(alignment).epsilon)
    return tuple(word for word in words if bool(parse_alignment(word).epsilon) == soft)


def _widest(steps: Sequence[dict[str, Any] | None]) -> Counts | None:
    """Return the largest of each number; None where one step is."""
    if None in steps:
        return None
    each = [Counts(**step) for step in steps if step is not None]
    return Counts(*(max(numbers) for numbers in zip(*each, strict=True)))


def queries_of(folder: Path, passages: Embeddings) -> Vectors:
    """Return sampled queries from a folder of their embeddings.

    Raises:
        UsageError: vectors of passages, one vector a text, or of another dimension.
        VerificationError: vectors by another model than the passages'.
    """
    embeddings, dim = Embeddings.open(folder), passages.vectors.dim
    if embeddings.side != "query" or embeddings.vectors.kind != "many" or embeddings.vectors.dim != dim:
        raise UsageError(
            f"--set queries={folder}: queries with vectors per token of {dim} dimensions are wanted, as "
            f"`dretrieve encode --queries` writes them; these are {embeddings.side} vectors of "
            f"{embeddings.vectors.dim}, {embeddings.vectors.kind} a text"
        )
    ours, theirs = passages.passage_fingerprint, embeddings.passage_fingerprint
    if ours != theirs:
        raise VerificationError(
            f"--set queries={folder}: these were encoded for the passages of another model ({theirs[:12]}) "
            f"than those in {passages.folder} ({ours[:12]}); encode both with one model"
        )
    return _spread(embeddings.all_vectors(), SAMPLED)


def pieces_of(passages: Passages) -> Vectors:
    """Return pieces out of the middle of passages, which stand for queries where none are given."""
    rows = np.unique(np.arange(SAMPLED, dtype=np.int64) * passages.rows // SAMPLED)
    texts = passages.gather(rows)
    assert texts.offsets is not None
    lengths = np.diff(texts.offsets)
    counts = np.minimum(np.resize(np.repeat(PIECES, 2), len(lengths)), lengths)  # each half has all lengths
    offsets, firsts = offsets_of(counts), texts.offsets[:-1] + (lengths - counts) // 2
    places = np.arange(offsets[-1]) + np.repeat(firsts - offsets[:-1], counts)
    weights = None if texts.weights is None else texts.weights[places]
    return _spread(Vectors(texts.values[places], offsets, weights), SAMPLED)


def _spread(texts: Vectors, most: int) -> Vectors:
    """Return at most so many texts that have tokens, not all without salience, spread evenly."""
    assert texts.offsets is not None
    owners = np.repeat(np.arange(len(texts)), np.diff(texts.offsets))
    present = np.unique(owners if texts.weights is None else owners[np.asarray(texts.weights) > 0])
    count = min(most, len(present))
    return texts.take(present[np.arange(count, dtype=np.int64) * len(present) // max(1, count)])


def write_tuned(
    stage: Stage,
    search: TokenSearch,
    queries: Vectors | None,
    target: float,
    threads: int,
    checked: Callable[[], None],
) -> None:
    """Choose how widely to look, by the queries or, without, by `pieces_of`, and write it into the index."""
    asked = pieces_of(search.compared) if queries is None else queries
    if search.score.alignment:
        asked = _spread(asked, SAMPLED_ALIGNED)
    halves = [asked.take(np.arange(half, len(asked), 2)) for half in range(2)]
    source = "pieces of passages" if queries is None else "given queries"
    options = ExactOptions(threads=threads, after_block=lambda row, kept: checked())
    found: dict[str, Any] = {"queries": f"{len(halves[1])} {source}", "target": target}
    if search.score.alignment:
        words = dict.fromkeys([search.score.alignment, *ALIGNED])
        name, weighted = search.passages.embeddings.score, search.codes.salience is not None
        each = [search.by(token_score(name, weighted=weighted, alignment=word)) for word in words]
        exact = zip(*(_exact(each, half, options) for half in halves), strict=True)
        steps = [choose(by, halves, target, options, of) for by, of in zip(each, exact, strict=True)]
        found["alignments"] = {word: _described(of) for word, of in zip(words, steps, strict=True)}
    else:
        found["steps"] = _described(choose(search, halves, target, options))
    _write(stage, found)


def keep_tuned(stage: Stage, before: Path) -> None:
    """Write into a changed index how widely to look as it was chosen for the one before, if it was."""
    if FILE in read_manifest(manifest_path(before)).files:
        _write(stage, json.loads((before / FILE).read_text(encoding="utf-8")) | {"changed": True})


def _write(stage: Stage, found: dict[str, Any]) -> None:
    with stage.write(FILE, text=True) as file:
        json.dump(found, file, indent=1)
        file.write("\n")


Steps = dict[int, tuple[Counts | None, float]]
Rows = list[NDArray[np.int64]]


def _described(steps: Steps) -> dict[str, Any]:
    return {
        str(k): {"counts": None if counts is None else counts._asdict(), "overlap": round(overlap, 4)}
        for k, (counts, overlap) in steps.items()
    }


def choose(
    search: TokenSearch,
    halves: Sequence[Vectors],
    target: float,
    options: ExactOptions,
    exact: Sequence[Rows] | None = None,
) -> Steps:
    """Return for each k of `LADDERS` the first step that reaches the target on one half of some queries.

    Beside it stands the share of the exact hits on the other half; (None, 1) where no step is enough.
    """
    found: Steps = {}
    exact = [_exact([search], half, options)[0] for half in halves] if exact is None else exact
    salient = search.matches.weighted
    near, listed = SALIENT_NEAR if salient else NEAR, not salient and len(search.codes.codes) >= LISTED_TOKENS
    more, lists = (LISTED, 1) if search.aligned == 1 else (LISTED_ALIGNED, PROBES_ALIGNED)
    for k, ladder in (SOFT_LADDERS if search.score.soft else LADDERS).items():
        found[k] = None, 1.0
        steps = list(ladder) if all(search.fits(half) for half in halves) else []
        if salient and steps:  # all passages in bytes: centroids do not settle whose salience counts
            steps.append((search.passages.rows, ladder[-1][1], 0))
        for coded, rescored, probes in steps:
            counts = Counts(lists * probes if listed else 0, more * coded, coded, rescored, near)
            if _overlap(_found(search, halves[0], k, counts, options), exact[0], k) >= target:
                found[k] = counts, _overlap(_found(search, halves[1], k, counts, options), exact[1], k)
                break
    return found


def _found(search: TokenSearch, queries: Vectors, k: int, counts: Counts, options: ExactOptions) -> Rows:
    """Return each query's hits, best first."""
    kept = TopK.empty(len(queries), min(k, search.passages.rows))
    search.fast(queries, kept, counts, options)
    return [rows for rows, _ in kept.best_first(search.passages.ranks)]


def _exact(searches: Sequence[TokenSearch], queries: Vectors, options: ExactOptions) -> list[Rows]:
    """Return each query's exact hits by one search, or by several alignments in one pass, best first."""
    first = searches[0]
    whole, ranks = (0, first.passages.rows), first.passages.ranks
    kept = [TopK.empty(len(queries), min(max(LADDERS), whole[1])) for _ in searches]
    if first.fits(queries) and first.score.alignment:
        grid = grid_of([parse_alignment(by.score.alignment) for by in searches])
        search_grid(first.compared.block, grid, queries, kept, ranks, whole, options)
    elif first.fits(queries):
        first.sure(queries, kept[0], whole, options)
    return [[rows for rows, _ in own.best_first(ranks)] for own in kept]


def _overlap(found: Rows, exact: Rows, k: int) -> float:
    """Return the share of the exact hits that were found; 1 where there are none."""
    shares = [np.isin(every[:k], rows).mean() for rows, every in zip(found, exact, strict=True) if len(every)]
    return float(np.mean(shares)) if shares else 1.0
