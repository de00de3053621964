"""Porter's stemmer with the two departures of his own later code, as Lucene's PorterStemFilter runs it.

The rules are those of M. F. Porter, "An algorithm for suffix stripping" (Program 14, 1980). Porter's
reference programs, and Lucene after them, depart from the paper in step 2: ``bli -> ble`` in place of
``abli -> able``, and the added ``logi -> log``. Words of one or two letters stay as they are. The
Snowball "porter" stemmer follows the paper instead, so that ``possibly`` differs; it cannot stand in here.

A word is a run of consonants and vowels: ``a e i o u`` are vowels, ``y`` is one after a consonant, every
other character (digits and letters of other scripts too) is a consonant. The measure of a stem is the
number of its changes from vowel to consonant.
"""

from __future__ import annotations

_VOWELS = frozenset("aeiou")

# Step 2 (measure above 0), step 3 (measure above 0), step 4 (measure above 1, dropped).
_STEP_2 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("logi", "log"),
)
_STEP_3 = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_STEP_4 = (
    "al",
    "ance",
    "ence",
    "er",
    "ic",
    "able",
    "ible",
    "ant",
    "ement",
    "ment",
    "ent",
    "ion",
    "ou",
    "ism",
    "ate",
    "iti",
    "ous",
    "ive",
    "ize",
)


def stem(word: str) -> str:
    """Return the stem of a lower-case word.

    Args:
        word: any text without spaces; only ASCII letters are ever changed.
    """
    length = len(word) if word.isascii() else len(word.encode("utf-16-le")) // 2
    if length <= 2:
        return word
    word = _step_1a(word)
    word = _step_1b(word)
    if word.endswith("y") and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    word = _replace(word, _STEP_2)
    word = _replace(word, _STEP_3)
    word = _step_4(word)
    return _step_5(word)


def _consonant(word: str, position: int) -> bool:
    letter = word[position]
    if letter in _VOWELS:
        return False
    if letter == "y":
        return position == 0 or not _consonant(word, position - 1)
    return True


def _measure(word: str) -> int:
    changes = 0
    vowel_before = False
    consonant = False
    for position, letter in enumerate(word):
        if letter == "y":
            consonant = position == 0 or not consonant
        else:
            consonant = letter not in _VOWELS
        if consonant and vowel_before:
            changes += 1
        vowel_before = not consonant
    return changes


def _has_vowel(word: str) -> bool:
    consonant = False
    for position, letter in enumerate(word):
        consonant = letter not in _VOWELS and (letter != "y" or position == 0 or not consonant)
        if not consonant:
            return True
    return False


def _double_consonant(word: str) -> bool:
    return len(word) >= 2 and word[-1] == word[-2] and _consonant(word, len(word) - 1)


def _consonant_vowel_consonant(word: str) -> bool:
    """Tell whether a word ends consonant, vowel, consonant, the last none of w, x, y."""
    last = len(word) - 1
    if last < 2 or word[last] in "wxy":
        return False
    return _consonant(word, last) and not _consonant(word, last - 1) and _consonant(word, last - 2)


def _step_1a(word: str) -> str:
    if not word.endswith("s"):
        return word
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word if word.endswith("ss") else word[:-1]


def _step_1b(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        if word.endswith(ending):
            start = word[: -len(ending)]
            return _mend(start) if _has_vowel(start) else word
    return word


def _mend(word: str) -> str:
    """Restore what ``-ed`` and ``-ing`` took: an e after at, bl, iz and short stems; no double letter."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _double_consonant(word):
        return word if word[-1] in "lsz" else word[:-1]
    if _measure(word) == 1 and _consonant_vowel_consonant(word):
        return word + "e"
    return word


def _replace(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    for ending, new in rules:
        if word.endswith(ending):
            start = word[: -len(ending)]
            return start + new if _measure(start) > 0 else word
    return word


def _step_4(word: str) -> str:
    for ending in _STEP_4:
        if word.endswith(ending):
            start = word[: -len(ending)]
            if ending == "ion" and not start.endswith(("s", "t")):
                continue
            return start if _measure(start) > 1 else word
    return word


def _step_5(word: str) -> str:
    if word.endswith("e"):
        start = word[:-1]
        measure = _measure(start)
        if measure > 1 or (measure == 1 and not _consonant_vowel_consonant(start)):
            word = start
    if word.endswith("ll") and _measure(word[:-1]) > 1:
        return word[:-1]
    return word
