"""Downloading one file: resumed where it broke off, tried again, compared with its published checksum.

The bytes grow in ``<file>.part``; beside it stands what the server called that version of the file, so that
a part of an older version is never continued. (pooch, which also checks and retries, starts again from zero
after every broken connection; these files have up to five gigabytes.)
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import dretrieve
from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.store.atomic import explained, make_folder, write_json
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
        url: http, https, or file for a mirror on this machine.
        target: where it goes; a file that stands there and has the right checksum is taken as it is.
        md5: the accepted checksums (several published releases); empty when none is published.
    """

    url: str
    target: Path
    md5: tuple[str, ...] = ()

    @property
    def part(self) -> Path:
        """What has come so far."""
        return self.target.with_name(self.target.name + ".part")

    @property
    def note(self) -> Path:
        """Of which version the part is: its address, the server's name for it, its bytes as a whole."""
        return self.target.with_name(self.target.name + ".part.json")

    @property
    def local(self) -> Path | None:
        """The file of a ``file://`` address; of others None."""
        parts = urlsplit(self.url)
        return Path(url2pathname(parts.path)) if parts.scheme == "file" else None

    @property
    def size(self) -> int:
        """The bytes of the part."""
        return self.part.stat().st_size if self.part.is_file() else 0

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
        """Remove the part."""
        self.part.unlink(missing_ok=True)
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
        Interrupted: a signal came; the part stays.
    """
    signals = signals or Signals()
    if download.is_there():
        return download.target
    check(download)
    make_folder(download.target.parent)
    failures, was_wrong = 0, False
    while True:
        before = download.size
        try:
            _continue(download, progress, signals)
            cure = "the transfer is damaged or the file was changed; try again later or give --mirror URL"
            download.refuse_wrong(download.part, cure)
            with explained(download.target):
                os.replace(download.part, download.target)
            download.forget()
            return download.target
        except VerificationError:
            download.forget()
            if was_wrong:
                raise
            failures, was_wrong = 0, True
            progress.note(f"{download.url}: wrong checksum, fetching it again from the start")
        except NETWORK_ERRORS as error:
            failures = 0 if download.size > before else failures + 1
            reason = _give_up_or_say(download, error, failures)
            progress.note(f"{urlsplit(download.url).netloc}: {reason}; trying again")
            signals.check()
            time.sleep(PAUSE * 2 ** max(0, failures - 1))


def _give_up_or_say(download: Download, error: Exception, failures: int) -> object:
    """Return why a connection failed.

    Raises:
        PreconditionError: it would fail again, or has failed too often.
    """
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


def _continue(download: Download, progress: Progress, signals: Signals) -> None:
    done, known = download.size, _read_note(download.note)
    if known.get("url") != download.url or not known.get("version"):
        done = 0
    headers = {"User-Agent": f"dretrieve/{dretrieve.__version__}", "Accept-Encoding": "identity"}
    if done:
        if done == known.get("bytes"):
            return
        headers |= {"Range": f"bytes={done}-", "If-Range": str(known["version"])}
    request = urllib.request.Request(download.url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        done = done if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None and length.isdigit() else None
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        _check_space(download.target.parent, (total or 0) - done)
        write_json(download.note, {"url": download.url, "version": version, "bytes": total})
        progress.start(f"fetching {download.target.name}", total, "bytes", done)
        with explained(download.part), open(download.part, "ab" if done else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                progress.advance(len(block))
                signals.check()
        progress.finish()
    if total is not None and download.size < total:
        raise ConnectionError(f"the connection closed after {download.size:,} of {total:,} bytes")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise PreconditionError(
            f"{folder} has {free:,} bytes free, the download needs {needed:,}; free space, or set "
            "DRETRIEVE_CACHE to a folder on a larger disk"
        )


def _read_note(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads(path.read_bytes()))
    return {}
