"""The token index: texts with a vector per token. It reads the embeddings in place.

Beside them it holds the ids' order and, from `CODED_TOKENS` on and if it is to be fast, the codes of all
token vectors (`index.token_codes`), by which a search is fast, or exact (`index.token_search`). Without codes
all passages are compared (`index.token_scan`). Neighbours of tokens need none (`index.token_neighbours`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.index.base import (
    ENCODED,
    RANKS,
    Filled,
    Passages,
    described_inputs,
    open_embeddings,
    write_ranks,
)
from dretrieve.index.exact import ExactOptions
from dretrieve.index.token_alone import Reconstructed, have_unit_length, write_ids
from dretrieve.index.token_build import Part, filled, write_clusters, write_codes, write_merged
from dretrieve.index.token_change import Change, drop_change, plan_change, removed_rows
from dretrieve.index.token_clusters import Clusters, learn, num_tokens
from dretrieve.index.token_codes import TokenCodes, open_codes
from dretrieve.index.token_neighbours import Neighbours, NeighbourSearch
from dretrieve.index.token_prune import RANDOM, RAREST, SALIENCE, Keep, Pruned, pruned, seen_by
from dretrieve.index.token_scan import search_grid, search_tokens
from dretrieve.index.token_search import TokenSearch, fast_grid
from dretrieve.index.token_tuning import FILE, Tuned, queries_of, write_tuned
from dretrieve.index.top_k import TopK
from dretrieve.options import option, read_settings
from dretrieve.scoring.alignment import DEFAULT, GRAMMAR, parse_alignment
from dretrieve.scoring.token_scores import TokenScore, grid_of, token_score
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest, manifest_path, read_manifest
from dretrieve.store.shards import Shard
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.types import Progress, Vectors

VERSION = 3  # 2: below 8 bits there are no lists; 3: other widths of a fast search
TARGET = 0.99
WIDTHS_VERSION = 3  # of `Tuned.for_hits` and `for_tokens`, on which the hits of a fast search depend
CODED_TOKENS = 1 << 12
"""From so many tokens on an index has codes; else all are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChoices:
    """``--set`` of a token index to build.

    Attributes:
        bits: None takes 8, or what the given centroids were made for.
        only: what is made alone, for the parts of a job array.
        centroids: a folder with centroids, made before with ``only``, or another index.
        alone: whether the embeddings may go; scores are then those of what the codes reconstruct.
        target: the share of an exact search's hits that a fast one is to find; 0.99 when nothing is said.
        queries: embeddings of queries, to choose by how widely a fast search looks; else pieces of passages.
        add: embeddings whose passages come into the finished index.
        delete: a file of ids whose passages go out of the finished index, before others come in.
        keep: the share of each passage's tokens that the index holds (ALIGNER).
        keep_by: which; those of highest salience when nothing is said.
        fast: whether there are codes; else all tokens are compared, exactly or for neighbours.
    """

    bits: int | None = option(None, "a dimension's bits in the codes", legal=(1, 2, 4, 8))
    only: str | None = option(None, "make the centroids alone", legal=("centroids",))
    centroids: str | None = option(None, "a folder with centroids")
    alone: bool = option(False, "score by the codes, without the embeddings")
    target: float | None = option(None, "share of the exact hits that a fast search finds", above=0, most=1)
    queries: str | None = option(None, "embeddings of queries to reach it on; else pieces of passages")
    add: str | None = option(None, "embeddings that a finished index gets besides")
    delete: str | None = option(None, "a file of ids that a finished index loses")
    keep: float | None = option(None, "share of each passage's most salient tokens", above=0, most=1)
    keep_by: str | None = option(None, "what they are kept by, if not that", legal=(SALIENCE, RANDOM, RAREST))
    fast: bool = option(True, "make codes for a fast search; without, it is exact")

    @property
    def pruned(self) -> Keep | None:
        """Which tokens are kept; None: all are."""
        if self.keep is None or self.keep == 1:
            return None
        return Keep(self.keep, self.keep_by or SALIENCE)


@dataclass(frozen=True, slots=True)
class SearchChoices:
    """What ``search --set`` may change."""

    mode: str = option("fast", "fast, or exact", legal=("fast", "exact"))
    alignment: str = option("", f"Which tokens are compared, of ALIGNER: {GRAMMAR}; empty: as encoded.")
    ask: float | None = option(None, "share of a query's most salient tokens to look with", above=0, most=1)
    rescore: str = option("all", "score by all tokens, or by those kept and asked", legal=("all", "kept"))
    neighbours: int | None = option(None, "score what the nearest tokens of each query token find", least=1)
    token_hits: int | None = option(None, "the same, as ReAtt calls it", least=1)
    candidates: int | None = option(None, "of what these find, so many are scored", least=1)

    @property
    def near(self) -> Neighbours | None:
        """How passages are found by neighbours; None: they are not."""
        tokens = self.neighbours or self.token_hits
        return None if tokens is None else Neighbours(tokens, self.candidates)


NO_SALIENCE = (
    "the tokens of {} have no salience by which to choose; encode with a model trained with --salience, or "
    "leave it away"
)
BUILT: dict[str, type] = {"token": TokenChoices}
SEARCHED: dict[str, type] = {"token": SearchChoices}


@dataclass(frozen=True)
class TokenIndex:
    """Search over token embeddings.

    Attributes:
        codes: of the passages' tokens; None over bare embeddings, of few tokens, with ``fast=false``.
        removed: hash of the rows that were deleted since; empty where none were.
        alone: fingerprint of an index that stands alone, whose scores are its own; else empty.
        tuned: how widely a fast search looks; None where the search is exact.
        fingerprint: of the index, where the hits depend on it: where it is fast.
        keep: which of each passage's tokens the index holds; None: all.
    """

    passages: Passages
    score: TokenScore
    codes: TokenCodes | None = None
    removed: str = ""
    alone: str = ""
    tuned: Tuned | None = None
    fingerprint: str = ""
    keep: Keep | None = None
    choices: SearchChoices = SearchChoices()

    @property
    def exact(self) -> bool:
        """Whether its hits are the k best of all."""
        return self.tuned is None and self.choices.near is None

    @property
    def search_options(self) -> dict[str, Any]:
        """Which tokens are compared, what is left out, whose reconstruction it is; how fast a search is."""
        found: dict[str, Any] = {"alignment": self.score.alignment, "ask": self.choices.ask}
        found |= {"removed": self.removed, "alone": self.alone}
        keep = {} if self.keep is None else self.keep.options
        if self.choices.rescore == "kept":
            found |= {**keep, "rescore": "kept" if keep or self.choices.ask else ""}
        if near := self.choices.near:
            found |= {**keep, "neighbours": near.tokens, "candidates": near.candidates}
        elif self.tuned is not None:
            whole = ", with all tokens" * bool(found.get("ask") or found.get("rescore"))  # as it was measured
            found |= {"index": self.fingerprint, "said": self.tuned.said + whole, "widths": WIDTHS_VERSION}
        return {name: value for name, value in found.items() if value}

    def by(self, alignment: str, folder: Path) -> TokenIndex:
        """Return the same index, which stands in that folder, searched by another alignment."""
        score = _score_of(self.passages.embeddings, alignment)
        tuned = None if self.tuned is None else _tuned(folder, alignment, self.passages)
        found = replace(self, score=score, tuned=tuned)
        vars(found).update(seen=self.seen, by_codes=self.by_codes and self.by_codes.by(score))
        return found

    @cached_property
    def seen(self) -> Passages:
        """The passages with the tokens that the index holds."""
        return seen_by(self.passages, self.keep)

    @cached_property
    def by_codes(self) -> TokenSearch | None:
        """The search by codes; None where there are none."""
        if self.codes is None:
            return None
        whole = self.passages if self.keep is not None and self.choices.rescore == "all" else None
        return TokenSearch(self.codes, self.seen, self.score, whole)

    def search(self, queries: Vectors, kept: TopK, rows: tuple[int, int], options: ExactOptions) -> TopK:
        """Add the best passages among ``rows`` to ``kept`` and return it."""
        asked, compared, passages = self._compared(queries)
        by_codes, k = self.by_codes, kept.scores.shape[1]
        if k and self.choices.near:
            return self._by_neighbours(passages).search(asked, compared, kept, options)
        if not k or by_codes is None:
            return search_tokens(passages.block, self.score, compared, kept, passages.ranks, rows, options)
        counts = self.tuned.for_hits(k) if self.tuned is not None else None
        if counts is None or not by_codes.fits(asked):
            return by_codes.sure(compared, kept, rows, options)
        return by_codes.fast(asked, kept, counts, options, None if compared is asked else compared)

    def _compared(self, queries: Vectors) -> tuple[Vectors, Vectors, Passages]:
        """Return the query tokens that look, those that are compared, and the passages with theirs."""
        share = self.choices.ask
        if queries.weights is not None and not self.passages.embeddings.salience:
            raise VerificationError(
                "the queries' tokens have a salience and those of the passages in "
                f"{self.passages.embeddings.folder} have none; encode both with one model"
            )
        if share is not None and queries.weights is None:
            raise UsageError(f"--set ask={share:g}: {NO_SALIENCE.format('these queries')}")
        asked = queries if share is None else pruned(queries, share)
        if self.choices.rescore == "kept":
            return asked, asked, self.seen
        return asked, queries, self.passages

    def _by_neighbours(self, passages: Passages) -> NeighbourSearch:
        assert self.choices.near is not None
        return NeighbourSearch(
            neighbours=self.choices.near, looked=self.seen, compared=passages, score=self.score
        )


def search_each(
    ways: Sequence[TokenIndex],
    queries: Vectors,
    kept: Sequence[TopK],
    rows: tuple[int, int],
    options: ExactOptions,
) -> None:
    """Add to ``kept`` what each of several alignments' searches of one index (`TokenIndex.by`) finds."""
    first, grid = ways[0], grid_of([parse_alignment(by.score.alignment) for by in ways])
    asked, compared, passages = first._compared(queries)
    if first.choices.near:
        first._by_neighbours(passages).search_grid(asked, compared, kept, grid, options)
    elif first.exact:
        search_grid(passages.block, grid, compared, kept, passages.ranks, rows, options)
    else:
        k = kept[0].scores.shape[1]
        fast = [(by.by_codes, by.tuned.for_hits(k)) for by in ways if by.by_codes and by.tuned]
        fast_grid(fast, asked, compared, kept, options)


def over_embeddings(
    embeddings: Embeddings, settings: Mapping[str, Any] | None = None, *, index: Path | None = None
) -> TokenIndex:
    """Return an index over embeddings, indexed before, in the verified folder ``index``, or not.

    Raises:
        VerificationError: one vector a text, or a score that is not known here.
        UsageError: another setting, or one that the score does not take.
    """
    choices = read_settings(SearchChoices, settings or {}, "searching vectors per token")
    manifest = None if index is None else read_manifest(manifest_path(index))
    fast = choices.mode == "fast" and manifest is not None and FILE in manifest.files
    _check_choices(choices, embeddings, fast=fast)
    score = _score_of(embeddings, choices.alignment)
    if index is None or manifest is None:
        return TokenIndex(Passages(embeddings, many=True), score, choices=choices)
    options, fingerprint = manifest.options, manifest.fingerprint
    codes, alone = open_codes(index) if "bits" in options else None, ""
    passages = Passages(embeddings, index / RANKS, many=True, without=removed_rows(index, manifest))
    if codes is not None and "alone" in options:
        passages, alone = Reconstructed(embeddings, index / RANKS, codes, unit="unit" in options), fingerprint
    tuned = _tuned(index, score.alignment, passages) if fast else None
    removed, keep = options.get("removed", ""), Keep.of(options)
    return TokenIndex(passages, score, codes, removed, alone, tuned, fingerprint, keep, choices)


def _tuned(folder: Path, alignment: str, passages: Passages) -> Tuned:
    """Return how widely to look by that alignment: by one that is top1 here as widely as by top1."""
    like_top1 = alignment and parse_alignment(alignment).is_top1(passages.lengths())
    return Tuned.open(folder, DEFAULT if like_top1 else alignment)


def _score_of(embeddings: Embeddings, alignment: str = "") -> TokenScore:
    """Return the score of embeddings; an empty alignment is the one that they were encoded for."""
    alignment = alignment or str(embeddings.extra.get("inference", {}).get("alignment", ""))
    return token_score(embeddings.score, weighted=embeddings.salience, alignment=alignment)


def _check_choices(choices: SearchChoices, embeddings: Embeddings, *, fast: bool) -> None:
    if choices.neighbours and choices.token_hits:
        raise UsageError("--set neighbours and --set token_hits are one thing; leave one of them away")
    if choices.candidates and not choices.near:
        raise UsageError("--set candidates=…: of what token_hits=… find so many are scored; give both")
    if choices.near and choices.mode == "exact":
        raise UsageError("an exact search compares all passages; leave mode=exact away to look by neighbours")
    if choices.ask is None:
        return
    if not embeddings.salience:
        raise UsageError(f"--set ask={choices.ask:g}: {NO_SALIENCE.format(embeddings.folder)}")
    if choices.rescore == "all" and not (fast or choices.near):
        cure = "leave mode=exact away" if choices.mode == "exact" else "search an index that is fast"
        raise UsageError(
            f"--set ask={choices.ask:g}: an exact search compares all passages, whatever looks for them; "
            f"{cure}, look by neighbours, or score with what is asked alone (rescore=kept)"
        )


def open_index(folder: Path, *, full: bool = False, settings: Mapping[str, Any] | None = None) -> TokenIndex:
    """Return the index at ``folder``.

    Raises:
        PreconditionError: it or its embeddings are missing or unfinished; it is one of several parts, or
            holds centroids alone.
        VerificationError: changed bytes, or other embeddings than it was built over.
        UsageError: another setting, or one that the score does not take.
    """
    manifest = open_artefact(folder, ("index-token",), full=full)
    if "only" in manifest.options:
        raise PreconditionError(
            f"{folder} holds centroids alone; build an index with them: --set centroids={folder}"
        )
    if "shard" in manifest.options:
        raise PreconditionError(
            f"{folder} is a part of an index; join all parts first: dretrieve merge PART… --output INDEX"
        )
    index = over_embeddings(open_embeddings(folder, manifest, full=full), settings, index=folder)
    if read_manifest(manifest_path(folder)) != manifest:  # another process has changed it meanwhile
        return open_index(folder, full=full, settings=settings)
    return index


def described(kind: str, choices: TokenChoices, passages: Passages, progress: Progress) -> dict[str, Any]:
    """Return what the bytes depend on beside the embeddings; nothing where there are no codes.

    Raises:
        VerificationError: a score that is not known; centroids of another model or dimension; offsets that do
            not fit.
        UsageError: centroids for another number of bits, or choices of codes where there are none.
    """
    embeddings = passages.embeddings
    _score_of(embeddings)
    _check_built(choices, embeddings)
    tokens = num_tokens(seen_by(passages, choices.pruned))
    pruned_to = {} if choices.pruned is None else choices.pruned.options
    if tokens < CODED_TOKENS or not choices.fast:
        if choices != TokenChoices(keep=choices.keep, keep_by=choices.keep_by, fast=choices.fast):
            if not choices.fast:
                raise UsageError(
                    "--set fast=false makes no codes, and only keep and keep_by go with it; leave the other "
                    "settings, or fast=false, away"
                )
            raise UsageError(
                f"{embeddings.folder} has {tokens:,} token vectors to index, which are searched without "
                f"codes: these are for {CODED_TOKENS:,} and more; leave --set away"
            )
        return pruned_to
    if choices.alone and (embeddings.salience or pruned_to):
        why = "have a salience, which stays" if embeddings.salience else "are scored all, so they stay"
        raise UsageError(
            f"--set alone=true: the tokens of {embeddings.folder} {why} with the embeddings; leave alone away"
        )
    found: dict[str, Any] = {"bits": choices.bits or 8, **pruned_to}
    if choices.only:
        found["only"] = choices.only
    if choices.alone:
        found["alone"] = True
    if choices.centroids:
        found |= _given(Path(choices.centroids), choices, passages)
    if choices.alone and found["bits"] < 8 and have_unit_length(passages):
        found["unit"] = True  # by 8 bits little is lost, and an exact search goes by bounds of what is stored
    if choices.target or choices.queries:
        found["target"] = choices.target or TARGET
    if choices.queries:
        queries_of(Path(choices.queries), embeddings)
        found["queries"] = Embeddings.open(Path(choices.queries)).fingerprint
    return found


def _check_built(choices: TokenChoices, embeddings: Embeddings) -> None:
    if choices.only and choices.centroids:
        raise UsageError("--set only=centroids makes centroids, --set centroids=… brings them; leave one out")
    if choices.only and replace(choices, only=None, bits=None, keep=None, keep_by=None) != TokenChoices():
        raise UsageError(
            "--set only=centroids takes bits, keep and keep_by alone; give the other settings to the index "
            "that is built with these centroids"
        )
    if choices.pruned is None and choices.keep_by:
        raise UsageError(
            f"--set keep_by={choices.keep_by} says which tokens are kept; give a share below 1 (keep=0.2)"
        )
    if choices.keep is not None and choices.keep_by in (None, SALIENCE) and not embeddings.salience:
        raise UsageError(f"--set keep={choices.keep:g}: {NO_SALIENCE.format(embeddings.folder)}")


def change(output: Path, embeddings: Embeddings, choices: TokenChoices, *, look: bool) -> Change | None:
    """Return what ``add`` and ``delete`` make of a finished index; None where they did (`plan_change`).

    Raises:
        UsageError: something else is chosen too.
    """
    if choices != TokenChoices(add=choices.add, delete=choices.delete):
        raise UsageError(
            "--set add and --set delete change a finished index, whose centroids and bits stand; leave the "
            "other settings away"
        )
    return plan_change(output, embeddings, choices.add, choices.delete, look=look)


def _given(folder: Path, choices: TokenChoices, passages: Passages) -> dict[str, Any]:
    """Return what given centroids add to the options: their bits, and whence they are where that matters."""
    manifest = open_artefact(folder, ("index-token",))
    if "bits" not in manifest.options:
        raise VerificationError(
            f"{folder} has no codes and no centroids; make them with --set only=centroids over embeddings of "
            f"{CODED_TOKENS:,} tokens or more"
        )
    ours, theirs = passages.embeddings.passage_fingerprint, manifest.extra["passage_model"]
    if (manifest.counts["dim"], theirs) != (passages.dim, ours):
        raise VerificationError(
            f"{folder} has centroids of {manifest.counts['dim']} dimensions by the model {theirs[:12]}, and "
            f"{passages.embeddings.folder} has vectors of {passages.dim} by {ours[:12]}; make centroids of "
            "these with --set only=centroids"
        )
    if choices.bits not in (None, manifest.options["bits"]):
        raise UsageError(
            f"--set bits={choices.bits}: the centroids in {folder} were made for "
            f"{manifest.options['bits']} bits; leave bits away, or make centroids for them"
        )
    whence, keep = manifest.options.get("centroids"), Keep.of(manifest.options)
    others = dict(manifest.inputs) != described_inputs(passages.embeddings) or keep != choices.pruned
    if whence is None and others:
        whence = manifest.inputs["vectors"] + "".join(
            f" {name}={value}" for name, value in (keep.options if keep else {}).items()
        )
    # centroids of the very same vectors are those that would be made anyway
    return {"bits": manifest.options["bits"]} | ({} if whence is None else {"centroids": whence})


def fill(
    stage: Stage,
    passages: Passages,
    choices: TokenChoices,
    threads: int,
    progress: Progress,
    signals: Signals,
) -> Filled:
    """Write centroids, codes and lists, or the part of these that the options name.

    Raises:
        DataError: a vector holds NaN or infinity, or a salience that is negative or one of these.
        Interrupted: a signal came; the same command goes on.
    """
    drop_change(stage.output)
    passages = seen_by(passages, Keep.of(stage.options))
    shard = Shard(**stage.options["shard"]) if "shard" in stage.options else None
    only = "only" in stage.options
    if shard is not None and choices.queries:
        raise UsageError(
            "--set queries is for an index that is built whole; merging parts takes pieces of passages"
        )
    if shard is not None and only:
        raise UsageError("--set only=centroids makes what all parts have in common; leave --shard away")
    if "bits" in stage.options:
        if choices.centroids:
            clusters = Clusters.open(Path(choices.centroids))
        else:
            clusters = learn(passages, stage.options["bits"], threads, signals.check)
        write_clusters(stage, clusters)
        if not only:
            write_codes(stage, passages, clusters, shard, threads, progress, signals)
    if only or shard is not None:
        return filled(passages, stage.options.get("bits"), shard)
    queries = queries_of(Path(choices.queries), passages.embeddings) if choices.queries else None
    return _whole(stage, passages, queries, threads, signals.check)


def join(
    stage: Stage, passages: Passages, parts: Sequence[tuple[Path, Manifest]], signals: Signals
) -> Filled:
    """Write the files of an index from those of all its parts.

    Raises:
        VerificationError: parts made with different centroids.
        Interrupted: a signal came; the same command begins again.
    """
    drop_change(stage.output)
    passages = seen_by(passages, Keep.of(stage.options))
    if "bits" in stage.options:
        write_merged(stage, [Part(*part) for part in parts], passages)
    return _whole(stage, passages, None, 1, signals.check)


def _whole(
    stage: Stage, passages: Passages, queries: Vectors | None, threads: int, checked: Callable[[], None]
) -> Filled:
    """Write what no part has: the ids' order, how to search fast, the ids where the embeddings may go."""
    write_ranks(stage, passages)
    if "bits" in stage.options:
        codes, whole = open_codes(stage.output), passages.whole if isinstance(passages, Pruned) else None
        searched: Passages = passages
        if "alone" in stage.options:
            unit, ranks = "unit" in stage.options, stage.output / RANKS
            searched = Reconstructed(passages.embeddings, ranks, codes, unit=unit)
        search = TokenSearch(codes, searched, _score_of(passages.embeddings), whole)
        write_tuned(stage, search, queries, stage.options.get("target", TARGET), threads, checked)
    found = filled(passages, stage.options.get("bits"))
    if "alone" not in stage.options:
        return found
    return found._replace(extra={**found.extra, ENCODED: write_ids(stage, passages)})
