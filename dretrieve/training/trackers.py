"""Training curves sent to a tracker while the run goes on (``--report-to``); nothing by default.

Each tracker is a library that the user installed; it is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from dretrieve.errors import PreconditionError, UsageError


class Tracker(Protocol):
    """Takes numbers by name at a step."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record them."""
        ...

    def close(self) -> None:
        """Flush."""
        ...


class TensorBoard:
    """Event files in ``<output>/tensorboard``."""

    def __init__(self, folder: Path, name: str) -> None:
        module = _library("torch.utils.tensorboard", "tensorboard")
        self._writer: Any = module.SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record them."""
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        """Flush."""
        self._writer.close()


class WeightsAndBiases:
    """A run named after the output folder, in the project and mode that wandb's own variables say."""

    def __init__(self, folder: Path, name: str) -> None:
        self._run: Any = _library("wandb", "wandb").init(name=name, dir=str(folder), resume="allow", id=name)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record them."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Flush."""
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, str], Tracker]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def open_trackers(names: Sequence[str], folder: Path) -> list[Tracker]:
    """Return the trackers of those names; ``none`` is no tracker.

    Raises:
        UsageError: an unknown name.
        PreconditionError: its library is not installed.
    """
    wanted = [name for name in names if name != "none"]
    for name in wanted:
        if name not in TRACKERS:
            raise UsageError(f"--report-to {name} is unknown; choose from {', '.join(TRACKERS)} or none")
    return [TRACKERS[name](folder, folder.name) for name in wanted]


def _library(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise PreconditionError(
            f"--report-to {package} needs the package {package}, which is not installed; "
            f"pip install {package}, or leave the option out"
        ) from error
