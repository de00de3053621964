"""Downloading one file: resumed where it broke off, tried again, compared with its published checksum.

The bytes grow in ``<file>.<version>.part``; beside it stands what the server called the version of the file
that came last, so that a part of an older version is never continued. Processes that fetch one version at
once write the same bytes to the same places, cut nothing off, and take what the first has finished. (pooch,
which also checks and retries, starts again from zero after every broken connection; these files have up to
five gigabytes.)
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import dretrieve
from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.store.atomic import WriteError, explained, make_folder, write_json
from dretrieve.store.interrupt import Signals
from dretrieve.types import SILENT, Progress

BLOCK = 1 << 18
ATTEMPTS = 5  # connections before giving up; those that brought new bytes do not count
PAUSE = 1.0  # seconds before the second attempt, doubled for each later one
TIMEOUT = 60.0  # seconds without a byte after which a connection counts as broken
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
LOCAL = (("file", ""), ("file", "localhost"))  # scheme and host of addresses on this machine
FINAL_CODES = frozenset((400, 401, 403, 404, 410))


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """One file to fetch.

    Attributes:
        target: where it goes; a file that stands there and has the right checksum is taken as it is.
        md5: the accepted checksums (several published releases); empty when none is published.
    """

    url: str
    target: Path
    md5: tuple[str, ...] = ()

    def part(self, version: str) -> Path:
        """Return where the bytes of that version of the file grow."""
        name = hashlib.sha256(f"{self.url} {version}".encode()).hexdigest()[:8]
        return self.target.with_name(f"{self.target.name}.{name}.part")

    @property
    def note(self) -> Path:
        """Of which version the part is: its address, the server's name for it, its bytes as a whole."""
        return self.target.with_name(self.target.name + ".part.json")

    @property
    def local(self) -> Path | None:
        """The file of a ``file://`` address; of others None."""
        parts = urlsplit(self.url)
        return Path(url2pathname(parts.path)) if parts.scheme == "file" else None

    def refuse_wrong(self, path: Path, cure: str) -> None:
        """Refuse bytes that are not those published.

        Raises:
            VerificationError: names both checksums.
        """
        if not self.md5:
            return
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found not in self.md5:
            raise VerificationError(
                f"{self.url} has md5 {found}, published is {' or '.join(self.md5)}: {cure}"
            )

    def is_there(self) -> bool:
        """Return whether the target stands and is the published file."""
        with suppress(VerificationError):
            if self.target.is_file():
                self.refuse_wrong(self.target, "")
                return True
        return False

    def forget(self) -> None:
        """Remove all parts."""
        for part in self.target.parent.glob(f"{escape(self.target.name)}.????????.part"):
            part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def base_address(mirror: str) -> str:
    """Return a mirror's address without a slash at its end; a folder becomes a ``file://`` address.

    Raises:
        UsageError: it cannot be an address, or one of a kind that is not spoken here.
        PreconditionError: a folder that is not there.
    """
    try:
        parts = urlsplit(mirror)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets that do not close, a port that is no number
        parts, named = urlsplit(""), False
    kinds = "http://HOST/…, https://HOST/…, file:///FOLDER or a folder"
    if parts.scheme in ("http", "https") and named and not re.search(r"\s", mirror):
        return mirror.rstrip("/")
    if not mirror.strip() or ("://" in mirror and (parts.scheme, parts.netloc) not in LOCAL):
        raise UsageError(f"--mirror '{mirror}' is no address that files can be fetched from; give {kinds}")
    folder = Path(url2pathname(parts.path) if parts.scheme == "file" else mirror)
    if not folder.is_dir():
        raise PreconditionError(f"--mirror {mirror}: there is no folder {folder}; give {kinds}")
    return folder.resolve().as_uri()


def check(download: Download) -> None:
    """Refuse what can be seen to fail before anything is fetched: a local file, missing or not the right one.

    Raises:
        PreconditionError: the mirror's folder has no such file, or it cannot be read.
        VerificationError: its bytes are not those published.
    """
    path = download.local
    if path is None or download.is_there():
        return
    if not path.is_file():
        raise PreconditionError(f"the mirror has no file {path}; put it there, or give another --mirror")
    try:
        with open(path, "rb"):
            cure = "put the published file there, or give --unchecked to take it as it is"
            download.refuse_wrong(path, f"the file is damaged or was changed; {cure}")
    except OSError as error:
        raise PreconditionError(f"{path} cannot be read ({error.strerror}); make it readable") from error


def fetch(download: Download, progress: Progress = SILENT, signals: Signals | None = None) -> Path:
    """Return the path of the whole, verified file; continue an earlier attempt.

    Raises:
        PreconditionError: no network, no such file on the server, no space.
        VerificationError: the bytes are not those published, twice.
        Interrupted: a signal came; the part stays if its version has a name.
    """
    signals = signals or Signals()
    if download.is_there():
        return download.target
    check(download)
    failures, was_wrong = 0, False
    while True:
        make_folder(download.target.parent)
        before, _ = _begun(download)
        try:
            part = _continue(download, progress, signals)
            cure = "the transfer is damaged or the file was changed; try again later or give --mirror URL"
            with explained(download.target):
                download.refuse_wrong(part, cure)
                os.replace(part, download.target)
            download.forget()
            return download.target
        except VerificationError:
            download.forget()
            if was_wrong:
                raise
            failures, was_wrong = 0, True
            progress.note(f"{download.url}: wrong checksum, fetching it again from the start")
        except WriteError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            # another process has put the part in its place, or thrown it away
        except NETWORK_ERRORS as error:
            failures = 0 if _begun(download)[0] > before else failures + 1
            reason = _give_up_or_say(download, error, failures)
            progress.note(f"{urlsplit(download.url).netloc}: {reason}; trying again")
            signals.check()
            time.sleep(PAUSE * 2 ** max(0, failures - 1))
        if download.is_there():
            return download.target


def _give_up_or_say(download: Download, error: Exception, failures: int) -> object:
    """Return why a connection failed."""
    reason: object = getattr(error, "reason", None) or error
    is_final = getattr(error, "code", None) in FINAL_CODES
    if is_final:
        reason = f"the server says {getattr(error, 'code', '')} {reason}"
    if is_final or isinstance(error, http.client.InvalidURL) or download.local:
        cure = "correct the name or give --mirror URL"
    elif failures >= ATTEMPTS:
        cure = (
            "check network, HTTPS_PROXY, give --mirror URL, or put the file at "
            f"{download.target} yourself, then run it again"
        )
    else:
        return reason
    raise PreconditionError(f"{download.url} cannot be fetched ({reason}); {cure}") from error


def _continue(download: Download, progress: Progress, signals: Signals) -> Path:
    """Return the part when all of it has come."""
    done, known = _begun(download)
    headers = {"User-Agent": f"dretrieve/{dretrieve.__version__}", "Accept-Encoding": "identity"}
    if done:
        if done == known.get("bytes"):
            return download.part(str(known["version"]))
        headers |= {"Range": f"bytes={done}-", "If-Range": str(known["version"])}
    request = urllib.request.Request(download.url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        done = done if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None and length.isdigit() else None
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        version = str(known["version"]) if done else version
        _check_space(download.target.parent, (total or 0) - done)
        write_json(download.note, {"url": download.url, "version": version, "bytes": total})
        part = download.part(version or secrets.token_hex(8))  # of an unknown one nothing is shared
        progress.start(f"fetching {download.target.name}", total, "bytes", done)
        with _opened(part, done, kept=bool(version)) as file:
            while block := response.read(BLOCK):
                with explained(part):
                    left = memoryview(block)
                    while left:
                        left = left[file.write(left) :]
                done += len(block)
                progress.advance(len(block))
                signals.check()
            progress.finish()
            if total is not None and done < total:
                raise ConnectionError(f"the connection closed after {done:,} of {total:,} bytes")
    return part


@contextmanager
def _opened(part: Path, place: int, *, kept: bool) -> Iterator[IO[bytes]]:
    """Yield a part, opened to go on at that place; nothing of it is cut off, for others may write it too.

    One that is not kept goes when the block fails: nothing could go on with it.
    """
    with explained(part):
        if not place:
            part.touch()
        file = open(part, "r+b", buffering=0)
        file.seek(place)
    try:
        with file:
            yield file
    except BaseException:  # a signal, too
        if not kept:
            part.unlink(missing_ok=True)
        raise


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise PreconditionError(
            f"{folder} has {free:,} bytes free, the download needs {needed:,}; free space, or set "
            "DRETRIEVE_CACHE to a folder on a larger disk"
        )


def _begun(download: Download) -> tuple[int, dict[str, Any]]:
    """Return how many bytes have come of the version in the note, and the note."""
    with suppress(OSError, ValueError, TypeError):
        known = dict(json.loads(download.note.read_bytes()))
        return download.part(str(known.get("version"))).stat().st_size, known
    return 0, {}
