"""topK: the share of questions with an answer in one of the first K passages (DPR's "top-k accuracy").

Karpukhin et al., EMNLP 2020; also called R@K in the open-domain papers, and not the recall of judged
passages. What "an answer in a passage" means is `dretrieve.metrics.answers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, UsageError, quoted
from dretrieve.metrics.answers import Answers
from dretrieve.types import Run

GRAMMAR = re.compile(r"(?:top|accuracy|acc)[-_.@]?(\d+)", re.IGNORECASE)


def parse_top_k(text: str) -> list[int]:
    """Return the cutoffs of ``"top20 top100"``, each once, in their order.

    Raises:
        UsageError: words that are no such measure (all of them at once).
    """
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    matches = [GRAMMAR.fullmatch(word) for word in words]
    wrong = [word for word, match in zip(words, matches, strict=True) if match is None or int(match[1]) < 1]
    if wrong or not words:
        raise UsageError(
            f"{', '.join(wrong) or 'nothing'} is no measure of answers; with --answers the measures are "
            "top1, top5, top20, top100 (any number from 1); nDCG@10 and the like need --qrels"
        )
    return list(dict.fromkeys(int(match[1]) for match in matches if match is not None))


def first_answer_ranks(
    run: Run,
    query_ids: Sequence[str],
    answers: Sequence[Answers],
    text_of: Callable[[str], str | None],
    depth: int,
) -> NDArray[np.int64]:
    """Return each question's rank of the first passage that holds an answer, 0 if none of ``depth`` does.

    Args:
        run: the hits.
        query_ids: [Q] the questions; those absent from the run have no hits.
        answers: [Q].
        text_of: a passage's text by id, None when the corpus lacks it.
        depth: passages looked at.

    Raises:
        DataError: the run names a passage that the corpus lacks.
    """
    rows = {query_id: row for row, query_id in enumerate(run.query_ids)}
    ranks = np.zeros(len(query_ids), dtype=np.int64)
    for position, query_id in enumerate(query_ids):
        row = rows.get(query_id)
        if row is None or not answers[position]:
            continue
        start, stop = int(run.offsets[row]), int(run.offsets[row + 1])
        for rank, hit in enumerate(range(start, min(stop, start + depth)), 1):
            passage_id = run.passage_ids[int(run.passages[hit])]
            if answers[position].found_in(known_text(text_of, passage_id)):
                ranks[position] = rank
                break
    return ranks


def known_text(text_of: Callable[[str], str | None], passage_id: str) -> str:
    """Return the text of a hit.

    Raises:
        DataError: the corpus lacks it.
    """
    text = text_of(passage_id)
    if text is None:
        raise DataError(
            f"the run's passage {quoted(passage_id)} is not in the corpus; "
            "give the --corpus that was searched"
        )
    return text


def top_k(ranks: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Return 1 for questions answered within ``k`` passages, else 0: [Q]."""
    return ((ranks > 0) & (ranks <= k)).astype(np.float64)
