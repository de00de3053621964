"""Arrays that grow before their shape is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dretrieve.store.npy import HEADER_BYTES, map_array, npy_header, write_array


@pytest.mark.parametrize("shape", [(0, 5), (7, 5), (0,), (21_000_000_000, 1024)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int64"])
def test_numpy_reads_the_header(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    header = npy_header(dtype, shape)
    assert len(header) == HEADER_BYTES
    path = tmp_path / "x.npy"
    path.write_bytes(header)
    with open(path, "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        assert np.lib.format.read_array_header_1_0(file) == (shape, False, np.dtype(dtype))


def test_mapping_gives_the_array_also_when_empty(tmp_path: Path) -> None:
    for array in (np.arange(12.0).reshape(3, 4), np.empty((0, 4))):
        np.save(tmp_path / "x.npy", array)
        np.testing.assert_array_equal(map_array(tmp_path / "x.npy"), array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.int64),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(12, dtype=np.uint8)[::2],
        np.empty((0, 4), np.float16),
        np.zeros((1 << 20) + 3, np.float32),
    ],
)
def test_the_bytes_are_those_of_numpy(tmp_path: Path, array: NDArray[Any]) -> None:
    with open(tmp_path / "ours.npy", "wb") as file:
        write_array(file, array)
    np.save(tmp_path / "numpys.npy", np.ascontiguousarray(array))
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


def test_a_full_disk_is_raised_also_for_a_few_numbers() -> None:
    with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb") as file:
        write_array(file, np.arange(7))
