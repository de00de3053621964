"""One Python that has loaded everything, and a copy of it for each command: small chains without the waiting.

    python -SE recipes/warm.py COMMAND [OPTIONS]

does what ``python -m dretrieve_cli COMMAND [OPTIONS]`` does, in a fork of a process that waits behind a
socket and has imported torch and the library once. The first call starts that process; it ends when nobody
has called for half a minute, and a changed line of code gets a new one. A copy ends with its caller, and
leaves word of what it had to load besides, which the process loads before the next. The profiles `smoke` and
`mini-cpu` have it, for 200 commands with four seconds of imports each. The caller loads as little as it can.
"""

from __future__ import annotations

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
    return os.path.join(folder, f"{zlib.crc32(key):08x}{zlib.adler32(key):08x}")


def call(path: str, words: list[str]) -> int:
    """Hand words, streams, folder and variables to the warm process; return the exit code of its copy."""
    with connected(path) as link:
        socket.send_fds(link, [b"!"], STREAMS)
        request = {"words": words, "folder": os.getcwd(), "variables": dict(os.environ)}
        link.sendall(json.dumps(request).encode() + b"\n")
        for number in SIGNALS:
            signal.signal(number, lambda number, _: link.sendall(bytes([number])))
        return int(link.makefile().readline() or "1")


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

                words, no = [sys.executable, __file__, "--serve", path], subprocess.DEVNULL
                subprocess.Popen(words, stdin=no, stdout=no, stderr=no, start_new_session=True)
                started = True
            time.sleep(0.05)
        else:
            return link
    raise TimeoutError(f"nothing answers at {path}")


def serve(path: str) -> None:
    """Load everything, then fork for every call until nobody calls any more."""
    import glob
    import socketserver
    import threading

    from dretrieve_cli.app import main, open_streams

    open_streams()  # a copy cannot: its streams are pipes by then, and were not when Python opened them
    load(everything())

    class Copy(socketserver.StreamRequestHandler):
        """Takes over the caller's streams, folder and variables, runs the command, sends its exit code."""

        def handle(self) -> None:
            for given, own in zip(socket.recv_fds(self.request, 1, len(STREAMS))[1], STREAMS, strict=True):
                os.dup2(given, own)
                os.close(given)
            asked = json.loads(self.rfile.readline())
            os.chdir(asked["folder"])
            os.environ.clear()
            os.environ.update(asked["variables"])
            sys.argv = ["dretrieve", *asked["words"]]
            known = set(sys.modules), compiled()
            threading.Thread(target=self.listen, daemon=True).start()
            code = main(asked["words"])
            sys.stdout.flush()
            sys.stderr.flush()
            with suppress(Exception):  # else the next is slower
                teach(f"{path}.{os.getpid()}", *known)
            with suppress(OSError):  # the caller is gone
                self.wfile.write(f"{code}\n".encode())

        def listen(self) -> None:
            """Pass the caller's signals on to oneself; a caller that is gone takes its copy along."""
            while number := self.rfile.read(1):
                os.kill(os.getpid(), number[0])
            os.kill(os.getpid(), signal.SIGKILL)

    class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
        """Forks a copy for each caller, after loading what the copies before have left word of."""

        timeout, request_queue_size, max_children, busy = IDLE_SECONDS, 64, 64, True

        def handle_timeout(self) -> None:
            super().handle_timeout()
            self.busy = bool(self.active_children)

        def process_request(self, request: object, address: object) -> None:
            for left in glob.glob(f"{path}.*"):
                learn(left)
            super().process_request(request, address)

    with suppress(FileNotFoundError):
        os.unlink(path)
    with Server(path, Copy) as server:
        own = os.stat(path).st_ino
        while server.busy:
            server.handle_request()
    with suppress(FileNotFoundError):
        if os.stat(path).st_ino == own:  # not that of one that was started at the same moment
            os.unlink(path)


def everything() -> list[str]:
    """Return the modules that the commands need."""
    from dretrieve_cli.app import COMMANDS

    names = [name.replace("-", "_") for name in COMMANDS]
    more = ["transformers.models.bert.modeling_bert", "dretrieve.models.loading", "matplotlib.figure"]
    return [f"{package}.{name}" for name in names for package in ("dretrieve_cli", "dretrieve.jobs")] + more


def load(names: list[str]) -> None:
    """Import what can be imported of them; nothing may compute there, for threads do not survive a fork."""
    from importlib import import_module

    for name in names:
        with suppress(ImportError):
            import_module(name)


def teach(path: str, modules: set[str], kernels: set[tuple[str, str, object]]) -> None:
    """Leave word of what was loaded and compiled beyond these."""
    import pickle

    with open(path, "wb") as file:
        pickle.dump((sorted(set(sys.modules) - modules), compiled() - kernels), file)


def learn(path: str) -> None:
    """Load what an ended copy has left word of, if it has: modules, and compiled kernels from their cache."""
    import pickle
    from importlib import import_module

    with suppress(OSError, EOFError, pickle.UnpicklingError):
        with open(path, "rb") as file:
            modules, kernels = pickle.load(file)  # noqa: S301  # it lies in this user's own folder
        os.unlink(path)
        load(modules)
        for name, word, types in kernels:
            getattr(import_module(name), word).compile(types)


def compiled() -> set[tuple[str, str, object]]:
    """Return module, name and types of every compiled kernel that is loaded."""
    modules = [(name, module) for name, module in list(sys.modules.items()) if ".kernels." in name]
    return {
        (name, word, types)
        for name, module in modules
        if name.startswith("dretrieve.")
        for word, value in vars(module).items()
        for types in getattr(value, "signatures", ())
    }


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is a copy to tell; no traceback
        sys.exit(call(place(), sys.argv[1:]))
