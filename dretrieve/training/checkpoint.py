"""Checkpoints: written aside, renamed with a manifest; the newest one that is intact is resumed.

A checkpoint is a folder ``step-00000100`` with ``model.safetensors``, ``optimizer.safetensors``,
``state.json`` (step, curve, best dev value) and ``manifest.json``, which names the training by its options
and inputs; a ``card.json`` makes it a model that `encode` takes (`models.loading`). Weights that no phase
trains are not in it: they are the backbone's, which the card names with its fingerprint, or drawn by the
seed. There is no pickle and no generator state: batches and dropout are functions of the step.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dretrieve.errors import DataError, DretrieveError, PreconditionError
from dretrieve.store.atomic import explained, folder_beside, sync, temporary_beside, write_json
from dretrieve.store.card import CARD, ModelCard
from dretrieve.store.leftovers import remove_leftovers
from dretrieve.store.manifest import Manifest, commit, read_manifest, read_verified
from dretrieve.store.stage import differences

STAGE = "checkpoint"
FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
Point = dict[str, float | int | str]


@dataclass(slots=True)
class Progressed:
    """How far training is: everything but the tensors."""

    phase: int = 0  # index of the phase that goes on
    step: int = 0  # steps done in that phase
    total: int = 0  # steps done in all phases
    window: list[float] = field(default_factory=list)  # losses since the last point of the curve
    curve: list[Point] = field(default_factory=list)  # a point per logged step, dev evaluation and warning
    best: float | None = None  # the best dev value so far, None before the first
    best_step: int = 0  # total steps at the best value
    worse: int = 0  # dev evaluations since the best
    stopped: bool = False  # patience ran out: the phase is over


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is read back."""

    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    state: Progressed


class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        card: gives the model's as it is now, which is written into every checkpoint; None writes none.
    """

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, Any],
        inputs: Mapping[str, str],
        *,
        keep: int,
        note: Callable[[str], None],
    ) -> None:
        self.folder, self._keep, self._note = folder, max(1, keep), note
        self.card: Callable[[], ModelCard] | None = None
        self._manifest = Manifest(stage=STAGE, version=1, options=options, inputs=inputs)

    def save(
        self, total: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: Progressed
    ) -> Path:
        """Write the checkpoint after ``total`` steps, remove those beyond ``keep``, return its folder."""
        path = self.folder / f"step-{total:08d}"
        with folder_beside(path) as aside:
            save_file(dict(model), aside / FILES[0])
            save_file(dict(optimizer), aside / FILES[1])
            write_json(aside / FILES[2], asdict(state))
            names: tuple[str, ...] = FILES
            if self.card is not None:
                self.card().with_hashes(aside, (FILES[0],)).save(aside)
                names = (*FILES, CARD)
            for name in names:
                sync(aside / name)
            manifest = replace(self._manifest, counts={"steps": total})
            commit(aside / "manifest.json", manifest, names)
            if path.exists():
                shutil.rmtree(path)
            os.replace(aside, path)
            sync(self.folder)
        others = [of for of in self.found() if of != path]  # a damaged one may be of more steps
        for old in others[self._keep - 1 :]:
            with explained(old):
                shutil.rmtree(old)
        return path

    def found(self) -> list[Path]:
        """Return the checkpoint folders, newest first, intact or not."""
        return sorted(self.folder.glob("step-*"), reverse=True)

    def is_ours(self, path: Path) -> bool:
        """Return whether that checkpoint belongs to this training (a damaged one counts as ours)."""
        try:
            return read_manifest(path / "manifest.json").fingerprint == self._manifest.fingerprint
        except DretrieveError:
            return True

    def refuse_others(self) -> None:
        """Refuse the checkpoints of another training before anything is done; as `newest`, which reads them.

        Raises:
            PreconditionError: the newest that names its training names another.
        """
        for path in self.found():
            try:
                manifest = read_manifest(path / "manifest.json")
            except DretrieveError:  # a damaged one, which `newest` passes over
                continue
            self._refuse(manifest)
            return

    def _refuse(self, manifest: Manifest) -> None:
        if manifest.fingerprint != self._manifest.fingerprint:
            raise PreconditionError(
                f"{self.folder} holds checkpoints of another training "
                f"({differences(manifest, self._manifest)}); use --force to start afresh or choose "
                "another --output"
            )

    def newest(self) -> Checkpoint | None:
        """Return the newest intact checkpoint, or None; each damaged one is said and passed over.

        Raises:
            PreconditionError: an intact one belongs to another training.
        """
        for path in self.found():
            try:
                manifest = read_verified(path / "manifest.json", full=True)
            except DretrieveError as error:
                self._note(f"checkpoint {path.name} is damaged ({error}); taking the one before it")
                continue
            self._refuse(manifest)
            state = Progressed(**json.loads((path / FILES[2]).read_bytes()))
            return Checkpoint(load_file(path / FILES[0]), load_file(path / FILES[1]), state)
        return None

    def finish(self, *, keep: bool) -> None:
        """Remove what only a training that goes on needs; with ``keep`` the checkpoints stay."""
        if not keep:
            self.clear()
            return
        for path in self._others():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def clear_unfinished(self, *, keep: bool) -> None:
        """Remove what a training that was killed after its commit had not removed yet; see `finish`."""
        if self._others():
            self.finish(keep=keep)
        remove_leftovers(self.folder.parent, [self.folder.name])

    def _others(self) -> set[Path]:
        """Return what stands in the folder beside checkpoints: token tables, the best weights."""
        return set(self.folder.iterdir()) - set(self.found()) if self.folder.is_dir() else set()

    def clear(self) -> None:
        """Remove all: renamed first, so that a killed removal leaves nothing that looks like a whole."""
        if self.folder.is_dir():
            aside = temporary_beside(self.folder)
            os.replace(self.folder, aside)
            shutil.rmtree(aside, ignore_errors=True)


def load_weights(
    model: nn.Module, weights: Mapping[str, Tensor], where: str, *, without: frozenset[str] = frozenset()
) -> None:
    """Put the weights into the module; those named in ``without`` may be absent and stay as they are.

    Raises:
        DataError: names or shapes are not the module's.
    """
    try:
        found = model.load_state_dict(dict(weights), strict=False)
        wrong = [*(set(found.missing_keys) - without), *found.unexpected_keys]
        first = f"{wrong[0]} is in one of them only" if wrong else ""
    except RuntimeError as error:
        first = str(error).splitlines()[0]
    if first:
        raise DataError(f"{where} does not fit this model: {first}; use --force to start afresh")
