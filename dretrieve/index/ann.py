"""Approximate indexes by faiss: hnsw, ivf and ivfpq propose passages, the canonical score decides.

faiss searches its own compressed copy for more candidates than are wanted; the stored vectors of the
candidates are then scored as everywhere else, so scores and order are those of an exact search, and only
passages can be missing. The index is one file of faiss beside the embeddings, which stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.index.base import (
    RANKS,
    Passages,
    described_inputs,
    open_embeddings,
    relative_folder,
    write_ranks,
)
from dretrieve.index.exact import ExactOptions
from dretrieve.index.top_k import TopK
from dretrieve.options import option, read_settings
from dretrieve.order import top_k
from dretrieve.scoring.dot import dot_pairs, widened
from dretrieve.store.atomic import make_folder
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest, read_manifest
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.store.state import recorded_state
from dretrieve.types import Progress, Vectors

VERSION = 1
KINDS = ("hnsw", "ivf", "ivfpq")
STAGES = tuple(f"index-{kind}" for kind in KINDS)
FILE = "faiss.index"
BLOCK_ROWS, LINKED_ROWS = 1 << 14, 1 << 10  # between two looks at the signals
QUERIES_AT_ONCE = 1024
SAMPLES_PER_LIST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnOptions:
    """How an approximate index is built; what does not belong to its type is None.

    Attributes:
        type: a name of `KINDS`.
        m: links per passage (hnsw, 32) or pieces per vector (ivfpq, dim / 4: a byte each).
        ef_construction: candidates while linking (hnsw).
        lists: cells (ivf, ivfpq); None takes 4 times the square root of the number of passages.
        threads: of faiss. Links are made by one thread, so that the same vectors give the same bytes.
    """

    type: str
    m: int | None = None
    ef_construction: int | None = None
    lists: int | None = None
    threads: int = 1

    def filled(self, rows: int, dim: int) -> AnnOptions:
        """Return the options with defaults for that many passages."""
        if self.type == "hnsw":
            return replace(self, m=self.m or 32, ef_construction=self.ef_construction or 200)
        lists = self.lists or max(1, min(int(4 * np.sqrt(rows)), rows // 39))
        return replace(self, lists=lists, m=(self.m or _pieces(dim)) if self.type == "ivfpq" else None)

    def described(self) -> dict[str, Any]:
        """Return what the bytes depend on."""
        return {
            name: value for name, value in asdict(self).items() if value is not None and name != "threads"
        }


def _pieces(dim: int) -> int:
    """Return the largest divisor of ``dim`` that is at most a quarter of it."""
    return max(piece for piece in range(1, max(1, dim // 4) + 1) if dim % piece == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HnswChoices:
    """``--set`` of an hnsw index to build; faiss ends with a segmentation fault on ``m=1``."""

    m: int | None = option(None, least=2, most=512)
    ef_construction: int | None = option(None, least=1, most=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class IvfChoices:
    """``--set`` of an ivf index to build."""

    lists: int | None = option(None, least=1, most=1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class IvfPqChoices:
    """``--set`` of an ivfpq index to build."""

    lists: int | None = option(None, least=1, most=1 << 30)
    m: int | None = option(None, least=1, most=1 << 16)


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


def options(name: str, settings: Mapping[str, Any], threads: int) -> AnnOptions:
    """Return the options of a build from ``--set``.

    Raises:
        UsageError: a name that the type does not have, or a value out of bounds.
    """
    chosen: Any = read_settings(BUILT[name], settings, f"building an index of type {name}")
    return AnnOptions(type=name, threads=threads, **asdict(chosen))


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
        passages: the stored vectors and ids.
        faiss_index: faiss's own.
        manifest: of the folder.
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
        """Fill ``kept`` with the best of the candidates that faiss proposes among all rows."""
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
        options.after_block(rows[1], kept)
        return kept

    def _keep(self, queries: NDArray[np.float32], proposed: NDArray[np.int64], kept: TopK) -> None:
        """Score the proposed rows, [Q, C] with -1 where there is none, from the stored vectors."""
        used = np.unique(proposed[proposed >= 0])
        vectors = self.passages.gather(used).values
        wide, k = widened(queries), kept.scores.shape[1]
        for query, found in enumerate(proposed):
            rows = np.unique(found[found >= 0])
            places = np.searchsorted(used, rows).astype(np.int32)
            offsets = np.array([0, len(rows)], dtype=np.int64)
            scores = dot_pairs(vectors, wide[query : query + 1], offsets, places)
            # ascending, so that the worst stands on top as in every heap
            best = top_k(scores, np.asarray(self.passages.ranks[rows]), k)[::-1]
            kept.sizes[query] = len(best)
            kept.rows[query, : len(best)], kept.scores[query, : len(best)] = rows[best], scores[best]


def open_index(folder: Path, *, full: bool = False, settings: Mapping[str, Any] | None = None) -> AnnIndex:
    """Return the index at ``folder``.

    Args:
        folder: what `build` wrote.
        full: hash every file again.
        settings: ``ef_search`` or ``probes``, and ``candidates``.

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


def stage_of(embeddings: Embeddings, output: Path, options: AnnOptions, *, force: bool = False) -> Stage:
    """Return the index's stage; its options depend on how many passages there are."""
    filled = options.filled(embeddings.rows, embeddings.vectors.dim)
    name, inputs = f"index-{filled.type}", described_inputs(embeddings)
    return Stage(output, "folder", name, VERSION, filled.described(), inputs, force)


def build(
    embeddings: Embeddings,
    output: Path,
    options: AnnOptions,
    *,
    force: bool = False,
    progress: Progress,
    signals: Signals,
) -> Manifest:
    """Write the index of the embeddings at ``output`` and return its manifest.

    Memory: hnsw 2 bytes a number and 8 bytes a link; ivf 2 bytes a number; ivfpq ``m`` bytes a passage.

    Raises:
        PreconditionError: faiss is missing; ``output`` holds something else.
        UsageError: ``m`` does not divide the dimensions (ivfpq).
        Interrupted: a signal came; the same command begins again.
    """
    faiss = load_faiss()
    passages = Passages(embeddings)
    filled = options.filled(passages.rows, passages.dim)
    _check_size(filled, options, passages, progress)
    stage = stage_of(embeddings, output, options, force=force)
    if stage.up_to_date():
        return read_manifest(stage.manifest_file)
    make_folder(output)
    with recorded_state(stage.manifest_file, stage.name, stage.fingerprint):
        with stage.write(RANKS) as file:
            write_ranks([text_id for entry in embeddings.shards for text_id in entry.ids()], file)
        index = _made(faiss, filled, passages, (progress, signals))
        with stage.write(FILE) as file:  # by its own name faiss loses the error of the last bytes
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
    counts = {"rows": passages.rows, "dim": passages.dim}
    return stage.commit(counts=counts, extra={"embeddings": relative_folder(embeddings.folder, output)})


def _check_size(filled: AnnOptions, asked: AnnOptions, passages: Passages, progress: Progress) -> None:
    """Refuse what so many passages of so many dimensions cannot fill.

    Raises:
        UsageError: more lists than passages; ``m`` does not divide the dimensions.
        PreconditionError: too few passages for the codes of ivfpq.
    """
    rows, dim, lists = passages.rows, passages.dim, filled.lists or 1
    if filled.type == "ivfpq" and rows < CODES:
        raise PreconditionError(
            f"an index of type ivfpq learns {CODES} codes and needs as many passages; there are {rows:,}: "
            "take --type flat, which is exact"
        )
    if filled.type == "ivfpq" and dim % (filled.m or 1):
        raise UsageError(f"--set m={filled.m}: it must divide the {dim} dimensions")
    if asked.lists and lists > max(1, rows):
        raise UsageError(f"--set lists={lists}: there are {rows:,} passages; give at most one list each")
    if asked.lists and lists > max(1, rows // 39):
        progress.note(
            f"{lists:,} lists of {rows:,} passages hold fewer than 39 each, too few to place them well"
        )


def _made(faiss: Any, options: AnnOptions, passages: Passages, watch: tuple[Progress, Signals]) -> Any:
    """Return the filled index of faiss."""
    progress, signals = watch
    dim, product = passages.dim, faiss.METRIC_INNER_PRODUCT
    half = faiss.ScalarQuantizer.QT_fp16
    if options.type == "hnsw":
        faiss.omp_set_num_threads(1)
        index = faiss.IndexHNSWSQ(dim, half, options.m, product)
        index.hnsw.efConstruction = options.ef_construction
    else:
        faiss.omp_set_num_threads(options.threads)
        cells = faiss.IndexFlatIP(dim)
        if options.type == "ivf":
            index = faiss.IndexIVFScalarQuantizer(cells, dim, options.lists, half, product)
        else:
            index = faiss.IndexIVFPQ(cells, dim, options.lists, options.m, 8, product)
        cells.this.disown()
        index.own_fields = True
    if passages.rows and not index.is_trained:
        index.train(_sample(passages, options.lists or 256))
    step = LINKED_ROWS if options.type == "hnsw" else BLOCK_ROWS
    progress.start(f"index {options.type}", passages.rows, "passages")
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
