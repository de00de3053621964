"""The table of foreign checkpoint forms, free of torch: adding one is a file here and a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from dretrieve.errors import UsageError

if TYPE_CHECKING:
    from dretrieve.models.base import Method
    from dretrieve.models.foreign.t5 import WholeT5


@dataclass(frozen=True, slots=True)
class Form:
    """A form: its module in this package, what writes it, and a pattern of further files beside its file.

    One that is a ``folder`` holds configuration and tokenizer too: its `convert` takes it, and no backbone.
    """

    module: str
    text: str
    beside: str = ""
    folder: bool = False

    def convert(self) -> Callable[..., Method | WholeT5]:
        """Return the function (imports torch) from a checkpoint and a backbone's name to the method.

        Weights are the checkpoint's, configuration and tokenizer the backbone's.
        """
        found: Callable[..., Method | WholeT5] = import_module(
            f"dretrieve.models.foreign.{self.module}"
        ).convert
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
    "t5": Form("t5", "any T5, a folder with pickled weights; it becomes a --backbone", folder=True),
    "reatt": Form("reatt", "jzbjyb/ReAtt, a folder (neulab/reatt-large-nq)", folder=True),
}

# Folders of other tools that a model is written as.
FOLDERS = {"pylate": "PyLate, sentence-transformers", "stanford": "ColBERT's authors"}


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
