"""What ``train`` is told: the options of every training, and the method's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dretrieve.jobs.configs.base import MODEL, Inner, Verifying, Writing
from dretrieve.models.config import MethodConfig
from dretrieve.models.registry import METHODS, find, methods, spelled
from dretrieve.options import REQUIRED, option
from dretrieve.training.options import TrainOptions

HELP = """METHOD on a backbone, with questions and the passages that answer them.

Methods: {methods}. An interrupted training goes on when the same command is given again.

Examples:
{examples}
    torchrun --nproc-per-node 8 -m dretrieve_cli train {name} {example}
"""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Writing, Verifying):
    """A method (by its name in `dretrieve.models.registry`) with its own options and those of all."""

    method: str = option(REQUIRED, "What to train.", argument=True, metavar="METHOD")
    method_config: MethodConfig
    backbone: str = option(
        REQUIRED,
        "What it stands on: minilm, a model's folder, a name of the hub.",
        aliases=("--model", *MODEL),
    )
    data: tuple[str, ...] = option(
        REQUIRED,
        "Questions and passages; repeat for several sets, of which each batch takes one. Keys: name, path, "
        "split, weight, corpus, sample, phase; run, depth, target of a method that reads (reatt); "
        "query_vectors, passage_vectors of a frozen encoder.",
        metavar="DIR:SPLIT | EX.jsonl | KEY=VALUE,…",
    )
    options: TrainOptions = field(default_factory=TrainOptions)

    @classmethod
    def inner(cls, words: Sequence[str]) -> Inner:
        """Return the options of the METHOD that is the first word.

        Raises:
            UsageError: no such method.
        """
        name = _method(words)
        return {"method_config": (find(name).config(), f"Method {spelled(name)}")} if name else {}

    @classmethod
    def help(cls, words: Sequence[str]) -> str:
        """Return the help, with the METHOD's example or one for each."""
        name = _method(words)
        chosen = {name: find(name)} if name else METHODS
        return HELP.format(
            methods="; ".join(f"{spelled(key)} ({entry.text})" for key, entry in methods().items()),
            examples="\n".join(
                f"    dretrieve train {spelled(key)} {entry.example}" for key, entry in chosen.items()
            ),
            name=name or "dpr",
            example=find(name or "dpr").example,
        )

    @classmethod
    def from_words(cls, given: dict[str, Any]) -> TrainConfig:
        """Return the config, the method under its own name."""
        return cls(**given | {"method": given["method"].replace("-", "_")})


def _method(words: Sequence[str]) -> str:
    return words[0] if words and not words[0].startswith("-") else ""
