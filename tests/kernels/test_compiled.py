"""The cache of compiled functions, filled by processes that compile at once and by ones that are killed."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from numba import types

from dretrieve.kernels import compiled

SOURCE = """
from dretrieve.kernels.compiled import njit

@njit(cache=True)
def double(value):
    return value + value
"""


@pytest.fixture
def load(tmp_path: Path):
    """``load()``: a module with a compiled function, as another process loads it."""
    file = tmp_path / "loops.py"
    file.write_text(SOURCE)

    def make() -> ModuleType:
        spec = importlib.util.spec_from_file_location("loops", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return make


def test_what_one_process_has_compiled_another_takes(load) -> None:
    assert load().double(3) == 6
    again = load()
    assert again.double(3) == 6
    assert sum(again.double.stats.cache_hits.values()) == 1
    assert not sum(again.double.stats.cache_misses.values())


def test_the_place_of_a_functions_code_is_looked_for_once(load, monkeypatch) -> None:
    """Each time a file is made there, to see whether it can be."""
    looked, look = [], compiled.FunctionCache.__init__

    def count(self, function):
        looked.append(function.__name__)
        look(self, function)

    monkeypatch.setattr(compiled.FunctionCache, "__init__", count)
    load()
    assert looked == ["double"]


def test_two_that_compile_at_once_keep_each_their_own(load, monkeypatch) -> None:
    """The other one saves, for other types, while this one is about to."""
    save, one, other = compiled._Versions._save_data, load(), load()

    def meanwhile(self, name, data):
        monkeypatch.undo()
        assert other.double(0.5) == 1.0
        save(self, name, data)

    monkeypatch.setattr(compiled._Versions, "_save_data", meanwhile)
    assert one.double(3) == 6
    again = load()
    assert (again.double(3), again.double(0.5)) == (6, 1.0)
    assert set(again.double.stats.cache_hits) == {(types.int64,), (types.float64,)}


@pytest.mark.parametrize("written", [b"", b"\0" * 99, b"cdretrieve.kernels.compiled\nGone\n."])
def test_code_that_cannot_be_read_is_compiled_again(load, written: bytes) -> None:
    """Of a machine that went down, or of an earlier source whose classes are gone."""
    first = load()
    assert first.double(3) == 6
    (file,) = Path(first.double.stats.cache_path).glob("loops.double-*.nbc")
    file.write_bytes(written)
    for counted in ("cache_misses", "cache_hits"):
        again = load()
        assert again.double(3) == 6
        assert sum(getattr(again.double.stats, counted).values()) == 1


def test_code_of_an_earlier_source_is_never_taken(load, tmp_path: Path, monkeypatch) -> None:
    """Also where a process was killed before it had written that of the present one."""
    assert load().double(3) == 6
    (tmp_path / "loops.py").write_text(SOURCE.replace("value + value", "value * value"))
    os.utime(tmp_path / "loops.py", (1, 1))

    def killed(self, name, data):
        raise KeyboardInterrupt

    monkeypatch.setattr(compiled._Versions, "_save_data", killed)
    with pytest.raises(KeyboardInterrupt):
        load().double(3)
    monkeypatch.undo()
    assert load().double(3) == 9


def test_code_of_an_earlier_source_of_a_called_function_is_never_taken(
    load, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    called, caller = tmp_path / "called_loops.py", SOURCE.replace("value + value", "times(value)")
    (tmp_path / "loops.py").write_text(f"from called_loops import times\n{caller}")
    for factor in (2, 3):  # of one size and, as after unpacking a package, of one time
        called.write_text(SOURCE.replace("double", "times").replace("value + value", f"{factor} * value"))
        os.utime(called, (1, 1))
        sys.modules.pop("called_loops", None)
        compiled._sources.cache_clear()
        assert load().double(5) == 5 * factor
    assert not sum(load().double.stats.cache_misses.values())
