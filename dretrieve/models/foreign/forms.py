"""The table of foreign checkpoint forms, free of torch: adding one is a file here and a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from dretrieve.errors import UsageError

if TYPE_CHECKING:
    from dretrieve.models.base import Method
    from dretrieve.models.foreign.checkpoint import ForeignCheckpoint


@dataclass(frozen=True, slots=True)
class Form:
    """A form: its module in this package, what writes it, and a pattern of further files beside its file."""

    module: str
    text: str
    beside: str = ""

    def convert(self) -> Callable[[ForeignCheckpoint, str], Method]:
        """Return the function (imports torch) from a checkpoint and a backbone's name to the method.

        Weights are the checkpoint's, configuration and tokenizer the backbone's.
        """
        found: Callable[..., Method] = import_module(f"dretrieve.models.foreign.{self.module}").convert
        return found


FORMS: dict[str, Form] = {
    "dpr": Form("dpr", "facebookresearch/DPR, an encoder for each side"),
    "taser": Form("taser", "microsoft/taser, one encoder with fixed experts"),
    "sb-moe": Form("sb_moe", "FaySokli/SB-MoE, one encoder and a block of experts"),
    "ddr": Form(
        "ddr",
        "FreedomIntelligence/REMOP, general_state_dict.prompt and the domains' beside it",
        "lm_q_attribute_*.prompt",
    ),
}


def find(name: str) -> Form:
    """Return the form of that name.

    Raises:
        UsageError: there is none; the message lists them.
    """
    form = FORMS.get(name.lower())
    if form is None:
        known = "; ".join(f"{key} ({entry.text})" for key, entry in FORMS.items())
        raise UsageError(f"--from {name} is unknown; there are {known}")
    return form
