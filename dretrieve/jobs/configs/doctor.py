"""What ``doctor`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import Config
from dretrieve.options import option


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(Config):
    """Exit code 3 when something required is missing.

    Examples:
        dretrieve doctor
        dretrieve doctor --json
    """

    folder: Path = option(Path(), "Whose disk to look at.")

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UsageError(f"--folder {self.folder} is no folder; name one that exists")
