"""Porter's stemmer with the two departures of his own later code, as Lucene's PorterStemFilter runs it.

nltk's ``MARTIN_EXTENSIONS``: ``bli -> ble`` for ``abli -> able``, and the added ``logi -> log``. Snowball's
"porter" follows the paper instead, so that ``possibly`` differs; it cannot stand in here.
"""

from __future__ import annotations

import sys
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


@cache
def _stemmer() -> Any:
    """Return nltk's stemmer, without the rest of nltk, whose ``__init__`` takes two seconds."""
    found = find_spec("nltk")
    assert found is not None, "nltk is a dependency"
    loaded = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "nltk"}
    try:
        for name, part in (("nltk", ""), ("nltk.stem", "/stem")):
            if name not in loaded:
                sys.modules[name] = ModuleType(name)
                sys.modules[name].__path__ = [
                    place + part for place in found.submodule_search_locations or ()
                ]
        return import_module("nltk.stem.porter").PorterStemmer(mode="MARTIN_EXTENSIONS")
    finally:  # whoever wants the whole of nltk imports it afresh
        for name in [name for name in sys.modules if name.partition(".")[0] == "nltk" and name not in loaded]:
            del sys.modules[name]


@lru_cache(1 << 17)
def stem(word: str) -> str:
    """Return the stem of a lower-case word; only ASCII letters are ever changed."""
    if len(word) == 2 and word[0] > "\uffff" and word[1] == "s":  # Java counts such a letter as two
        return word[0]
    found: str = _stemmer().stem(word, to_lowercase=False)
    return found
