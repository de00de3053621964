"""What ``ask`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dretrieve.jobs.configs.base import MODEL, Choosing, Computing, Verifying
from dretrieve.options import REQUIRED, option


@dataclass(frozen=True, kw_only=True)
class AskConfig(Choosing, Computing, Verifying):
    """The model searches with its own attention, reads the best passages at once, and answers.

    Under the answer stand the passages, with the share of the answer's attention that each one has, and in
    brackets the words that it looked at most.

    Examples:
        dretrieve ask "who founded Banu Korel" --model work/reatt --index work/index
        dretrieve ask "who founded Banu Korel" --model work/reatt --index work/index --depth 50 --json
    """

    question: str = option(REQUIRED, "The question.", argument=True)
    model: str = option(REQUIRED, "A reatt model's folder.", aliases=("-m", *MODEL))
    index: Path = option(
        REQUIRED, "An index that it encoded, or embeddings as they are.", aliases=("--passage-reps",)
    )
    corpus: tuple[str, ...] = option(
        (), "The passages' texts, if not where they were encoded; repeatable.", metavar="DIR"
    )
    depth: int = option(10, "Passages that are read.", least=1, aliases=("--hits",))
    beams: int = option(1, "Answers that are followed at once; 1 takes the likeliest token.", least=1)
