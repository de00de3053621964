"""A finished token index is changed: passages of further embeddings come in, deleted ones go.

Codes that stand are kept, and those of added passages are made with the centroids that stand. The changed
index is made whole in a folder inside the index and then takes its place, so that a kill at any moment leaves
the index as it was, or one that the same command finishes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, PreconditionError, UsageError, VerificationError
from dretrieve.index.base import Passages, described_inputs, open_embeddings, places_of, write_ranks
from dretrieve.index.token_build import Kept, filled, write_clusters, write_codes
from dretrieve.index.token_clusters import Clusters
from dretrieve.index.token_codes import open_codes
from dretrieve.index.token_prune import RAREST, Keep, seen_by
from dretrieve.index.token_tuning import keep_tuned
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.fingerprint import sha256_bytes
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest, manifest_path, provenance_path, read_manifest
from dretrieve.store.npy import map_array, write_array
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.types import Progress

REMOVED = "removed.npy"
CHANGED = ".changed"


@dataclass(frozen=True, slots=True)
class Change:
    """A changed index that is to be made.

    Attributes:
        stage: of the changed index, in a folder inside.
        passages: those that it will have.
        kept: which of the passages that it has stay, [rows] bool.
        removed: ascending rows of all its embeddings that it leaves out.
        places: of its embeddings, relative to the index.
    """

    output: Path
    stage: Stage
    passages: Passages
    kept: NDArray[np.bool_]
    removed: NDArray[np.int64]
    places: Sequence[str]

    def make(self, threads: int, progress: Progress, signals: Signals) -> Manifest:
        """Make the changed index, put it in place, return its manifest.

        Raises:
            DataError: an added vector holds NaN or infinity.
            Interrupted: a signal came; the same command goes on.
        """
        stage, passages = self.stage, self.passages
        if not stage.up_to_date():
            write_ranks(stage, passages)
            if len(self.removed):
                with stage.write(REMOVED) as file:
                    write_array(file, self.removed)
            if "bits" in stage.options:
                clusters = Clusters.open(self.output)
                write_clusters(stage, clusters)
                codes = open_codes(self.output)
                edges = np.diff(np.concatenate([[0], self.kept, [0]]).astype(np.int8))
                runs = np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
                kept = Kept(codes, int(np.count_nonzero(self.kept)), codes.borders[runs])
                write_codes(stage, passages, clusters, None, threads, progress, signals, kept)
            keep_tuned(stage, self.output)
            counts, extra = filled(passages, stage.options.get("bits"))
            places = {"embeddings": self.places[0], "added": list(self.places[1:])}
            stage.commit({"rows": passages.rows, "dim": passages.dim, **counts}, {**places, **extra})
        _put_in_place(self.output)
        return open_artefact(self.output)


def removed_rows(folder: Path, manifest: Manifest) -> NDArray[np.int64]:
    """Return the ascending rows of an index's embeddings that it leaves out."""
    return map_array(folder / REMOVED) if "removed" in manifest.options else np.empty(0, np.int64)


def plan_change(
    output: Path, embeddings: Embeddings, add: str | None, delete: str | None, *, look: bool = False
) -> Change | None:
    """Return what is to be made; None where all of it was done before.

    When the passages of ``delete``, a file of ids, one a line, have gone, those of ``add``, a folder of
    embeddings, come in; ``look`` changes nothing, for a dry run.

    Raises:
        PreconditionError: there is no finished index, or no file of ids.
        VerificationError: it was built over other embeddings; those added are of another model or kind.
        DataError: an id to delete that is not there, one to add that is there already.
    """
    if not look:
        _put_in_place(output)
    manifest = open_artefact(output, ("index-token",))
    if "alone" in manifest.options:
        raise UsageError(f"{output} stands alone, without the embeddings that a change needs; build it again")
    if manifest.options.get("keep_by") == RAREST:
        raise UsageError(
            f"{output} holds each passage's rarest tokens, and which these are depends on all passages; "
            "build it again"
        )
    places = places_of(manifest)
    if (output / places[0]).resolve() != embeddings.folder.resolve():
        raise VerificationError(
            f"{output} was built over {output / places[0]}, not over {embeddings.folder}; name the former as "
            "--embeddings"
        )
    before, removed = open_embeddings(output, manifest), removed_rows(output, manifest)
    folders = [(output / place).resolve() for place in places]
    if add is not None and Path(add).resolve() == folders[0]:
        raise UsageError(f"--set add={add}: {output} was built over these embeddings; give other ones")
    rows = np.setdiff1d(np.arange(before.rows), removed, assume_unique=True)
    present = Passages(before, many=True, without=removed)
    ids = present.every_id()
    gone = _deleted(Path(delete), ids, before, removed) if delete is not None else np.empty(0, np.int64)
    if add is not None and Path(add).resolve() in folders:
        # it is in; what was to go before it may not have gone, and what came since stays
        at = folders.index(Path(add).resolve())
        gone = gone[rows[gone] < sum(Embeddings.open(of).rows for of in folders[:at])]
        add = None
    kept = np.ones(present.rows, np.bool_)
    kept[gone] = False
    if add is None and kept.all():
        return None
    after = before
    if add is not None:
        added = Embeddings.open(Path(add))
        Passages(added, many=True)
        after = Embeddings.joined([before, added])
        _refuse_twice([ids[row] for row in np.flatnonzero(kept).tolist()], added)
        places = [*places, Path(os.path.relpath(Path(add).resolve(), output.resolve())).as_posix()]
    removed = np.union1d(removed, rows[~kept]).astype(np.int64)
    options = {name: value for name, value in manifest.options.items() if name != "removed"}
    if "bits" in options:
        options.setdefault("centroids", manifest.inputs["vectors"])
    if len(removed):
        options["removed"] = sha256_bytes(removed.tobytes())
    inputs = described_inputs(after)
    stage = Stage(output / CHANGED, "folder", manifest.stage, manifest.version, options, inputs, force=True)
    passages = seen_by(Passages(after, many=True, without=removed), Keep.of(options))
    return Change(output, stage, passages, kept, removed, places)


def drop_change(output: Path) -> None:
    """Remove what a killed change left of the index that was to take the place of one now built anew."""
    shutil.rmtree(output / CHANGED, ignore_errors=True)


def _put_in_place(output: Path) -> None:
    """Put a changed index in the place of the one that it stands in, where there is one that is whole."""
    changed = output / CHANGED
    manifest = manifest_path(changed)
    if not manifest.exists():
        return
    (output / manifest.name).unlink(missing_ok=True)
    # the manifest last: until then the same command comes here again, and finds the rest
    for name in (*read_manifest(manifest).files, provenance_path(manifest).name, manifest.name):
        if (changed / name).exists():
            (changed / name).replace(output / name)
    shutil.rmtree(changed)


def _deleted(
    file: Path, ids: Sequence[str], embeddings: Embeddings, removed: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the present rows of the ids in a file; those that were deleted before have none."""
    if not file.is_file():
        raise PreconditionError(f"--set delete={file}: there is no such file; give one with an id a line")
    wanted = [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    row_of = {text_id: row for row, text_id in enumerate(ids)}
    strange = [text_id for text_id in dict.fromkeys(wanted) if text_id not in row_of]
    if strange:
        every, gone = embeddings.ids(), set(removed.tolist())
        before = {every[row] for row in gone}
        unknown = [text_id for text_id in strange if text_id not in before]
        if unknown:
            raise DataError(
                f"{file} names {len(unknown):,} ids that the index does not have ({', '.join(unknown[:5])}); "
                "take them out"
            )
    return np.array(sorted({row_of[text_id] for text_id in wanted if text_id in row_of}), np.int64)


def _refuse_twice(ids: Sequence[str], added: Embeddings) -> None:
    there = set(ids)
    twice = [text_id for text_id in added.ids() if text_id in there]
    if twice:
        raise DataError(
            f"{added.folder} has {len(twice):,} ids that the index has already ({', '.join(twice[:5])}); "
            "delete these in the same command (--set delete=FILE), or leave them out"
        )
