"""Arrays on disk: a header of fixed length, so that a file can grow before its shape is known; mapping.

numpy's own writers are not used: `numpy.save` and `tofile` pass small arrays through a buffer of C and lose
the error when the disk refuses it, so that a file is short and nobody was told.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

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


def write_array(file: IO[bytes], array: NDArray[Any]) -> None:
    """Write the array in C order with its header: the bytes of `numpy.save`, and every error is raised."""
    file.write(npy_header(array.dtype.str, array.shape))
    write_values(file, array)


def write_values(file: IO[bytes], array: NDArray[Any]) -> None:
    """Append the array's numbers alone, in C order."""
    file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def map_array(path: Path) -> NDArray[Any]:
    """Return the array as a read-only memory map (an empty one cannot be mapped and is read)."""
    if path.stat().st_size <= HEADER_BYTES:
        return np.asarray(np.load(path, allow_pickle=False))
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
