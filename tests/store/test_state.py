"""The state of an unfinished output."""

from pathlib import Path

import pytest

from dretrieve.errors import DataError
from dretrieve.store.state import clear_state, read_state, recorded_state, state_path


def test_where_it_stands() -> None:
    assert state_path(Path("out/manifest.json")) == Path("out/state.json")
    assert state_path(Path("run.trec.manifest.json")) == Path("run.trec.state.json")


def test_running_then_failed_then_gone(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    assert read_state(manifest) is None

    def work() -> None:
        assert (read_state(manifest) or {})["state"] == "running"
        raise DataError("line 7 is bad")

    with pytest.raises(DataError), recorded_state(manifest, "encode", "f"):
        work()
    failed = read_state(manifest)
    assert failed == {
        "state": "failed", "stage": "encode", "fingerprint": "f", "exit_code": 4, "message": "line 7 is bad"
    }  # fmt: skip
    clear_state(manifest)
    assert read_state(manifest) is None


def test_our_own_bug_is_recorded_too(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    with pytest.raises(ZeroDivisionError), recorded_state(manifest, "encode", "f"):
        raise ZeroDivisionError("x")
    assert (read_state(manifest) or {})["message"] == "ZeroDivisionError: x"
