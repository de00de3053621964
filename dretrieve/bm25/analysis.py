"""English analysis as Lucene's: the words that BM25 counts, equal to Anserini's default token by token.

The chain is Lucene's EnglishAnalyzer: Unicode word breaks (UAX #29 as StandardTokenizer applies it),
the possessive ``'s`` cut, lower case letter by letter, 33 stop words dropped, Porter stems.
What StandardTokenizer adds to UAX #29: only segments with a letter, digit, ideograph, kana or emoji are
words; ideographs and hiragana stand alone; runs of Thai, Lao, Khmer and Myanmar script stay whole; a
word longer than 255 UTF-16 units is cut there. A text of ASCII letters takes a shorter pattern with
the same result.
"""

from __future__ import annotations

import re

import regex

from dretrieve.bm25.porter import stem

MAX_TOKEN_LENGTH = 255

STOP_WORDS = frozenset(
    (
        "a an and are as at be but by for if in into is it no not of on or such "
        "that the their then there these they this to was will with"
    ).split()
)

# ASCII: runs of letters, digits and underscores, joined by : . ' between letters and , ; . ' between digits.
_ASCII_WORD = re.compile(
    r"[0-9A-Za-z_]+(?:(?:(?<=[A-Za-z])[:.'](?=[A-Za-z])|(?<=[0-9])[,;.'](?=[0-9]))[0-9A-Za-z_]+)*"
)


# Pictographs of emoji 11 that later tables dropped.
_PICTOGRAPHS = (
    r"\u2388\u2605\u2607-\u2612\u2616-\u2685\u2690-\u2704\u270E\u2710\u2711\u2765-\u2767"
    r"\U0001F000-\U0001F0FF\U0001F10D-\U0001F10F\U0001F12F\U0001F16C-\U0001F16F\U0001F1AD-\U0001F1E5"
    r"\U0001F260-\U0001F265\U0001F322-\U0001F3F6\U0001F4FE\U0001F546-\U0001F5FA\U0001F6C6-\U0001F6F2"
    r"\U0001F774-\U0001F77F\U0001F7D5-\U0001F7FF\U0001F8B0-\U0001F8FF\U0001FA00-\U0001FBFF"
)


def _unicode_word() -> regex.Pattern[str]:
    """Return the pattern of one StandardTokenizer token, for any text.

    Lucene's classes are those of Unicode 9 with the pictographs of emoji 11. The running table is newer;
    characters that have changed class since are put back here, characters added since keep their new class.

    Legend: x trails a character (format, combining, joiner); letter, hebrew, digit, katakana and connector
    (a connecting punctuation) each with its trail; part: what may stand between connectors.
    """
    tones = r"\U0001F3FB-\U0001F3FF"
    was_format = r"\u0600-\u0605\u06DD\u08E2\U000110BD\U000110CD"
    trailing = rf"\p{{WB=Format}}\p{{WB=Extend}}\p{{WB=ZWJ}}\u070F{was_format}"
    x = rf"[{trailing}]*+"
    bare = rf"[[{trailing}]--[\uFE0E\uFE0F]]*+"
    was_symbol = r"\u00B8\u02E5-\u02EB\u055A\u058A\u070F\uA708-\uA716"
    letter = rf"[[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]--[{was_symbol}]]{x}"
    hebrew = rf"\p{{WB=Hebrew_Letter}}{x}"
    digit = rf"[[\p{{WB=Numeric}}\uFF10-\uFF19]--[{was_format}\u19DA]]{x}"
    katakana, connector = rf"\p{{WB=Katakana}}{x}", rf"\p{{WB=ExtendNumLet}}{x}"
    in_letters = rf"[[:\p{{WB=MidLetter}}\p{{WB=MidNumLet}}']--[\u055F]]{x}"
    in_digits = rf"[\uFE10\uFE14\p{{WB=MidNum}}\p{{WB=MidNumLet}}']{x}"
    quoted = rf"{hebrew}(?:\"{x}{hebrew}|'{x})"
    part = (
        rf"(?:{katakana}(?:(?:{connector})*{katakana})*"
        rf"|(?:{quoted}|{digit}(?:(?:(?:{connector})*|{in_digits}){digit})*"
        rf"|{letter}(?:(?:(?:{connector})*(?!{quoted})|{in_letters}){letter})*)+)"
    )
    word = rf"(?:{connector})*{part}(?:(?:{connector})+{part})*(?:{connector})*"
    picture = (
        rf"(?:\p{{WB=ZWJ}}*[[\p{{Extended_Pictographic}}{_PICTOGRAPHS}]--[{tones}]]{bare}\uFE0F?"
        rf"|[{tones}]{bare})"
    )
    emoji = (
        rf"{picture}(?:[\U000E0020-\U000E007E]+\U000E007F|(?:(?:(?<=\p{{WB=ZWJ}})|\p{{WB=ZWJ}}){picture})*)"
        rf"|[#*]{bare[:-1]}\uFE0F?\u20E3{bare}|(?:\p{{WB=Regional_Indicator}}{x}){{2}}"
    )
    alone = rf"(?:\p{{LB=Complex_Context}}{x})+|[\p{{Script=Han}}\p{{Script=Hiragana}}]{x}"
    return regex.compile(rf"{emoji}|{word}|{alone}", flags=regex.V1)


_UNICODE_WORD = _unicode_word()
WINDOW = 2 * MAX_TOKEN_LENGTH  # characters
# Runs of one connector or joiner: no word reaches over more than a word's length of them.
_LONG_RUN = regex.compile(rf"([\p{{WB=ExtendNumLet}}\u200d])\1{{{WINDOW},}}+", flags=regex.V1)


def plain_words(text: str) -> list[str]:
    """Return the words before any filter, but for two rarities that `words` mends.

    A run of underscores alone is no word, and one longer than `MAX_TOKEN_LENGTH` is to be cut.
    """
    return _ASCII_WORD.findall(text) if text.isascii() else _unicode_words(text)


def words(text: str) -> list[str]:
    """Return the words of a text before any filter, in order, as StandardTokenizer cuts them."""
    found = plain_words(text)
    if any(len(word) > MAX_TOKEN_LENGTH for word in found):
        return _unicode_words(text)
    return [word for word in found if word.strip("_")]


def normalize(word: str) -> str:
    """Return the index term of one word, or ``""`` for a stop word or a run of underscores."""
    if len(word) >= 2 and word[-1] in "sS" and word[-2] in "'\u2019\uff07":
        word = word[:-2]
    lower = word.lower() if word.isascii() else "".join(map(_lower, word))
    if lower in STOP_WORDS or not lower.strip("_"):
        return ""
    return stem(lower)


def _lower(letter: str) -> str:
    """Lower one letter without context: final sigma stays a sigma, dotted capital I becomes i."""
    return "i" if letter == "\u0130" else letter.lower()


def _unicode_words(text: str) -> list[str]:
    """Return the words of any text, in time linear in its length.

    The rest of a word that was cut is not searched to its end for each piece: a match within a window that
    is longer than a word may be proves that the whole one is too.
    """
    found: list[str] = []
    if len(text) > WINDOW:
        text = _LONG_RUN.sub(lambda run: run.group(1) * WINDOW, text)
    position, cut = 0, False
    while True:
        match = _UNICODE_WORD.search(text, position, position + WINDOW) if cut else None
        if match is None or match.end() <= _limit(text, match.start()):
            match = _UNICODE_WORD.search(text, position)
        if match is None:
            return found
        start, position = match.span()
        cut = False
        if position - start > MAX_TOKEN_LENGTH // 2:
            limit = _limit(text, start)
            if position > limit:
                cut = True
                short = _UNICODE_WORD.match(text, start, limit)
                position = short.end() if short else start + 1
                if not short:
                    continue
        found.append(text[start:position])


def _limit(text: str, start: int) -> int:
    """Return the end of the longest slice from a start that fits `MAX_TOKEN_LENGTH` UTF-16 units."""
    end = min(start + MAX_TOKEN_LENGTH, len(text))
    if max(text[start:end], default="") <= "\uffff":
        return end
    units = 0
    for position in range(start, len(text)):
        units += 2 if text[position] > "\uffff" else 1
        if units > MAX_TOKEN_LENGTH:
            return position
    return len(text)
