"""The kinds of index, by the name that ``--type`` takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.index.base import Filled, Passages, described_inputs, open_embeddings
from dretrieve.options import read_settings
from dretrieve.store.atomic import make_folder
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest, manifest_path, read_manifest
from dretrieve.store.parts import tiling_parts, whole_of
from dretrieve.store.shards import shard_rows
from dretrieve.store.stage import Made, Planned, Stage, open_artefact
from dretrieve.store.state import alone_in, recorded_state
from dretrieve.types import Progress


@dataclass(frozen=True, slots=True)
class IndexKind:
    """One kind.

    Attributes:
        module: of vectors: `VERSION`; `BUILT` and `SEARCHED`, the dataclasses of ``--set`` by kind;
            ``described(kind, choices, passages, progress)``, the options of its manifest;
            ``fill(stage, passages, choices, threads, progress, signals)``, which writes its files and returns
            a `Filled`; ``open_index(folder, full=, settings=)``; for exact kinds
            ``over_embeddings(embeddings, settings)``; for kinds in parts ``join(stage, passages, parts,
            signals)``, which fills from finished parts (folder and manifest, in the order of their rows); for
            kinds with changes ``change(output, embeddings, choices, look=)``, which plans one.
        source: what it is made from.
        many: whether it takes a vector per token.
        in_parts: whether ``--shard I/N`` builds a part of it.
        changes: the settings that change a finished index.
    """

    module: str
    source: Literal["embeddings", "corpus"]
    many: bool = False
    in_parts: bool = False
    changes: tuple[str, ...] = ()


KINDS: dict[str, IndexKind] = {
    "flat": IndexKind("dretrieve.index.flat", "embeddings"),
    "hnsw": IndexKind("dretrieve.index.ann", "embeddings"),
    "ivf": IndexKind("dretrieve.index.ann", "embeddings"),
    "ivfpq": IndexKind("dretrieve.index.ann", "embeddings"),
    "token": IndexKind(
        "dretrieve.index.token", "embeddings", many=True, in_parts=True, changes=("add", "delete")
    ),
    "bm25": IndexKind("dretrieve.bm25.backends", "corpus"),
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

    Raises:
        UsageError: an index of words.
    """
    kind = kind_at(path)
    if KINDS[kind].source == "corpus":
        raise UsageError(f"{path} is an index of type {kind}, of words; give one over embeddings")
    module = import_module(KINDS[kind].module)
    if (path / "manifest.json").exists():
        return module.open_index(path, full=full, settings=settings)
    return module.over_embeddings(Embeddings.open(path, full=full), settings)


def plan_index(
    kind: str,
    embeddings: Embeddings,
    output: Path,
    settings: Mapping[str, Any],
    *,
    shard: tuple[int, int] | None = None,
    force: bool = False,
    progress: Progress,
) -> tuple[Stage, Passages, Any]:
    """Return the stage of an index of vectors, what it is made of, the kind's choices; nothing is written.

    Raises:
        UsageError: a setting that the kind does not have, or that does not fit the passages; a shard of
            a kind that is built whole.
        PreconditionError: an extra is missing, or there are too few passages.
        VerificationError: embeddings that the kind does not take.
    """
    if shard is not None and not KINDS[kind].in_parts:
        raise UsageError(f"an index of type {kind} is built whole; leave --shard away")
    module, choices = _chosen(kind, settings)
    passages = Passages(embeddings, many=KINDS[kind].many)
    options = module.described(kind, choices, passages, progress)
    if shard is not None:
        options["shard"] = asdict(shard_rows(passages.rows, *shard))
    inputs = described_inputs(embeddings)
    return Stage(output, "folder", f"index-{kind}", module.VERSION, options, inputs, force), passages, choices


def build_index(
    stage: Stage,
    passages: Passages,
    choices: Any,
    *,
    threads: int = 1,
    progress: Progress,
    signals: Signals,
) -> Manifest:
    """Write what `plan_index` planned: the kind's files, the manifest, which is returned.

    Raises:
        DataError: a vector holds NaN or infinity.
        PreconditionError: the output holds something else.
        Interrupted: a signal came; the same command begins again, or goes on.
    """
    module = _module_of(stage)
    return _made(stage, passages, lambda: module.fill(stage, passages, choices, threads, progress, signals))


def plan_merge(
    folders: Sequence[Path], output: Path, *, full: bool = False, force: bool = False
) -> tuple[Stage, Passages, list[tuple[Path, Manifest]]]:
    """Return the stage of the index that parts add up to, what it is made of, the parts in order.

    Raises:
        PreconditionError: a part is missing.
        VerificationError: no parts, or parts of different indexes; overlapping parts; changed bytes.
    """
    stages = tuple(f"index-{name}" for name, kind in KINDS.items() if kind.in_parts)
    found = [(folder, open_artefact(folder, stages, full=full)) for folder in folders]
    parts = tiling_parts(found, "index, not a part made by index", "indexes", where="the list of parts")
    first_folder, first = found[0]
    kind = first.stage.removeprefix("index-")
    passages = Passages(open_embeddings(first_folder, first, full=full), many=KINDS[kind].many)
    whole = whole_of(first)
    stage = Stage(output, "folder", whole.stage, whole.version, whole.options, whole.inputs, force)
    return stage, passages, parts


def merge_index(
    stage: Stage, passages: Passages, parts: Sequence[tuple[Path, Manifest]], signals: Signals
) -> Manifest:
    """Write what `plan_merge` planned, the bytes of one process, and return the manifest.

    Raises:
        VerificationError: the parts were made in different ways.
        PreconditionError: the output holds something else.
        Interrupted: a signal came; the same command begins again.
    """
    return _made(stage, passages, lambda: _module_of(stage).join(stage, passages, parts, signals))


def change_index(
    kind: str,
    embeddings: Embeddings,
    output: Path,
    settings: Mapping[str, Any],
    *,
    dry_run: bool = False,
    threads: int = 1,
    progress: Progress,
    signals: Signals,
) -> Made | Planned:
    """Change a finished index as ``settings`` say (`IndexKind.changes`), or say that it is as they say.

    Raises:
        UsageError: other settings.
        PreconditionError: there is no finished index, or another process changes it.
        VerificationError: it was built over other embeddings, or its bytes changed.
        DataError: the change does not fit what is there.
        Interrupted: a signal came; the same command goes on.
    """
    module, choices = _chosen(kind, settings)
    with alone_in(output) if output.is_dir() and not dry_run else nullcontext():
        change = module.change(output, embeddings, choices, look=dry_run)
        if dry_run:
            if change is None:
                return Planned(text=f"{output} is as the settings say")
            told = f"would change {output} to {change.passages.rows:,} passages"
            planned: Planned = change.stage.planned(told)
            return planned
        if change is None:
            return Made(output, "up to date", read_manifest(manifest_path(output)).counts, f"{kind} index")
        return Made(output, "changed", change.make(threads, progress, signals).counts, f"{kind} index")


def _made(stage: Stage, passages: Passages, fill: Callable[[], Filled]) -> Manifest:
    old = stage.standing_files()
    if stage.up_to_date():
        return stage.existing()
    make_folder(stage.output)
    with recorded_state(stage.manifest_file, stage.name, stage.fingerprint):
        counts, extra = fill()
        stage.remove_others(old)
    # relative to the index, so that both can move together
    folder = passages.embeddings.folder
    place = Path(os.path.relpath(folder.resolve(), stage.output.resolve())).as_posix()
    return stage.commit(
        {"rows": passages.rows, "dim": passages.dim, **counts}, {"embeddings": place, **extra}
    )


def _chosen(kind: str, settings: Mapping[str, Any]) -> tuple[ModuleType, Any]:
    """Return a kind's module, and its choices as they are set for building."""
    module = import_module(KINDS[kind].module)
    return module, read_settings(module.BUILT[kind], settings, f"building an index of type {kind}")


def _module_of(stage: Stage) -> ModuleType:
    return import_module(KINDS[stage.name.removeprefix("index-")].module)
