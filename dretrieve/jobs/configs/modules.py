"""What ``modules`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import Careful
from dretrieve.options import REQUIRED, check, option

# What stands behind MODEL, and how often at least and at most.
TAKES = {
    "list": ("FILE…", 0, None),
    "export": ("DOMAIN", 1, 1),
    "add": ("FILE…", 1, None),
    "remove": ("DOMAIN", 1, 1),
}


@dataclass(frozen=True, kw_only=True)
class ModulesConfig(Careful):
    """A domain of a ddr model is a file of its own, trained on the model's encoder and general prefix.

    list shows a model's domains, and whether FILE… would fit; export writes one domain's file; add and remove
    write the model with more and with fewer domains. Its passages' vectors and indexes stay valid.

    Examples:
        dretrieve modules list work/ddr
        dretrieve modules export work/ddr medical --output work/medical.safetensors
        dretrieve modules remove work/ddr medical --output work/without
        dretrieve modules add work/without work/medical.safetensors --output work/again
    """

    action: str = option(REQUIRED, "What to do.", argument=True, legal=tuple(TAKES), flag="modules")
    model: str = option(REQUIRED, "A ddr model's folder.", argument=True)
    of: tuple[str, ...] = option((), "A domain's name, or files.", argument=True, metavar="DOMAIN|FILE")
    output: Path | None = option(None, "Where the result goes.", aliases=("-o",))

    def __post_init__(self) -> None:
        check(self)
        what, least, most = TAKES[self.action]
        if len(self.of) < least or len(self.of) > (most or len(self.of)):
            raise UsageError(
                f"modules {self.action} {self.model} takes {what} behind the model, not "
                f"{' '.join(self.of) or 'nothing'}"
            )
        if self.action == "list" and self.output is not None:
            raise UsageError("modules list writes nothing; leave --output out")
        if self.action != "list" and self.output is None:
            raise UsageError(f"modules {self.action} needs --output: where the result goes")
