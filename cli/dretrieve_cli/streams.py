"""Standard output and error: what stands there, and the sentences about what went wrong."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import EBADF, ENAMETOOLONG
from io import TextIOWrapper
from typing import IO, Any

from dretrieve.errors import DretrieveError, SpokenWarning, quoted, visible

PROGRAM = "dretrieve"


def open_streams() -> None:
    """Give closed standard streams a file that refuses to be used, and stdout a way to write any character.

    A stream that was closed (``>&-``) would otherwise lend its number to the next file that is opened.
    """
    import codecs

    codecs.register_error("escaped", escaped)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            refusing = os.O_RDONLY if name == "stdout" else os.O_WRONLY  # what stderr gets is lost
            descriptor = os.open(os.devnull, refusing)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors != "escaped":
            stream.reconfigure(errors="escaped")


def escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Return what stands for characters that the stream's encoding lacks: ``\u00e9``, as JSON has it."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4)), error.end


def say(text: str) -> int:
    """Write the text to stdout and return the exit code."""
    return put(lambda: sys.stdout.write(visible(text) + "\n"))


def put(write: Callable[[], object]) -> int:
    """Let ``write`` write to stdout; return 0, or `no_room`'s code when stdout does not take it."""
    try:
        write()
        sys.stdout.flush()
    except OSError as error:
        return no_room(error)
    return 0


def no_room(error: OSError) -> int:
    """Say that stdout does not take the result; return 1, or 0 for a reader that went away (``| head``)."""
    drop(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return 0
    reason = "it is closed" if error.errno == EBADF else error.strerror
    return fail(
        f"the result cannot be written to standard output ({reason}); send it to a file or a program that "
        "takes it",
        1,
    )


def fail(sentence: str, code: int) -> int:
    """Write the sentence to stderr, on one line and with nothing that a terminal obeys; return the code."""
    line = " ".join(part.strip() for part in sentence.splitlines())
    try:
        sys.stderr.write(f"{PROGRAM}: {visible(line)}\n")
        sys.stderr.flush()
    except OSError:  # nobody can be told
        drop(sys.stderr)
    return code


def trace() -> None:
    """Write the traceback of the error that is being handled to stderr."""
    import traceback

    with suppress(OSError):
        sys.stderr.write(visible(traceback.format_exc()))


def drop(stream: IO[str]) -> None:
    """Send what the stream still holds nowhere, also when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def said(message: Warning | str, category: type[Warning], *place: Any, **named: Any) -> None:
    """Print a warning as one line on stderr, also with ``--quiet``."""
    sys.stderr.write(f"dretrieve: {'' if category is SpokenWarning else category.__name__ + ': '}{message}\n")


def show(result: Any, as_json: bool) -> int:
    """Print the result to stdout and return the exit code, not 0 when stdout does not take it.

    It is JSON, plain text, or a rich renderable (without colour when piped).
    """

    def write() -> None:
        if as_json:
            import json

            write_rendered(json.dumps(result.as_json(), indent=1, ensure_ascii=False))
        else:
            write_rendered(result.render())

    return put(write)


def write_rendered(rendered: Any) -> None:
    """Write a text with its line end, and a rich renderable through a console; no terminal obeys either."""
    if isinstance(rendered, str):
        _note_escapes(rendered)
        sys.stdout.write(visible(rendered) + ("\n" if rendered and not rendered.endswith("\n") else ""))
        return
    from rich.console import Console

    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, highlight=False).print(rendered)


def _note_escapes(text: str) -> None:
    """Say on stderr when stdout's encoding lacks characters of the text."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding, "strict" if "utf" not in encoding.lower() else "surrogatepass")
    except UnicodeEncodeError:
        sys.stderr.write(
            f"standard output is {encoding}: what it lacks is written as \\u and four digits; set "
            "PYTHONIOENCODING=utf-8 to get it as it is\n"
        )


def failure(error: Exception) -> tuple[str, int]:
    """Return the sentence about an error, and its exit code."""
    if isinstance(error, DretrieveError):
        return str(error), error.exit_code
    if isinstance(error, RecursionError):
        return "the data are nested too deeply to be records; flatten them", 3
    if is_beyond(error):
        cure = "use more shards (--shard I/N), or a machine with more memory (see ulimit -v)"
        return f"out of memory; {cure}", 3
    if isinstance(error, ModuleNotFoundError):
        return f"this needs {error.name}, which is not installed; {PROGRAM} doctor says how to get it", 3
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        cure = "check the disk and your rights there, then run the same command again"
        if error.errno == ENAMETOOLONG:
            place, cure = f"{quoted(str(error.filename))}: ", "choose a shorter one"
        return f"{place}{error.strerror}; {cure}", 3
    text = " ".join(str(error).split())[:400]
    return f"unexpected {type(error).__name__}: {text}; run again with --verbose for the traceback", 1


def is_beyond(error: Exception) -> bool:
    """Return whether memory ran out, in the words of Python, the system, numpy, torch or faiss."""
    words = "allocate memory|map segment|start new thread|bad_alloc|out of memory|Unable to allocate"
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError | RuntimeError | ImportError | SystemError)
        and re.search(words, f"{error} {error.__cause__ or error.__context__}", re.IGNORECASE) is not None
    )
