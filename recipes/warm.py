"""One Python that has loaded everything, and a copy of it for each command: small chains without the waiting.

    python -SE recipes/warm.py COMMAND [OPTIONS]

does what ``python -m dretrieve_cli COMMAND [OPTIONS]`` does, in a fork of a process that waits behind a
socket and has imported torch and the library once. The first call starts that process; it ends when nobody
has called for half a minute, and a changed line of code gets a new one. A copy ends with its caller. The
profiles `smoke` and `mini-cpu` have it, for 200 commands with four seconds of imports each.
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import socket
import sys
import time
import zlib
from contextlib import suppress

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
IDLE_SECONDS, START_SECONDS = 30, 120
STREAMS = (0, 1, 2)
TRIES, BEGUN = 3, "begun\n"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def place() -> str:
    """Return the socket of this user, Python and state of the code, in a folder of the user's own."""
    temporary = os.environ.get("TMPDIR") or "/tmp"
    # A socket's name has at most 107 bytes.
    folder = os.path.join(temporary if len(temporary) < 64 else "/tmp", f"dretrieve-warm-{os.getuid()}")
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.stat(folder, follow_symlinks=False)
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not this user's alone; remove it")
    parts = [os.path.join(ROOT, name) for name in ("dretrieve", "cli")]
    files = [os.path.join(at, name) for part in parts for at, _, names in os.walk(part) for name in names]
    times = [os.stat(file).st_mtime_ns for file in (__file__, *files) if file.endswith(".py")]
    # And what is read once, when torch and numba are loaded.
    early = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR")]
    key = f"{ROOT}|{sys.executable}|{max(times)}|{len(times)}|{early}".encode()
    return os.path.join(folder, f"{zlib.crc32(key):08x}")


def call(path: str, words: list[str]) -> int:
    """Hand words, streams, folder and variables to the warm process; return the exit code of its copy."""
    request = {"words": words, "folder": os.getcwd(), "variables": dict(os.environ)}
    for _ in range(TRIES):
        with connected(path) as link, link.makefile() as lines:
            with suppress(OSError):  # it was about to end, and has begun nothing
                socket.send_fds(link, [b"!"], STREAMS)
                link.sendall(json.dumps(request).encode() + b"\n")
                if lines.readline() == BEGUN:
                    return awaited(link, lines)
    sys.exit(f"{TRIES} warm processes ended before they began the command; call again")


def awaited(link: socket.socket, lines: io.TextIOWrapper) -> int:
    """Pass signals on; return the exit code of the copy, 1 where it was killed."""
    for number in SIGNALS:
        signal.signal(number, lambda number, _: link.sendall(bytes([number])))
    try:
        return int(lines.readline() or "1")
    except OSError:
        return 1


def connected(path: str) -> socket.socket:
    """Return a connection to the warm process, started when there is none.

    Raises:
        TimeoutError: it does not answer.
    """
    for attempt in range(20 * START_SECONDS):
        link = socket.socket(socket.AF_UNIX)
        with suppress(FileNotFoundError, ConnectionRefusedError):
            link.connect(path)
            return link
        link.close()
        if attempt == 0:
            import subprocess

            words, no = [sys.executable, __file__, "--serve", path], subprocess.DEVNULL
            subprocess.Popen(words, stdin=no, stdout=no, stderr=no, start_new_session=True)
        time.sleep(0.05)
    raise TimeoutError(f"nothing answers at {path}")


def serve(path: str) -> None:
    """Load everything, then fork for every call until nobody calls any more; there is one such process."""
    import fcntl

    # Closed before the door: who finds that shut may start the next one.
    with socket.socket(socket.AF_UNIX) as door, open(f"{path}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        gc.disable()  # it would look through half a million objects again and again, here and in each copy
        load_everything()
        gc.freeze()
        gc.enable()
        with suppress(FileNotFoundError):
            os.unlink(path)
        door.bind(path)
        door.listen(64)
        door.settimeout(IDLE_SECONDS)
        while True:
            try:
                link, _ = door.accept()
            except TimeoutError:
                if no_copy_is_left():
                    return
                continue
            no_copy_is_left()
            with link:
                if os.fork() == 0:
                    try:
                        door.close()
                        lock.close()
                        answer(link)
                    finally:
                        os._exit(1)


def no_copy_is_left() -> bool:
    """Take leave of the copies that ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return False
    return True


def answer(link: socket.socket) -> None:
    """Take over the caller's streams, folder and variables, run the command, send its exit code, and end."""
    import threading

    from dretrieve_cli.app import main

    link.setblocking(True)
    for given, own in zip(socket.recv_fds(link, 1, len(STREAMS))[1], STREAMS, strict=True):
        os.dup2(given, own)
        os.close(given)
    lines = link.makefile("rb")
    asked = json.loads(lines.readline())
    link.sendall(BEGUN.encode())
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["variables"])
    sys.argv = ["dretrieve", *asked["words"]]

    def listen() -> None:
        """Pass the caller's signals on to oneself; a caller that is gone takes its copy along."""
        while number := lines.read(1):
            os.kill(os.getpid(), number[0])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=listen, daemon=True).start()
    code = main(asked["words"])
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(OSError):  # the caller is gone
        link.sendall(f"{code}\n".encode())


def load_everything() -> None:
    """Import what commands import, make their parsers and numba's types; nothing may compute here.

    No thread survives a fork.
    """
    import pkgutil
    from importlib import import_module

    from numba.core.registry import cpu_target

    import dretrieve
    import dretrieve_cli
    from dretrieve_cli.app import COMMANDS, open_streams, parser_of

    open_streams()  # a copy cannot: its streams are pipes by then, and were not when Python opened them
    names = ["transformers.models.bert.modeling_bert", "matplotlib.figure", "scipy.stats", "typer._adapters"]
    for package in (dretrieve, dretrieve_cli):
        found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names += [module.name for module in found if not module.name.endswith("__main__")]
    for name in names:
        with suppress(ImportError):  # an extra that is not installed
            import_module(name)
    for name in COMMANDS:
        parser_of(name, []).make_context(name, [], resilient_parsing=True)  # which readies each option
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is a copy to tell; no traceback
        sys.exit(call(place(), sys.argv[1:]))
