"""One Python that has loaded everything, and a copy of it for each command: small chains without the waiting.

    python recipes/warm.py COMMAND [OPTIONS]

does what ``python -m dretrieve_cli COMMAND [OPTIONS]`` does, in a fork of a process that waits behind a
socket and has imported torch and the library once. The first call starts that process; it ends when nobody
has called for half a minute, and a changed line of code gets a new one. The profile `smoke` needs it: there
a command computes for a tenth of a second, after four seconds of imports.
"""

from __future__ import annotations

import array
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
IDLE_SECONDS, START_SECONDS = 30, 120
STREAMS = (0, 1, 2)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def place() -> Path:
    """Return the socket of this user, Python and state of the code, in a folder of the user's own."""
    folder = Path(tempfile.gettempdir()) / f"dretrieve-warm-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise PermissionError(f"{folder} is not this user's alone; remove it")
    code = [path for part in ("dretrieve", "cli") for path in (ROOT / part).rglob("*.py")]
    newest = max(path.stat().st_mtime_ns for path in [*code, Path(__file__)])
    threads = os.environ.get("OMP_NUM_THREADS", "")  # read once, when torch is loaded
    key = f"{ROOT}|{sys.executable}|{newest}|{len(code)}|{threads}"
    return folder / hashlib.sha256(key.encode()).hexdigest()[:16]


def call(path: Path, words: list[str]) -> int:
    """Hand words, streams, folder and variables to the warm process; return the exit code of its copy."""
    with connected(path) as link:
        request = {"words": words, "folder": os.getcwd(), "variables": dict(os.environ)}
        message = json.dumps(request).encode()
        head = len(message).to_bytes(8, "big")
        link.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", STREAMS))])
        link.sendall(message)
        answers = link.makefile("rb")
        child = int(answers.readline() or b"0")

        def pass_on(number: int, frame: FrameType | None) -> None:
            with suppress(ProcessLookupError):
                os.kill(child, number)

        for number in SIGNALS if child else ():
            signal.signal(number, pass_on)
        return int(answers.readline() or b"1")


def connected(path: Path) -> socket.socket:
    """Return a connection to the warm process, started when there is none.

    Raises:
        TimeoutError: it does not answer.
    """
    deadline, started = time.monotonic() + START_SECONDS, False
    while time.monotonic() < deadline:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            link.close()
            if not started:
                words = [sys.executable, __file__, "--serve", str(path)]
                nowhere = subprocess.DEVNULL
                subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
                started = True
            time.sleep(0.05)
        else:
            return link
    raise TimeoutError(f"nothing answers at {path}")


def serve(path: Path) -> None:
    """Load everything, then fork for every call until nobody calls any more."""
    load()
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    own = path.stat().st_ino
    listener.listen(64)
    listener.settimeout(1.0)
    running: set[int] = set()
    last = time.monotonic()
    while running or time.monotonic() - last < IDLE_SECONDS:
        running -= ended(running)
        try:
            link, _ = listener.accept()
        except TimeoutError:
            last = time.monotonic() if running else last
            continue
        child = os.fork()
        if child == 0:
            listener.close()
            answer(link)
        running.add(child)
        link.close()
        last = time.monotonic()
    with suppress(FileNotFoundError):
        if path.stat().st_ino == own:  # not that of one that was started at the same moment
            path.unlink()


def ended(children: set[int]) -> set[int]:
    """Return those children that have ended."""
    return {child for child in children if os.waitpid(child, os.WNOHANG)[0] == child}


def load() -> None:
    """Import what commands import; nothing here may compute, for threads do not survive a fork."""
    from dretrieve_cli.app import COMMANDS

    for name in (name.replace("-", "_") for name in COMMANDS):
        for module in (f"dretrieve_cli.{name}", f"dretrieve.jobs.{name}"):
            with suppress(ModuleNotFoundError):
                import_module(module)
    for name in ("transformers.models.bert.modeling_bert", "dretrieve.models.loading", "matplotlib.figure"):
        import_module(name)


def answer(link: socket.socket) -> None:
    """In the copy: take over the caller's streams, folder and variables, run the command, send its code."""
    head, parts, _, _ = link.recvmsg(8, socket.CMSG_LEN(len(STREAMS) * array.array("i").itemsize))
    given = array.array("i")
    given.frombytes(parts[0][2])
    with link.makefile("rb") as stream:
        request = json.loads(stream.read(int.from_bytes(head, "big")))
    for theirs, ours in zip(given, STREAMS, strict=True):
        os.dup2(theirs, ours)
        os.close(theirs)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])
    sys.argv = ["dretrieve", *request["words"]]
    link.sendall(f"{os.getpid()}\n".encode())
    code = 1
    try:
        from dretrieve_cli.app import main

        code = main(request["words"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        link.sendall(f"{code}\n".encode())
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(Path(sys.argv[2]))
    else:
        sys.exit(call(place(), sys.argv[1:]))
