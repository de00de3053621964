"""Approximate indexes by faiss: hnsw, ivf and ivfpq propose passages, the canonical score decides.

faiss searches its own compressed copy for more candidates than are wanted; the stored vectors of the
candidates are then scored as everywhere else, so scores and order are those of an exact search, and only
passages can be missing. The index is one file of faiss beside the embeddings, which stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.index.base import RANKS, Filled, Passages, open_embeddings, write_ranks
from dretrieve.index.exact import ExactOptions
from dretrieve.index.top_k import TopK
from dretrieve.options import option, read_settings
from dretrieve.scoring.dot import dot_pairs, widened
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.types import Progress, Vectors

VERSION = 1
KINDS = ("hnsw", "ivf", "ivfpq")
STAGES = tuple(f"index-{kind}" for kind in KINDS)
FILE = "faiss.index"
BLOCK_ROWS, LINKED_ROWS = 1 << 14, 1 << 10  # between two looks at the signals
QUERIES_AT_ONCE = 1024
SAMPLES_PER_LIST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class HnswChoices:
    """``--set`` of an hnsw index to build; faiss ends with a segmentation fault on ``m=1``."""

    m: int = option(32, "links per passage", least=2, most=512)
    ef_construction: int = option(200, "candidates while linking", least=1, most=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class IvfChoices:
    """``--set`` of an ivf index to build; None takes 4 times the square root of the number of passages."""

    lists: int | None = option(None, "cells", least=1, most=1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class IvfPqChoices(IvfChoices):
    """``--set`` of an ivfpq index to build; None takes the largest divisor of dim up to a quarter of it."""

    m: int | None = option(None, "pieces per vector, a byte each", least=1, most=1 << 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class HnswSearch:
    """``--set`` of a search in an hnsw index."""

    candidates: int = option(2, least=1, most=1_000_000)
    ef_search: int = option(256, least=1, most=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSearch:
    """``--set`` of a search in an ivf or ivfpq index; None probes a sixteenth of the cells, at least 8."""

    candidates: int = option(2, least=1, most=1_000_000)
    probes: int | None = option(None, least=1, most=1 << 30)


BUILT: dict[str, type] = {"hnsw": HnswChoices, "ivf": IvfChoices, "ivfpq": IvfPqChoices}
SEARCHED: dict[str, type] = {"hnsw": HnswSearch, "ivf": CellSearch, "ivfpq": CellSearch}
CODES = 256  # of one byte of ivfpq: as many passages are needed to learn them


def load_faiss() -> ModuleType:
    """Return faiss.

    Raises:
        PreconditionError: it is not installed; names the extra.
    """
    try:
        import faiss
    except ImportError:
        raise PreconditionError(
            "approximate indexes need faiss: pip install 'dretrieve[cpu]' (or [gpu], never both); "
            "--type flat needs nothing and is exact"
        ) from None
    return faiss


@dataclass(frozen=True, slots=True)
class AnnIndex:
    """An opened approximate index.

    Attributes:
        settings: of the search: ``ef_search`` or ``probes``, and ``candidates`` per wanted hit.
    """

    passages: Passages
    faiss_index: Any
    manifest: Manifest
    settings: Mapping[str, int]
    exact: bool = False

    @property
    def search_options(self) -> dict[str, Any]:
        """What the hits depend on: the index itself, and how widely it is searched."""
        return {"index": self.manifest.fingerprint, **self.settings}

    def search(self, queries: Vectors, kept: TopK, rows: tuple[int, int], options: ExactOptions) -> TopK:
        """Fill ``kept`` with the best of the candidates that faiss proposes among all rows.

        Raises:
            DataError: a score leaves float32.
        """
        assert rows == (0, self.passages.rows)
        load_faiss().omp_set_num_threads(options.threads)
        k = kept.scores.shape[1]
        wanted = min(self.passages.rows, k * self.settings["candidates"])
        if self.manifest.options["type"] == "hnsw":
            self.faiss_index.hnsw.efSearch = max(self.settings["ef_search"], wanted)
        else:
            self.faiss_index.nprobe = self.settings["probes"]
        for start in range(0, len(queries) if k else 0, QUERIES_AT_ONCE):
            part = slice(start, start + QUERIES_AT_ONCE)
            asked = np.ascontiguousarray(queries.values[part], dtype=np.float32)
            self._keep(asked, self.faiss_index.search(asked, wanted)[1], kept.part(part))
        kept.check_finite()
        options.after_block(rows[1], kept)
        return kept

    def _keep(self, queries: NDArray[np.float32], proposed: NDArray[np.int64], kept: TopK) -> None:
        """Score the proposed rows, [Q, C] with -1 where there is none, from the stored vectors."""
        used = np.unique(proposed[proposed >= 0])
        vectors = self.passages.gather(used).values
        wide = widened(queries)
        for query, found in enumerate(proposed):
            rows = np.unique(found[found >= 0])
            places = np.searchsorted(used, rows).astype(np.int32)
            offsets = np.array([0, len(rows)], dtype=np.int64)
            scores = dot_pairs(vectors, wide[query : query + 1], offsets, places)
            kept.offer(query, rows, scores, self.passages.ranks)


def open_index(folder: Path, *, full: bool = False, settings: Mapping[str, Any] | None = None) -> AnnIndex:
    """Return the index at ``folder``.

    Raises:
        PreconditionError: it, its embeddings or faiss are missing.
        VerificationError: changed bytes, or other embeddings than it was built over.
        UsageError: a setting that the type does not have.
    """
    faiss = load_faiss()
    manifest = open_artefact(folder, STAGES, full=full)
    kind = manifest.options["type"]
    chosen = asdict(read_settings(SEARCHED[kind], settings or {}, f"searching an index of type {kind}"))
    if kind != "hnsw":
        lists = manifest.options["lists"]
        if (chosen["probes"] or 0) > lists:
            raise UsageError(
                f"--set probes={chosen['probes']}: {folder} has {lists:,} lists; give at most that"
            )
        chosen["probes"] = chosen["probes"] or min(lists, max(8, lists // 16))
    passages = Passages(open_embeddings(folder, manifest, full=full), folder / RANKS)
    return AnnIndex(passages, faiss.read_index(str(folder / FILE)), manifest, chosen)


def described(kind: str, choices: Any, passages: Passages, progress: Progress) -> dict[str, Any]:
    """Return what the bytes depend on beside the embeddings: the choices, those left open filled.

    Raises:
        PreconditionError: faiss is missing; too few passages for the codes of ivfpq.
        UsageError: more lists than passages; ``m`` does not divide the dimensions (ivfpq).
    """
    load_faiss()
    found, rows, dim = {"type": kind, **asdict(choices)}, passages.rows, passages.dim
    if kind == "hnsw":
        return found
    if found["lists"] is None:
        found["lists"] = max(1, min(int(4 * np.sqrt(rows)), rows // 39))
    elif found["lists"] > max(1, rows):
        raise UsageError(
            f"--set lists={found['lists']}: there are {rows:,} passages; give at most one list each"
        )
    elif found["lists"] > max(1, rows // 39):
        progress.note(
            f"{found['lists']:,} lists of {rows:,} passages hold fewer than 39 each, too few to place them "
            "well"
        )
    if kind == "ivfpq":
        found["m"] = found["m"] or max(m for m in range(1, max(1, dim // 4) + 1) if dim % m == 0)
        if rows < CODES:
            raise PreconditionError(
                f"an index of type ivfpq learns {CODES} codes and needs as many passages; there are "
                f"{rows:,}: take --type flat, which is exact"
            )
        if dim % found["m"]:
            raise UsageError(f"--set m={found['m']}: it must divide the {dim} dimensions")
    return found


def fill(
    stage: Stage, passages: Passages, choices: object, threads: int, progress: Progress, signals: Signals
) -> Filled:
    """Write faiss's file.

    Memory: hnsw 2 bytes a number and 8 bytes a link; ivf 2 bytes a number; ivfpq ``m`` bytes a passage.

    Raises:
        Interrupted: a signal came; the same command begins again.
    """
    faiss = load_faiss()
    write_ranks(stage, passages)
    index = _made(faiss, stage.options, threads, passages, progress, signals)
    with stage.write(FILE) as file:  # by its own name faiss loses the error of the last bytes
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
    return Filled()


def _made(
    faiss: Any,
    options: Mapping[str, Any],
    threads: int,
    passages: Passages,
    progress: Progress,
    signals: Signals,
) -> Any:
    """Return the filled index of faiss; links are made by one thread, so that their bytes do not vary."""
    dim, product = passages.dim, faiss.METRIC_INNER_PRODUCT
    half = faiss.ScalarQuantizer.QT_fp16
    linked = options["type"] == "hnsw"
    faiss.omp_set_num_threads(1 if linked else threads)
    if linked:
        index = faiss.IndexHNSWSQ(dim, half, options["m"], product)
        index.hnsw.efConstruction = options["ef_construction"]
    else:
        cells = faiss.IndexFlatIP(dim)
        if options["type"] == "ivf":
            index = faiss.IndexIVFScalarQuantizer(cells, dim, options["lists"], half, product)
        else:
            index = faiss.IndexIVFPQ(cells, dim, options["lists"], options["m"], 8, product)
        cells.this.disown()
        index.own_fields = True
    if passages.rows and not index.is_trained:
        index.train(_sample(passages, options.get("lists", 256)))
    step = LINKED_ROWS if linked else BLOCK_ROWS
    progress.start(f"index {options['type']}", passages.rows, "passages")
    row = 0
    while row < passages.rows:
        block = passages.block(row, min(row + step, passages.rows)).values
        index.add(np.ascontiguousarray(block, dtype=np.float32))
        row += len(block)
        progress.advance(len(block))
        signals.check()
    progress.finish()
    return index


def _sample(passages: Passages, lists: int) -> NDArray[np.float32]:
    """Return vectors of rows spread evenly over the collection, to train on."""
    count = min(passages.rows, max(256 * 40, lists * SAMPLES_PER_LIST))
    rows = np.unique(np.linspace(0, passages.rows - 1, count).astype(np.int64))
    return passages.gather(rows).values.astype(np.float32)
