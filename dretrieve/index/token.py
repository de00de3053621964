"""The token index: texts with a vector per token. It reads the embeddings in place.

Beside them it holds the ids' order and, from `CODED_TOKENS` on, the codes of all token vectors
(`index.token_codes`), by which a search is fast, or exact (`index.token_search`). Without codes all passages
are compared (`index.token_scan`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from dretrieve.index.token_alone import Reconstructed, write_ids
from dretrieve.index.token_build import Part, filled, write_clusters, write_codes, write_merged
from dretrieve.index.token_change import Change, plan_change, removed_rows
from dretrieve.index.token_clusters import Clusters, learn, num_tokens
from dretrieve.index.token_codes import TokenCodes, open_codes
from dretrieve.index.token_scan import search_tokens
from dretrieve.index.token_search import TokenSearch
from dretrieve.index.token_tuning import FILE, Tuned, queries_of, write_tuned
from dretrieve.index.top_k import TopK
from dretrieve.options import option, read_settings
from dretrieve.scoring.alignment import GRAMMAR
from dretrieve.scoring.token_scores import TokenScore, token_score
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest, manifest_path, read_manifest
from dretrieve.store.shards import Shard
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.types import Progress, Vectors

VERSION = 1
TARGET = 0.99
CODED_TOKENS = 1 << 12
"""From so many tokens on, compared by a MaxSim, an index has codes; else all are compared."""


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
    """

    bits: int | None = option(None, "a dimension's bits in the codes", legal=(1, 2, 4, 8))
    only: str | None = option(None, "make the centroids alone", legal=("centroids",))
    centroids: str | None = option(None, "a folder with centroids")
    alone: bool = option(False, "score by the codes, without the embeddings")
    target: float | None = option(None, "share of the exact hits that a fast search finds", above=0, most=1)
    queries: str | None = option(None, "embeddings of queries to reach it on; else pieces of passages")
    add: str | None = option(None, "embeddings that a finished index gets besides")
    delete: str | None = option(None, "a file of ids that a finished index loses")


@dataclass(frozen=True, slots=True)
class SearchChoices:
    """What ``search --set`` may change."""

    mode: str = option("fast", "fast, or exact", legal=("fast", "exact"))
    alignment: str = option("", f"Which tokens are compared, of ALIGNER: {GRAMMAR}; empty: as encoded.")


BUILT: dict[str, type] = {"token": TokenChoices}
SEARCHED: dict[str, type] = {"token": SearchChoices}


@dataclass(frozen=True)
class TokenIndex:
    """Search over token embeddings.

    Attributes:
        passages: what is searched.
        score: what compares two texts.
        codes: of the passages' tokens; None over bare embeddings, and where there are too few tokens.
        removed: hash of the rows that were deleted since; empty where none were.
        alone: fingerprint of an index that stands alone, whose scores are its own; else empty.
        tuned: how widely a fast search looks; None where the search is exact.
        fingerprint: of the index, where the hits depend on it: where it is fast.
    """

    passages: Passages
    score: TokenScore
    codes: TokenCodes | None = None
    removed: str = ""
    alone: str = ""
    tuned: Tuned | None = None
    fingerprint: str = ""

    @property
    def exact(self) -> bool:
        """Whether its hits are the k best of all."""
        return self.tuned is None

    @property
    def search_options(self) -> dict[str, Any]:
        """Which tokens are compared, what is left out, whose reconstruction it is; how fast a search is."""
        found = {"alignment": self.score.alignment, "removed": self.removed, "alone": self.alone}
        if self.tuned is not None:
            found |= {"index": self.fingerprint, "said": self.tuned.said}
        return {name: value for name, value in found.items() if value}

    @cached_property
    def by_codes(self) -> TokenSearch | None:
        """The search by codes; None where there are none, or where the score is no MaxSim."""
        if self.codes is None or self.score.mean is None:
            return None
        return TokenSearch(self.codes, self.passages, self.score)

    def search(self, queries: Vectors, kept: TopK, rows: tuple[int, int], options: ExactOptions) -> TopK:
        """Add the best passages among ``rows`` to ``kept`` and return it."""
        by_codes, k = self.by_codes, kept.scores.shape[1]
        if not k or by_codes is None:
            passages = self.passages
            return search_tokens(passages.block, self.score, queries, kept, passages.ranks, rows, options)
        counts = self.tuned.for_hits(k) if self.tuned is not None else None
        if counts is None or not by_codes.fits(queries):
            return by_codes.sure(queries, kept, rows, options)
        return by_codes.fast(queries, kept, counts, options)


def over_embeddings(
    embeddings: Embeddings, settings: Mapping[str, Any] | None = None, *, index: Path | None = None
) -> TokenIndex:
    """Return an index over embeddings, indexed before, in the verified folder ``index``, or not.

    Raises:
        VerificationError: one vector a text, or a score that is not known here.
        UsageError: another setting, or one that the score does not take.
    """
    choices = read_settings(SearchChoices, settings or {}, "searching vectors per token")
    alignment = choices.alignment or str(embeddings.extra.get("inference", {}).get("alignment", ""))
    score = token_score(embeddings.score, weighted=embeddings.salience, alignment=alignment)
    if index is None:
        return TokenIndex(Passages(embeddings, many=True), score)
    manifest = read_manifest(manifest_path(index))
    codes = open_codes(index) if "bits" in manifest.options else None
    fast = choices.mode == "fast" and score.mean is not None and FILE in manifest.files
    tuned, fingerprint = Tuned.open(index) if fast else None, manifest.fingerprint
    if codes is not None and "alone" in manifest.options:
        alone = Reconstructed(embeddings, index / RANKS, codes)
        return TokenIndex(alone, score, codes, "", fingerprint, tuned, fingerprint)
    passages = Passages(embeddings, index / RANKS, many=True, without=removed_rows(index, manifest))
    return TokenIndex(passages, score, codes, manifest.options.get("removed", ""), "", tuned, fingerprint)


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
    return over_embeddings(open_embeddings(folder, manifest, full=full), settings, index=folder)


def described(kind: str, choices: TokenChoices, passages: Passages, progress: Progress) -> dict[str, Any]:
    """Return what the bytes depend on beside the embeddings; nothing where there are no codes.

    Raises:
        VerificationError: a score that is not known; centroids of another model or dimension; offsets that do
            not fit.
        UsageError: centroids for another number of bits, or choices of codes where there are none.
    """
    embeddings = passages.embeddings
    score, tokens = token_score(embeddings.score, weighted=embeddings.salience), num_tokens(passages)
    if tokens < CODED_TOKENS or score.mean is None:
        if choices != TokenChoices():
            raise UsageError(
                f"{embeddings.folder} has {tokens:,} token vectors compared by {embeddings.score}, which are "
                f"searched without codes: these are for {CODED_TOKENS:,} and more compared by a MaxSim; "
                "leave --set away"
            )
        return {}
    if choices.only and choices.centroids:
        raise UsageError("--set only=centroids makes centroids, --set centroids=… brings them; leave one out")
    found: dict[str, Any] = {"bits": choices.bits or 8}
    if choices.only:
        found["only"] = choices.only
    if choices.alone and not choices.only:
        found["alone"] = True
    if choices.centroids:
        found |= _given(Path(choices.centroids), choices.bits, passages)
    if choices.only:
        return found
    if choices.target or choices.queries:
        found["target"] = choices.target or TARGET
    if choices.queries:
        queries_of(Path(choices.queries), passages.dim)
        found["queries"] = Embeddings.open(Path(choices.queries)).fingerprint
    return found


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


def _given(folder: Path, bits: int | None, passages: Passages) -> dict[str, Any]:
    """Return what given centroids add to the options: their bits, and whence they are where that matters."""
    manifest = open_artefact(folder, ("index-token",))
    if "bits" not in manifest.options:
        raise VerificationError(
            f"{folder} has too few tokens for centroids; make them with --set only=centroids over embeddings "
            f"of {CODED_TOKENS:,} tokens or more"
        )
    ours, theirs = passages.embeddings.passage_fingerprint, manifest.extra["passage_model"]
    if (manifest.counts["dim"], theirs) != (passages.dim, ours):
        raise VerificationError(
            f"{folder} has centroids of {manifest.counts['dim']} dimensions by the model {theirs[:12]}, and "
            f"{passages.embeddings.folder} has vectors of {passages.dim} by {ours[:12]}; make centroids of "
            "these with --set only=centroids"
        )
    if bits not in (None, manifest.options["bits"]):
        raise UsageError(
            f"--set bits={bits}: the centroids in {folder} were made for {manifest.options['bits']} bits; "
            "leave bits away, or make centroids for them"
        )
    found = {"bits": manifest.options["bits"]}
    whence = manifest.options.get("centroids")
    if whence is None and dict(manifest.inputs) != described_inputs(passages.embeddings):
        whence = manifest.inputs["vectors"]
    # centroids of the very same vectors are those that would be made anyway
    return found | ({} if whence is None else {"centroids": whence})


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
        DataError: a vector holds NaN or infinity.
        Interrupted: a signal came; the same command goes on.
    """
    shard = Shard(**stage.options["shard"]) if "shard" in stage.options else None
    only = "only" in stage.options
    if shard and choices.queries:
        raise UsageError(
            "--set queries is for an index that is built whole; merging parts takes pieces of passages"
        )
    if "bits" in stage.options:
        if choices.centroids:
            clusters = Clusters.open(Path(choices.centroids))
        else:
            clusters = learn(passages, stage.options["bits"], threads, signals.check)
        write_clusters(stage, clusters)
        if not only:
            write_codes(stage, passages, clusters, shard, threads, progress, signals)
    if only or shard:
        return filled(passages, shard)
    queries = queries_of(Path(choices.queries), passages.dim) if choices.queries else None
    return _whole(stage, passages, queries, threads, signals.check)


def join(stage: Stage, passages: Passages, parts: Sequence[tuple[Path, Manifest]]) -> Filled:
    """Write the files of an index from those of all its parts.

    Raises:
        VerificationError: parts made with different centroids.
    """
    if "bits" in stage.options:
        write_merged(stage, [Part(*part) for part in parts], passages)
    return _whole(stage, passages, None, 1, lambda: None)


def _whole(
    stage: Stage, passages: Passages, queries: Vectors | None, threads: int, checked: Callable[[], None]
) -> Filled:
    """Write what no part has: the ids' order, how to search fast, the ids where the embeddings may go."""
    write_ranks(stage, passages)
    score = token_score(passages.embeddings.score, weighted=passages.embeddings.salience)
    if "bits" in stage.options and score.mean is not None:
        codes = open_codes(stage.output)
        searched: Passages = passages
        if "alone" in stage.options:
            searched = Reconstructed(passages.embeddings, stage.output / RANKS, codes)
        target = stage.options.get("target", TARGET)
        write_tuned(stage, TokenSearch(codes, searched, score), queries, target, threads, checked)
    found = filled(passages)
    if "alone" not in stage.options:
        return found
    return found._replace(extra={**found.extra, ENCODED: write_ids(stage, passages)})
