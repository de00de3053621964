"""Downloads from a server that cuts connections, serves wrong bytes, forgets ranges, or is not there."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import threading
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dretrieve.errors import Interrupted, PreconditionError, UsageError, VerificationError
from dretrieve.store.interrupt import Signals
from dretrieve.text.download import Download, base_address, fetch
from dretrieve.types import Silent

DATA = bytes(range(256)) * 4000
MD5 = hashlib.md5(DATA).hexdigest()
Server = Any  # the fixture `server` of conftest.py


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Three attempts, and the pauses between them, which are not made."""
    made: list[float] = []
    monkeypatch.setattr("dretrieve.text.download.time.sleep", made.append)
    monkeypatch.setattr("dretrieve.text.download.ATTEMPTS", 3)
    return made


def download(server: Server, folder: Path, *md5: str) -> Download:
    """Return the file's description with short pauses."""
    return Download(url=f"{server.base}/file.bin", target=folder / "file.bin", md5=md5)


def test_a_file_comes_whole_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    path = fetch(download(server, tmp_path, MD5))
    assert path.read_bytes() == DATA
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]
    fetch(download(server, tmp_path, MD5))
    assert server.log == [None]


def test_broken_connections_are_continued_where_they_broke(server: Server, tmp_path: Path) -> None:
    """More breaks than attempts are fine as long as every connection brings bytes."""
    server.cut_after, server.cuts = 200_000, 5
    assert fetch(download(server, tmp_path, MD5)).read_bytes() == DATA
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in server.log[1:] if asked]
    assert starts == sorted(starts)
    assert starts[-1] >= 900_000


def test_another_process_continues_too(server: Server, tmp_path: Path) -> None:
    class Stopping(Silent):
        def advance(self, units: int) -> None:
            signals.received = signals.received or __import__("signal").SIGTERM

    signals = Signals()
    with pytest.raises(Interrupted):
        fetch(download(server, tmp_path, MD5), Stopping(), signals)
    (part,) = tmp_path.glob("*.part")
    assert 0 < part.stat().st_size < len(DATA)
    assert fetch(download(server, tmp_path, MD5)).read_bytes() == DATA
    assert server.log[-1] == f"bytes={262144}-"


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.cuts, server.ranges = 500_000, 1, False
    assert fetch(download(server, tmp_path, MD5)).read_bytes() == DATA


def test_a_new_version_on_the_server_is_never_glued_to_an_old_part(server: Server, tmp_path: Path) -> None:
    download(server, tmp_path).part('"zero"').write_bytes(b"old" * 1000)
    (tmp_path / "file.bin.part.json").write_text(
        f'{{"url": "{server.base}/file.bin", "version": "\\"zero\\"", "bytes": 9999}}', encoding="utf-8"
    )
    assert fetch(download(server, tmp_path)).read_bytes() == DATA


def test_a_part_of_unknown_origin_is_thrown_away(server: Server, tmp_path: Path) -> None:
    download(server, tmp_path).part(server.version).write_bytes(b"who knows")
    assert fetch(download(server, tmp_path)).read_bytes() == DATA
    assert server.log == [None]


def test_a_part_that_nothing_can_go_on_with_does_not_stay(server: Server, tmp_path: Path) -> None:
    server.version, server.cut_after, server.cuts = None, 200_000, 9
    with pytest.raises(PreconditionError, match="closed after 200,000 of 1,024,000 bytes"):
        fetch(download(server, tmp_path))
    assert server.log == [None] * 3
    assert os.listdir(tmp_path) == ["file.bin.part.json"]


def test_corrupt_bytes_are_fetched_again_once(server: Server, tmp_path: Path) -> None:
    server.corruptions = 1
    assert fetch(download(server, tmp_path, MD5)).read_bytes() == DATA
    assert server.log == [None, None]


def test_bytes_that_stay_wrong_are_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=rf"has md5 {MD5}, published is 00 or 11: .* --mirror URL"):
        fetch(download(server, tmp_path, "00", "11"))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_at_the_target_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"wrong")
    assert fetch(download(server, tmp_path, MD5)).read_bytes() == DATA


def test_no_such_file(server: Server, tmp_path: Path) -> None:
    server.code = 404
    with pytest.raises(
        PreconditionError, match=r"\(the server says 404 Not Found\); correct the name or give --mirror"
    ):
        fetch(download(server, tmp_path))
    assert len(server.log) == 1


def test_a_server_in_trouble_is_asked_again_then_given_up(
    server: Server, tmp_path: Path, pauses: list[float]
) -> None:
    server.code = 503
    with pytest.raises(
        PreconditionError, match=r"cannot be fetched .*HTTPS_PROXY.*put the file at .*file\.bin"
    ):
        fetch(download(server, tmp_path))
    assert len(server.log) == 3
    assert pauses == [1.0, 2.0]


def test_no_network(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wanted = Download(url=f"http://127.0.0.1:{port}/x", target=tmp_path / "x")
    with pytest.raises(PreconditionError, match="cannot be fetched .*refused"):
        fetch(wanted)


def test_no_space(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "dretrieve.text.download.shutil.disk_usage", lambda folder: type("U", (), {"free": 10})()
    )
    with pytest.raises(
        PreconditionError, match=r"has 10 bytes free, the download needs 1,024,000; free space"
    ):
        fetch(download(server, tmp_path))


def test_a_file_of_unknown_length(server: Server, tmp_path: Path) -> None:
    server.lengths = False
    assert fetch(download(server, tmp_path, MD5)).read_bytes() == DATA


def test_a_folder_is_a_mirror(tmp_path: Path, pauses: list[float]) -> None:
    folder = tmp_path / "a mirror"
    folder.mkdir()
    (folder / "file.bin").write_bytes(DATA)
    for mirror in (str(folder), folder.as_uri(), f"{folder.as_uri()}/"):
        base = base_address(mirror)
        assert base == folder.as_uri()
    target = tmp_path / "cache" / "file.bin"
    wanted = Download(url=f"{base}/file.bin", target=target, md5=(MD5,))
    assert fetch(wanted).read_bytes() == DATA
    assert base_address("https://host:8080/a/b/") == "https://host:8080/a/b"
    assert not pauses


def test_a_local_file_is_missing_or_wrong_at_once(tmp_path: Path, pauses: list[float]) -> None:
    """Nothing is tried twice, nothing is written, and the sentence names the file."""
    for name in ("gone.bin", "wrong.bin"):
        if name == "wrong.bin":
            (tmp_path / name).write_bytes(b"wrong")
        wanted = Download(url=f"{tmp_path.as_uri()}/{name}", target=tmp_path / "cache" / name, md5=(MD5,))
        expected = PreconditionError if name == "gone.bin" else VerificationError
        with pytest.raises(expected, match=f"{tmp_path}/{name} |no file {tmp_path}/{name};"):
            fetch(wanted)
    assert not (tmp_path / "cache").exists()
    assert not pauses


def test_an_address_that_cannot_be_one_is_not_tried_again(tmp_path: Path, pauses: list[float]) -> None:
    wanted = Download(url="http://127.0.0.1:9/a b.zip", target=tmp_path / "x")
    with pytest.raises(PreconditionError, match=r"a b\.zip cannot be fetched .*correct the name"):
        fetch(wanted)
    assert not pauses


@pytest.mark.parametrize(
    "mirror",
    ["ftp://host/x", "s3://bucket", "http://", "http://[1", "http://h:x", "http://a b", "file://far/x", " "],
)
def test_no_address(mirror: str) -> None:
    with pytest.raises(UsageError, match=r"is no address that files can be fetched from; give http://HOST"):
        base_address(mirror)


@pytest.mark.parametrize("mirror", ["not-there", "file:///not/there", "host.org/data"])
def test_no_folder(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        PreconditionError, match=f"--mirror {mirror}: there is no folder .*; give http://HOST"
    ):
        base_address(mirror)


class InTurn(Silent):
    """Of two downloads at once: after every block, and before the second one's first, the other goes on."""

    def __init__(self, own: int, turns: Sequence[threading.Semaphore]) -> None:
        self.own, self.turns = own, turns

    def start(self, label: str, total: int | None, unit: str, done: int = 0) -> None:
        if self.own:
            self.advance(0)

    def advance(self, units: int) -> None:
        self.turns[1 - self.own].release()
        assert self.turns[self.own].acquire(timeout=30)


@pytest.mark.parametrize("published", [(), (MD5,)])
@pytest.mark.parametrize("version", ['"one"', None])
def test_two_processes_that_fetch_a_file_at_once_do_each_other_no_harm(
    server: Server, tmp_path: Path, version: str | None, published: tuple[str, ...]
) -> None:
    server.version = version
    turns = threading.Semaphore(1), threading.Semaphore(0)

    def fetched(own: int) -> bytes:
        assert turns[own].acquire(timeout=30)
        try:
            return fetch(download(server, tmp_path, *published), InTurn(own, turns)).read_bytes()
        finally:
            turns[1 - own].release(100)  # the other one alone

    with ThreadPoolExecutor(2) as both:
        assert list(both.map(fetched, (0, 1))) == [DATA, DATA]
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert os.listdir(tmp_path) == ["file.bin"]


def test_a_connection_that_is_reset_is_continued(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, resets = urllib.request.urlopen, [ConnectionResetError(errno.ECONNRESET, "reset"), TimeoutError()]

    def resetting(*words: Any, **named: Any) -> Any:
        response = opened(*words, **named)
        if resets:
            blocks = iter([response.read(1000)])

            def read(size: int) -> bytes:
                for block in blocks:
                    return block
                raise resets.pop()

            response.read = read
        return response

    monkeypatch.setattr(urllib.request, "urlopen", resetting)
    assert fetch(download(server, tmp_path, MD5)).read_bytes() == DATA
    assert server.log == [None, "bytes=1000-", "bytes=2000-"]
