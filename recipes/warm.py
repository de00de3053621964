"""One Python that has loaded everything, and a copy of it for each command: small chains without the waiting.

    python -SE recipes/warm.py COMMAND [OPTIONS]

does what ``python -m dretrieve_cli COMMAND [OPTIONS]`` does, in a fork of a process that waits behind a
socket and has imported torch and the library once. The first call starts that process; it ends when nobody
has called for half a minute, and a changed line of code gets a new one. A copy ends with its caller, and
leaves word of what it had to load besides, which the process loads before the next. The profiles `smoke` and
`mini-cpu` have it, for 200 commands with four seconds of imports each; those of `smoke` then compute for a
tenth of a second. The caller loads as little as it can.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys
import time
import zlib
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
IDLE_SECONDS, START_SECONDS = 30, 120
STREAMS = (0, 1, 2)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def place() -> str:
    """Return the socket of this user, Python and state of the code, in a folder of the user's own."""
    folder = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"dretrieve-warm-{os.getuid()}")
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.stat(folder, follow_symlinks=False)
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not this user's alone; remove it")
    times = [os.stat(__file__).st_mtime_ns]
    for part in ("dretrieve", "cli"):
        for parent, _, names in os.walk(os.path.join(ROOT, part)):
            code = (name for name in names if name.endswith(".py"))
            times += [os.stat(os.path.join(parent, name)).st_mtime_ns for name in code]
    # And what is read once, when torch and numba are loaded.
    early = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR")]
    key = f"{ROOT}|{sys.executable}|{max(times)}|{len(times)}|{early}".encode()
    return os.path.join(folder, f"{zlib.crc32(key):08x}{zlib.adler32(key):08x}")


def call(path: str, words: list[str]) -> int:
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


def connected(path: str) -> socket.socket:
    """Return a connection to the warm process, started when there is none.

    Raises:
        TimeoutError: it does not answer.
    """
    deadline, started = time.monotonic() + START_SECONDS, False
    while time.monotonic() < deadline:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            link.close()
            if not started:
                import subprocess

                words = [sys.executable, __file__, "--serve", path]
                nowhere = subprocess.DEVNULL
                subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
                started = True
            time.sleep(0.05)
        else:
            return link
    raise TimeoutError(f"nothing answers at {path}")


def serve(path: str) -> None:
    """Load everything, then fork for every call until nobody calls any more."""
    load()
    listener = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener.bind(path)
    own = os.stat(path).st_ino
    listener.listen(64)
    listener.settimeout(1.0)
    running: set[int] = set()
    last = time.monotonic()
    while running or time.monotonic() - last < IDLE_SECONDS:
        for child in ended(running):
            running.remove(child)
            learn(f"{path}.{child}")
        try:
            link, _ = listener.accept()
        except TimeoutError:
            last = time.monotonic() if running else last
            continue
        child = os.fork()
        if child == 0:
            listener.close()
            answer(link, path)
        running.add(child)
        link.close()
        last = time.monotonic()
    with suppress(FileNotFoundError):
        if os.stat(path).st_ino == own:  # not that of one that was started at the same moment
            os.unlink(path)


def ended(children: set[int]) -> set[int]:
    """Return those children that have ended."""
    return {child for child in children if os.waitpid(child, os.WNOHANG)[0] == child}


def load() -> None:
    """Import what commands import; nothing here may compute, for threads do not survive a fork."""
    from importlib import import_module

    from dretrieve_cli.app import COMMANDS, open_streams

    open_streams()  # a copy cannot: its streams are pipes by then, and were not when Python opened them

    for name in (name.replace("-", "_") for name in COMMANDS):
        for module in (f"dretrieve_cli.{name}", f"dretrieve.jobs.{name}"):
            with suppress(ModuleNotFoundError):
                import_module(module)
    for name in ("transformers.models.bert.modeling_bert", "dretrieve.models.loading", "matplotlib.figure"):
        import_module(name)


def compiled() -> set[tuple[str, str, Any]]:
    """Return module, name and types of every compiled kernel that is loaded."""
    return {
        (name, word, types)
        for name, module in list(sys.modules.items())
        if name.startswith("dretrieve.kernels.")
        for word, value in vars(module).items()
        for types in getattr(value, "signatures", ())
    }


def learn(path: str) -> None:
    """Load what an ended copy has left word of, if it has: modules, and compiled kernels from their cache."""
    import pickle
    from importlib import import_module

    try:
        with open(path, "rb") as file:
            modules, kernels = pickle.load(file)  # noqa: S301  # it lies in this user's own folder
    except (OSError, EOFError, pickle.UnpicklingError):
        return
    os.unlink(path)
    for name in modules:
        with suppress(ImportError):
            import_module(name)
    for name, word, types in kernels:
        getattr(sys.modules[name], word).compile(types)


def teach(path: str, modules: set[str], kernels: set[tuple[str, str, Any]]) -> None:
    """In the copy: leave word of what was loaded since these were."""
    import pickle

    later = [name for name in sys.modules if name not in modules]
    with open(path, "wb") as file:
        pickle.dump((later, compiled() - kernels), file)


def answer(link: socket.socket, path: str) -> None:
    """In the copy: take over the caller's streams, folder and variables, run the command, send its code."""
    import fcntl

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
    fcntl.fcntl(link, fcntl.F_SETOWN, os.getpid())  # a caller that is killed takes its copy along, by SIGIO
    fcntl.fcntl(link, fcntl.F_SETFL, fcntl.fcntl(link, fcntl.F_GETFL) | os.O_ASYNC)
    known = set(sys.modules), compiled()
    code = 1
    try:
        from dretrieve_cli.app import main

        code = main(request["words"])
        sys.stdout.flush()
        sys.stderr.flush()
        with suppress(Exception):  # the next copy would be slower, no more
            teach(f"{path}.{os.getpid()}", *known)
    finally:
        with suppress(OSError):  # the caller is gone
            link.sendall(f"{code}\n".encode())
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is a copy to tell; no traceback
        sys.exit(call(place(), sys.argv[1:]))
