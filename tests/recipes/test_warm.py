"""recipes/warm.py: the copy that answers a command lives and dies as a process of the command's own would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

ROOT = Path(__file__).parents[2]
WARM = [sys.executable, "-SE", str(ROOT / "recipes" / "warm.py")]
SECONDS = 120  # more than a loaded machine takes to import torch


def at_work(folder: Path) -> dict[int, int]:
    """Return the processes of the socket in that folder, and their parents': a server and its copies."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"--serve" in words and words[-2].startswith(os.fsencode(folder)):
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def copies(folder: Path) -> set[int]:
    found = at_work(folder)
    return {process for process, parent in found.items() if parent in found}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short name, for a socket."""
    with TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def environment(tmp_path) -> Iterator[dict[str, str]]:
    """Variables under which warm.py starts a process of its own, in a folder of the test's own."""
    yield os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}", "TMPDIR": str(tmp_path)}
    for process in at_work(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def wait_until(condition) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_copy_ends_with_its_caller(tmp_path, environment, number):
    pipe = tmp_path / "corpus.jsonl"
    os.mkfifo(pipe)  # the command waits for a writer
    words = ["index", "--corpus", str(pipe), "--type", "bm25", "--output", str(tmp_path / "index")]
    caller = subprocess.Popen([*WARM, *words], env=environment)
    wait_until(lambda: copies(tmp_path))
    time.sleep(1)  # until the copy is known to its caller
    caller.send_signal(number)
    if number == signal.SIGTERM:  # which is answered at a safe point, so not before the command can read
        assert copies(tmp_path)
        with open(pipe, "w") as writer:
            writer.write("")
    assert caller.wait(SECONDS) not in (0, None)
    wait_until(lambda: not copies(tmp_path))
    assert not (tmp_path / "index").exists()
    after = subprocess.run(
        [*WARM, "--version"], env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert after.stdout.startswith("dretrieve ")


def test_callers_at_once_start_one_process(tmp_path, environment):
    callers = [subprocess.Popen([*WARM, "--version"], env=environment) for _ in range(3)]
    assert [caller.wait(SECONDS) for caller in callers] == [0, 0, 0]
    assert len(at_work(tmp_path).keys() - copies(tmp_path)) == 1


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_command_goes_to_the_next_where_one_ends_before_it_has_begun(monkeypatch, goes_on):
    sys.path.insert(0, str(ROOT / "recipes"))
    import warm

    sys.path.pop(0)
    ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    theirs[0].close()  # one that is gone, one that read nothing, one that takes the command over
    Thread(target=lambda: (theirs[1].recv(1), theirs[1].close())).start()
    theirs[2].sendall(f"{warm.BEGUN}7\n".encode() if goes_on else b"")
    theirs[2].shutdown(socket.SHUT_WR)
    left = iter(ours)
    monkeypatch.setattr(warm, "connected", lambda path: next(left))
    if goes_on:
        assert warm.call("path", ["--version"]) == 7
    else:
        with pytest.raises(SystemExit, match="3 warm processes ended before they began the command; call"):
            warm.call("path", ["--version"])
    theirs[2].close()
