"""The kinds of index, by the name that ``--type`` takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.index.base import RANKS, Passages, described_inputs
from dretrieve.options import read_settings
from dretrieve.order import id_ranks
from dretrieve.store.atomic import make_folder
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest, read_manifest
from dretrieve.store.npy import write_array
from dretrieve.store.stage import Stage
from dretrieve.store.state import recorded_state
from dretrieve.types import Progress


@dataclass(frozen=True, slots=True)
class IndexKind:
    """One kind.

    Attributes:
        module: of vectors: `VERSION`; `BUILT` and `SEARCHED`, the dataclasses of ``--set`` by kind;
            ``described(kind, choices, passages, progress)``, the options of its manifest;
            ``fill(stage, passages, threads, progress, signals)``, which writes its files;
            ``open_index(folder, full=, settings=)``; for exact kinds ``over_embeddings(embeddings,
            settings)``.
        source: what it is made from.
        line: for the help.
        many: whether it takes a vector per token.
    """

    module: str
    source: Literal["embeddings", "corpus"]
    line: str
    many: bool = False


KINDS: dict[str, IndexKind] = {
    "flat": IndexKind("dretrieve.index.flat", "embeddings", "exact; reads every passage in bytes"),
    "hnsw": IndexKind("dretrieve.index.ann", "embeddings", "approximate, a graph of neighbours; fast, large"),
    "ivf": IndexKind("dretrieve.index.ann", "embeddings", "approximate, cells; as large as the embeddings"),
    "ivfpq": IndexKind("dretrieve.index.ann", "embeddings", "approximate, cells of short codes; small"),
    "token": IndexKind("dretrieve.index.token", "embeddings", "exact, over a vector per token", many=True),
    "bm25": IndexKind("dretrieve.bm25.backends", "corpus", "exact BM25 over words, scores as Lucene's"),
}


def kind_named(name: str) -> IndexKind:
    """Return the kind of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in KINDS:
        raise UsageError(f"there is no index of type '{name}'; there are {', '.join(KINDS)}")
    return KINDS[name]


def kind_at(path: Path) -> str:
    """Return the kind of the finished index at ``path``; of embeddings, the exact kind that takes them.

    Raises:
        PreconditionError: nothing finished stands there.
        VerificationError: something else does.
    """
    if not path.is_dir():
        raise PreconditionError(
            f"{path} is no folder; give --index what `dretrieve index` or `dretrieve encode` wrote"
        )
    file = path / "manifest.json"
    if not file.exists() and (shard := next(path.glob("shard-*.manifest.json"), None)):
        return "token" if read_manifest(shard).options["vectors"]["kind"] == "many" else "flat"
    if not file.exists():
        raise PreconditionError(
            f"{path} holds no finished index and no finished embeddings; run the `dretrieve index` or "
            "`dretrieve encode` that makes it (again)"
        )
    stage = read_manifest(file).stage
    name = stage.removeprefix("index-")
    if name not in KINDS or name == stage:
        raise VerificationError(f"{path} was made by '{stage}'; --index takes an index or embeddings")
    return name


def search_settings(path: Path) -> tuple[str, ...]:
    """Return the names of what a search in the index of vectors at ``path`` leaves open."""
    kind = kind_at(path)
    return tuple(field.name for field in fields(import_module(KINDS[kind].module).SEARCHED[kind]))


def open_vector_index(path: Path, *, full: bool = False, settings: Mapping[str, Any] | None = None) -> Any:
    """Return the `VectorIndex` at ``path``: an index over embeddings, or the embeddings themselves.

    Args:
        path: a folder.
        full: hash every file again.
        settings: the search options of an approximate index (``--set``).
    """
    module = import_module(KINDS[kind_at(path)].module)
    if (path / "manifest.json").exists():
        return module.open_index(path, full=full, settings=settings)
    return module.over_embeddings(Embeddings.open(path, full=full), settings)


def plan_index(
    kind: str,
    embeddings: Embeddings,
    output: Path,
    settings: Mapping[str, Any],
    *,
    force: bool = False,
    progress: Progress,
) -> tuple[Stage, Passages]:
    """Return the stage of an index of vectors and what it is made of; nothing is written.

    Raises:
        UsageError: a setting that the kind does not have, or that does not fit the passages.
        PreconditionError: an extra is missing, or there are too few passages.
        VerificationError: embeddings that the kind does not take.
    """
    module = import_module(KINDS[kind].module)
    choices = read_settings(module.BUILT[kind], settings, f"building an index of type {kind}")
    passages = Passages(embeddings, many=KINDS[kind].many)
    options = module.described(kind, choices, passages, progress)
    inputs = described_inputs(embeddings)
    return Stage(output, "folder", f"index-{kind}", module.VERSION, options, inputs, force), passages


def build_index(
    stage: Stage, passages: Passages, *, threads: int = 1, progress: Progress, signals: Signals
) -> Manifest:
    """Write what `plan_index` planned: the ids' order, the kind's files, the manifest, which is returned.

    Raises:
        DataError: a vector holds NaN or infinity.
        PreconditionError: the output holds something else.
        Interrupted: a signal came; the same command begins again.
    """
    if stage.up_to_date():
        return stage.existing()
    make_folder(stage.output)
    embeddings = passages.embeddings
    with recorded_state(stage.manifest_file, stage.name, stage.fingerprint):
        with stage.write(RANKS) as file:
            write_array(file, id_ranks(embeddings.ids()))
        signals.check()
        module = import_module(KINDS[stage.name.removeprefix("index-")].module)
        module.fill(stage, passages, threads, progress, signals)
    # relative to the index, so that both can move together
    place = Path(os.path.relpath(embeddings.folder.resolve(), stage.output.resolve())).as_posix()
    return stage.commit({"rows": passages.rows, "dim": passages.dim}, {"embeddings": place})
