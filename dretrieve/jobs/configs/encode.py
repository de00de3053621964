"""What ``encode`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import (
    COMPUTE,
    MODEL,
    QUERIES,
    Choosing,
    Computing,
    ReadingTopics,
    Verifying,
    Writing,
)
from dretrieve.options import REQUIRED, check, option

INPUT = "Input"


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(Writing, ReadingTopics, Computing, Choosing, Verifying):
    """Finished shards are found up to date, an interrupted one goes on where it was.

    Examples:
        dretrieve encode --model minilm --corpus work/pydocs --output work/emb
        dretrieve encode --model minilm --queries work/pydocs:test --output work/queries
        dretrieve encode --model minilm --corpus work/wiki --output work/emb --shard 3/16
    """

    model: str = option(
        REQUIRED,
        "A model's folder, a hub name, or minilm.",
        panel=INPUT,
        aliases=("-m", *MODEL, "--encoder"),
    )
    corpus: str | None = option(None, "Encode its passages.", panel=INPUT, metavar="DIR")
    queries: str | None = option(
        None, "Encode its queries.", panel=INPUT, metavar="DIR[:split]", aliases=QUERIES
    )
    shard: str | None = option(
        None,
        "Do part I (from 0) of N only; array/N takes I from the job array.",
        panel=COMPUTE,
        metavar="I/N",
    )
    devices: str | None = option(None, "all, or cuda:0,cuda:1: one process each.", panel=COMPUTE)
    dtype: Literal["float16", "float32"] = option("float16", "Numbers on disk.", panel=COMPUTE)

    def __post_init__(self) -> None:
        check(self)
        if self.topic_field and self.queries is None:
            raise UsageError("--topic-field goes with --queries: passages have their text")
