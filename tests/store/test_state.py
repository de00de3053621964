"""The state of an unfinished output."""

from pathlib import Path

import pytest

from dretrieve.errors import DataError, Interrupted, PreconditionError, UsageError
from dretrieve.store.atomic import explained
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


def test_a_refused_command_leaves_an_interrupted_output_interrupted(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    with pytest.raises(Interrupted), recorded_state(manifest, "train", "f"):
        raise Interrupted("stopped")
    interrupted = read_state(manifest)
    for refused in (PreconditionError("checkpoints of another training"), UsageError("no such tracker")):
        with pytest.raises(type(refused)), recorded_state(manifest, "train", "other"):
            raise refused
        assert read_state(manifest) == interrupted
    with pytest.raises(PreconditionError), recorded_state(manifest, "train", "f"), explained(tmp_path):
        raise OSError(28, "No space left on device")
    assert (read_state(manifest) or {})["state"] == "failed"
