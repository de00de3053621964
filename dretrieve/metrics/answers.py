"""Does a passage hold an answer? DPR's rule, so that ``top20`` means what the open-domain papers report.

Strings: question and passage in Unicode NFD, cut into tokens (a run of letters, digits and marks, or any
other single character that is neither space nor control), lower-cased; an answer matches when its tokens
stand contiguously among the passage's. Regular expressions (CuratedTREC): searched in the raw NFD text,
letter case ignored, ``^`` and ``$`` at every line; what does not compile matches nothing. Only the
passage's text counts, not its title.

Differs: an answer without any token (``"  "``) matches every passage in DPR and matches nothing here;
`num_empty` counts such answers. Source: facebookresearch/DPR, ``dpr/data/qa_validation.py`` and
``dpr/utils/tokenizers.py``.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

ASCII_TOKENS = re.compile(r"[A-Za-z0-9]+|[^\x00-\x20\x7f]")
TOKENS = r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]"
SIGMA = "Σ"  # the one letter whose lower case depends on its neighbours


@lru_cache(maxsize=1)
def _unicode_tokens() -> Any:
    import regex

    return regex.compile(TOKENS)


def normalized(text: str) -> str:
    """Return the text in NFD."""
    return text if text.isascii() else unicodedata.normalize("NFD", text)


def joined_tokens(text: str) -> str:
    """Return the lower-cased tokens of an NFD text, each between spaces: ``" new york "``; "" if it has none.

    Tokens hold no spaces, so one list is contiguous in another exactly when its string is in the other's.
    """
    pattern = ASCII_TOKENS if text.isascii() else _unicode_tokens()
    found = pattern.findall(text)
    return f" {' '.join(found)} ".lower() if found else ""


class Answers:
    """The answers of one question, made ready for many passages."""

    def __init__(self, answers: Sequence[str], *, regex: bool = False) -> None:
        self.num_empty = 0
        self._patterns: list[Any] = []
        self._strings: list[tuple[str, list[str]]] = []
        for answer in answers:
            if regex:
                pattern = compile_answer(answer)
                self.num_empty += pattern is None
                self._patterns += [pattern] if pattern is not None else []
                continue
            joined = joined_tokens(normalized(answer))
            self.num_empty += not joined
            if joined:
                self._strings.append((joined, joined.split() if SIGMA not in answer else []))

    def __bool__(self) -> bool:
        return bool(self._patterns or self._strings)

    def found_in(self, text: str) -> bool:
        """Return whether the passage's text holds an answer."""
        text = normalized(text)
        if self._patterns:
            return any(pattern.search(text) is not None for pattern in self._patterns)
        if SIGMA not in text:
            # Most passages lack a word of the answer, which is seen without cutting them into tokens.
            lowered = text.lower()
            strings = [joined for joined, words in self._strings if all(word in lowered for word in words)]
        else:
            strings = [joined for joined, _ in self._strings]
        if not strings:
            return False
        tokens = joined_tokens(text)
        return any(joined in tokens for joined in strings)


@lru_cache(maxsize=4096)
def compile_answer(answer: str) -> Any:
    """Return the compiled regular expression of an answer, None if it does not compile."""
    import regex

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return regex.compile(normalized(answer), regex.IGNORECASE | regex.UNICODE | regex.MULTILINE)
        except regex.error:
            return None
