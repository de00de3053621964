"""Downloading one file: resumed where it broke off, tried again, compared with its published checksum.

The bytes grow in ``<file>.part``; beside it stands what the server called that version of the file, so that
a part of an older version is never continued. (The library pooch, which also checks and retries, starts
again from zero after every broken connection; these files have up to five gigabytes.)
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import dretrieve
from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.store.atomic import explained, make_folder, write_json
from dretrieve.store.interrupt import Signals
from dretrieve.types import Progress, Silent

BLOCK = 1 << 18
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
        attempts: connections before giving up; those that brought new bytes do not count.
        pause: seconds before the second attempt, doubled for each later one.
        timeout: seconds without a byte after which a connection counts as broken.
    """

    url: str
    target: Path
    md5: tuple[str, ...] = ()
    attempts: int = 5
    pause: float = 1.0
    timeout: float = 60.0


class _Changed(Exception):
    """The server holds another version than the part on disk."""


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
    path = _local_file(download.url)
    if path is None or (download.target.is_file() and _is_right(download.target, download.md5)):
        return
    if not path.is_file():
        raise PreconditionError(f"the mirror has no file {path}; put it there, or give another --mirror")
    try:
        with open(path, "rb"):
            right = _is_right(path, download.md5)
    except OSError as error:
        raise PreconditionError(f"{path} cannot be read ({error.strerror}); make it readable") from error
    if not right:
        raise VerificationError(
            f"{path} has md5 {_md5(path)}, published is {' or '.join(download.md5)}: the file is damaged or "
            "was changed; put the published one there, or give --unchecked to take it as it is"
        )


def fetch(
    download: Download,
    progress: Progress | None = None,
    signals: Signals | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Return the path of the whole, verified file; continue an earlier attempt.

    Raises:
        PreconditionError: no network, no such file on the server, no space.
        VerificationError: the bytes are not those published, twice.
        Interrupted: a signal came; the part stays.
    """
    progress, signals = progress or Silent(), signals or Signals()
    if download.target.is_file() and _is_right(download.target, download.md5):
        return download.target
    check(download)
    make_folder(download.target.parent)
    part = _part(download.target)
    for again in (True, False):
        _fetch_part(download, progress, signals, sleep)
        if _is_right(part, download.md5):
            with explained(download.target):
                os.replace(part, download.target)
            _note_file(part).unlink(missing_ok=True)
            return download.target
        found = _md5(part)
        part.unlink()
        _note_file(part).unlink(missing_ok=True)
        if again:
            progress.note(f"{download.url}: wrong checksum, fetching it again from the start")
    raise VerificationError(
        f"{download.url} has md5 {found}, published is {' or '.join(download.md5)}: the transfer is damaged "
        "or the file was changed; try again later or give --mirror URL"
    )


def _fetch_part(
    download: Download, progress: Progress, signals: Signals, sleep: Callable[[float], None]
) -> None:
    failures, pause = 0, download.pause
    while True:
        before = _size(_part(download.target))
        try:
            _continue(download, progress, signals)
            return
        except _Changed:
            _part(download.target).unlink(missing_ok=True)
            _note_file(_part(download.target)).unlink(missing_ok=True)
            reason: object = "the file on the server changes"
        except NETWORK_ERRORS as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(error, urllib.error.HTTPError) and error.code in FINAL_CODES:
                raise PreconditionError(
                    f"{download.url} cannot be fetched: the server says {error.code} {error.reason}; "
                    "correct the name or give --mirror URL"
                ) from None
            if isinstance(error, http.client.InvalidURL) or _local_file(download.url):
                raise PreconditionError(
                    f"{download.url} cannot be fetched ({reason}); correct the name or give --mirror URL"
                ) from error
        grown = _size(_part(download.target)) > before
        failures, pause = (0, download.pause) if grown else (failures + 1, pause)
        if failures >= download.attempts:
            raise PreconditionError(
                f"{download.url} cannot be fetched ({reason}); check network, HTTPS_PROXY, "
                f"give --mirror URL, or put the file at {download.target} yourself, then run it again"
            )
        progress.note(f"{urlsplit(download.url).netloc}: {reason}; trying again")
        signals.check()
        sleep(pause)
        pause *= 2


def _continue(download: Download, progress: Progress, signals: Signals) -> None:
    part = _part(download.target)
    done, note = _size(part), _read_note(part)
    if done and (note.get("url") != download.url or not note.get("version")):
        part.unlink()
        done = 0
    headers = {"User-Agent": f"dretrieve/{dretrieve.__version__}", "Accept-Encoding": "identity"}
    if done:
        if done == note.get("bytes"):
            return
        headers |= {"Range": f"bytes={done}-", "If-Range": str(note["version"])}
    request = urllib.request.Request(download.url, headers=headers)
    with urllib.request.urlopen(request, timeout=download.timeout) as response:
        if done and response.status != 206:
            done = 0
        total = _total(response, done)
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if done and note.get("bytes") not in (None, total):
            raise _Changed
        _check_space(download.target.parent, total, done)
        write_json(_note_file(part), {"url": download.url, "version": version, "bytes": total})
        progress.start(f"fetching {download.target.name}", total, "bytes", done)
        with explained(part), open(part, "ab" if done else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                progress.advance(len(block))
                signals.check()
        progress.finish()
    if total is not None and _size(part) < total:
        raise ConnectionError(f"the connection closed after {_size(part):,} of {total:,} bytes")


def _total(response: Any, done: int) -> int | None:
    length = response.headers.get("Content-Length")
    return done + int(length) if length is not None and length.isdigit() else None


def _check_space(folder: Path, total: int | None, done: int) -> None:
    free = shutil.disk_usage(folder).free
    if total is not None and total - done > free:
        raise PreconditionError(
            f"{folder} has {free:,} bytes free, the download needs {total - done:,}; free space, or set "
            "DRETRIEVE_CACHE to a folder on a larger disk"
        )


def _local_file(url: str) -> Path | None:
    """Return the file of a ``file://`` address; of others None."""
    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _note_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> dict[str, Any]:
    try:
        value = json.loads(_note_file(part).read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _is_right(path: Path, md5: tuple[str, ...]) -> bool:
    return not md5 or _md5(path) in md5
