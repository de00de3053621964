"""Arrays on disk: a header of fixed length, so that a file can grow before its shape is known; mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 128


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the 128-byte header (format 1.0, C order) of an array of that type and shape."""
    form = {"descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False, "shape": shape}
    text = "{" + ", ".join(f"'{name}': {value!r}" for name, value in form.items()) + ", }"
    body = text.ljust(HEADER_BYTES - 10 - 1) + "\n"
    assert len(body) == HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body.encode("latin1")


def map_array(path: Path) -> NDArray[Any]:
    """Return the array as a read-only memory map (an empty one cannot be mapped and is read)."""
    if path.stat().st_size <= HEADER_BYTES:
        return np.asarray(np.load(path, allow_pickle=False))
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
