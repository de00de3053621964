"""What ``encode`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import (
    COMPUTE,
    MODEL,
    QUERIES,
    Choosing,
    Computing,
    ReadingTopics,
    Sharded,
    Verifying,
    Writing,
    given,
)
from dretrieve.options import REQUIRED, check, option


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(Writing, ReadingTopics, Sharded, Computing, Choosing, Verifying):
    """Finished shards are found up to date, an interrupted one goes on where it was.

    Examples:
        dretrieve encode --model minilm --corpus work/pydocs --output work/emb
        dretrieve encode --model minilm --queries work/pydocs:test --output work/queries
        dretrieve encode --model minilm --corpus work/wiki --output work/emb --shard 3/16
        dretrieve encode --model sb-moe --embeddings work/emb --output work/emb-sb-moe
    """

    model: str = given(
        REQUIRED, "A model's folder, a hub name, or minilm.", aliases=("-m", *MODEL, "--encoder")
    )
    corpus: str | None = given(None, "Encode its passages.", metavar="DIR")
    queries: str | None = given(None, "Encode its queries.", metavar="DIR[:split]", aliases=QUERIES)
    embeddings: Path | None = given(
        None, "What the backbone gave for them, in the texts' place; of a model whose encoder is frozen."
    )
    devices: str | None = option(None, "all, or cuda:0,cuda:1: one process each.", panel=COMPUTE)
    dtype: Literal["float16", "float32"] = option("float16", "Numbers on disk.", panel=COMPUTE)

    def __post_init__(self) -> None:
        check(self)
        if self.topic_field and self.queries is None:
            raise UsageError("--topic-field goes with --queries: passages have their text")
        given = (self.corpus is not None) + (self.queries is not None)
        if given > 1 or (given == 0 and self.embeddings is None):
            raise UsageError(
                "encode needs exactly one of --corpus DIR and --queries DIR:split, or their --embeddings"
            )
        if self.embeddings is not None and self.devices:
            raise UsageError("--devices is for texts; what --embeddings goes through needs one: --device")
