"""EM and F1 of a reader's answers, with SQuAD's normalisation (Rajpurkar et al., EMNLP 2016).

Both texts are lower-cased, stripped of ASCII punctuation and of the words a, an, the, and blanks are
squeezed. EM is 1 when they are then equal; F1 is the harmonic mean of precision and recall over the words
as a bag. The best value over a question's answers counts.

Where the answers are regular expressions (CuratedTREC), EM is 1 when one of them matches from the beginning
of the prediction on (DrQA's ``regex_match_score``; Chen et al., ACL 2017), and there is no F1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from dretrieve.metrics.answers import compile_answer, normalized

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_normalized(text: str) -> str:
    """Return the text as SQuAD's evaluation compares it."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(NO_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1 if the prediction equals one of ``answers`` after normalisation, else 0."""
    wanted = squad_normalized(prediction)
    return float(any(wanted == squad_normalized(answer) for answer in answers))


def pattern_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1 if one of these regular expressions matches from the prediction's beginning on, else 0."""
    text, patterns = normalized(prediction.strip()), map(compile_answer, answers)
    return float(any(pattern is not None and pattern.match(text) is not None for pattern in patterns))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Return the best word overlap with one of ``answers``: 0 to 1; 0 for a prediction without words."""
    return max(
        (_overlap(squad_normalized(prediction), squad_normalized(answer)) for answer in answers), default=0.0
    )


def _overlap(prediction: str, answer: str) -> float:
    words, wanted = prediction.split(), answer.split()
    same = sum((Counter(words) & Counter(wanted)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(words), same / len(wanted)
    return 2 * precision * recall / (precision + recall)
