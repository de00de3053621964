"""Standard output and error: what stands there, and the sentences about what went wrong."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from errno import EBADF
from io import TextIOWrapper
from typing import IO

from dretrieve.errors import visible

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


def drop(stream: IO[str]) -> None:
    """Send what the stream still holds nowhere, also when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def not_installed(error: ModuleNotFoundError) -> str:
    """Return the sentence about a library that is absent."""
    return f"this needs {error.name}, which is not installed; {PROGRAM} doctor says how to get it"


def refused(error: OSError) -> str:
    """Return the sentence about what the machine did not let us do, where nobody knew more to say."""
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror}; check the disk and your rights there, then run the same command again"


def is_beyond(error: Exception) -> bool:
    """Return whether memory or depth ran out, in the words of Python, the system, numpy, torch or faiss."""
    words = "allocate memory|map segment|start new thread|bad_alloc|out of memory|Unable to allocate"
    return isinstance(error, MemoryError | RecursionError) or (
        isinstance(error, OSError | RuntimeError | ImportError | SystemError)
        and re.search(words, f"{error} {error.__cause__ or error.__context__}", re.IGNORECASE) is not None
    )


def beyond(error: Exception) -> str:
    """Return the sentence about memory or depth that ran out."""
    if isinstance(error, RecursionError):
        return "the data are nested too deeply to be records; flatten them"
    return "out of memory; use more shards (--shard I/N), or a machine with more memory (see ulimit -v)"


def unexpected(error: Exception) -> str:
    """Return the sentence about a failure that nobody foresaw."""
    text = " ".join(str(error).split())[:400]
    return f"unexpected {type(error).__name__}: {text}; run again with --verbose for the traceback"
