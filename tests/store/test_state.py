"""The state of an unfinished output."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dretrieve.errors import DataError, DretrieveError, Interrupted, PreconditionError, UsageError
from dretrieve.store import state
from dretrieve.store.atomic import explained
from dretrieve.store.state import (
    alone_in,
    clear_state,
    read_state,
    record_state,
    recorded_state,
    state_path,
)


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


def test_running_is_read_as_killed_once_the_process_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "manifest.json"
    record_state("running", manifest, "train", "f")
    assert (read_state(manifest) or {})["state"] == "running"
    monkeypatch.setattr(state, "is_gone", lambda process: process == state.this_process())
    found = read_state(manifest) or {}
    assert (found["state"], found["stage"]) == ("killed", "train")
    assert "run the same command again" in found["message"]


def _missing_library() -> PreconditionError:
    refusal = PreconditionError("needs the package wandb")
    refusal.__cause__ = ImportError("wandb")
    return refusal


@pytest.mark.parametrize(
    "refusal", [UsageError("no such"), PreconditionError("other checkpoints"), _missing_library()]
)
def test_a_refused_call_leaves_an_interrupted_output_interrupted(
    tmp_path: Path, refusal: DretrieveError
) -> None:
    manifest = tmp_path / "manifest.json"
    with pytest.raises(Interrupted), recorded_state(manifest, "train", "f"):
        raise Interrupted("stopped by SIGTERM")
    with pytest.raises(type(refusal)), recorded_state(manifest, "train", "g"):
        raise refusal
    found = read_state(manifest) or {}
    assert (found["state"], found["exit_code"], found["fingerprint"]) == ("interrupted", 75, "f")
    assert found["refused"] == {"exit_code": refusal.exit_code, "message": str(refusal)}


def test_a_full_disk_is_a_failure_and_no_refusal(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    with pytest.raises(Interrupted), recorded_state(manifest, "train", "f"):
        raise Interrupted("stopped by SIGTERM")
    with (
        pytest.raises(PreconditionError),
        recorded_state(manifest, "train", "f"),
        explained(tmp_path / "model"),
    ):
        raise OSError(28, "No space left on device")
    found = read_state(manifest) or {}
    assert (found["state"], found["exit_code"]) == ("failed", 3)
    assert "the disk is full" in found["message"]


HOLDER = """
import sys, time
from pathlib import Path
from dretrieve.store.state import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


def test_who_wants_to_be_alone_in_a_folder_is_refused_until_the_first_is_gone(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    monkeypatch.setattr(state, "PATIENCE", 0.2)
    with subprocess.Popen([sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"in\n"
        with pytest.raises(PreconditionError, match=r"another process is at work in .*model; wait"):
            with alone_in(folder):
                raise AssertionError("two at once")
        monkeypatch.undo()
        threading.Timer(0.5, first.kill).start()  # who calls again at once meets one that is ending
        with alone_in(folder):
            assert first.wait(60) == -signal.SIGKILL
    with alone_in(folder):
        assert list(folder.iterdir()) == []
    with alone_in(tmp_path / "other"):
        pass
