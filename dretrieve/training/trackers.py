"""Training curves sent to a tracker while the run goes on (``--report-to``); nothing by default.

Each tracker is a library that the user installed; it is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dretrieve.errors import PreconditionError, UsageError


@dataclass(frozen=True, slots=True)
class Tracker:
    """``log`` takes numbers by name at a step, ``close`` flushes."""

    log: Callable[[int, Mapping[str, float]], None]
    close: Callable[[], None]


def open_trackers(names: Sequence[str], folder: Path, training: str) -> list[Tracker]:
    """Return the trackers of those names; ``none`` is no tracker.

    ``training`` is its fingerprint: a resumed one goes on with its run, another in that folder does not.

    Raises:
        UsageError: an unknown name.
        PreconditionError: its library is not installed.
    """
    wanted = [name for name in names if name != "none"]
    for name in wanted:
        if name not in TRACKERS:
            raise UsageError(f"--report-to {name} is unknown; choose from {', '.join(TRACKERS)} or none")
    return [TRACKERS[name](folder, training) for name in wanted]


def _tensorboard(folder: Path, _: str) -> Tracker:
    """Write event files in ``<output>/tensorboard``."""
    writer = _library("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def log(step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            writer.add_scalar(key, value, step)

    return Tracker(log, writer.close)


def _wandb(folder: Path, training: str) -> Tracker:
    """Begin a run named after the output folder, in the project and mode that wandb's own variables say."""
    own = {"name": folder.name, "id": f"{folder.name}-{training[:12]}"}
    run = _library("wandb", "wandb").init(**own, dir=str(folder), resume="allow")
    return Tracker(lambda step, values: run.log(dict(values), step=step), run.finish)


def _library(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise PreconditionError(
            f"--report-to {package} needs the package {package}, which is not installed; "
            f"pip install {package}, or leave the option out"
        ) from error


TRACKERS: dict[str, Callable[[Path, str], Tracker]] = {"tensorboard": _tensorboard, "wandb": _wandb}
