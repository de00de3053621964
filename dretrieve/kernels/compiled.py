"""numba's `njit`, with a cache that many processes, also of different machines, may fill at once.

numba gives the versions of a function (other types, another processor) numbers, and writes the list of them
into one file and each version into another. Of two processes that compile at once one may find the other's
code under its number: of other types, or for another processor, and for ever. Here a version stands in a
file of its own name, with the state of the sources that it was made from: all of its folder and of this one,
for the compiled code of a function holds that of the functions that it calls, which numba does not look at.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

Function = TypeVar("Function", bound=Callable[..., Any])


class _Versions(IndexDataCacheFile):
    """The files of a function's compiled versions."""

    def save(self, key: Any, data: Any) -> None:
        """Write the version of that key."""
        self._save_data(self._file(key), (self._source_stamp, data))

    def load(self, key: Any) -> Any:
        """Return the version of that key, None where none of the source as it is can be read.

        Of an earlier source the classes may be gone; what a machine wrote as it went down may be empty.
        """
        with suppress(Exception):
            stamp, data = self._load_data(self._file(key))
            if stamp == self._source_stamp:
                return data
        return None

    def _file(self, key: Any) -> str:
        digest = sha256(repr((self._version, key)).encode()).hexdigest()
        return self._data_name(int(digest[:12], 16))


class _Cache(FunctionCache):
    def __init__(self, function: Any) -> None:
        super().__init__(function)
        folders = dict.fromkeys([Path(function.__code__.co_filename).parent, Path(__file__).parent])
        stamp = (self._impl.locator.get_source_stamp(), *map(_sources, folders))
        self._cache_file = _Versions(self.cache_path, self._impl.filename_base, stamp)


@cache
def _sources(folder: Path) -> str:
    """Return the hash of a folder's sources."""
    files = (path for path in sorted(folder.glob("[!.]*.py")) if path.is_file())
    return sha256(b"".join(sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def njit(**options: Any) -> Callable[[Function], Function]:
    """Return the decorator `numba.njit` of those options, ``cache=True`` among them, which is not for numba.

    It would look for the place of its own cache, too, and try to write there.
    """

    def compiled(function: Function) -> Function:
        made: Any = numba.njit(**options | {"cache": False})(function)
        if hasattr(made, "py_func"):  # numba may be told to compile nothing
            made._cache = _Cache(function)
        return made

    return compiled
