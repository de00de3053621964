"""What ``tokens`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import MODEL, Config
from dretrieve.options import REQUIRED, check, option


@dataclass(frozen=True, kw_only=True)
class TokensConfig(Config):
    """Template, pieces, ids, what is cut off; loads no weights.

    Examples:
        dretrieve tokens "How does list.sort compare?" --model minilm --side query
        dretrieve tokens "Return the sum." --title math.fsum --model work/model --json
    """

    text: str = option(REQUIRED, "The text.", argument=True)
    model: str = option(REQUIRED, "Folder, hub name or minilm.", aliases=("-m", *MODEL))
    side: Literal["query", "passage"] = option("passage", "Whose template and length.")
    title: str = option("", "A passage's title.")

    def __post_init__(self) -> None:
        check(self)
        if self.title and self.side == "query":
            raise UsageError("--title is of passages, and --side query has none; leave it out")
