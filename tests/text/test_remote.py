"""Archives and files with an address: what is unpacked, what is refused."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from dretrieve.errors import DataError, UsageError, VerificationError
from dretrieve.jobs.prepare import PrepareConfig, run
from dretrieve.text import remote
from dretrieve.text.collection import Collection


def make(source: object, output: Path, **options: object) -> dict:
    """Run the job and return its JSON."""
    return run(PrepareConfig(source=str(source), output=output, **options)).as_json()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("DRETRIEVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def beir_zip(folder: Path, name: str) -> bytes:
    """Return a BEIR archive of that folder, with members that must not be unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and ".dretrieve" not in path.parts:
                bundle.write(path, f"{name}/{path.relative_to(folder)}")
        bundle.writestr("../evil", "x")
        bundle.writestr(f"{name}/qrels/../../evil.tsv", "x")
    return buffer.getvalue()


def place(cache: Path, kind: str, name: str, data: bytes) -> str:
    """Put a file where the download would go; returns its md5."""
    path = cache / "downloads" / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.md5(data).hexdigest()


def test_a_beir_archive(
    tiny_collection: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is read from the cache, where the user may also put it by hand."""
    md5 = place(cache, "beir", "scifact.zip", beir_zip(tiny_collection, "scifact"))
    monkeypatch.setitem(remote.BEIR_MD5, "scifact", (md5,))
    made = make("beir:scifact", tmp_path / "out")
    assert made["sha256"] == Collection(tiny_collection).sha256
    assert made["splits"] == {"dev": 6, "test": 6, "train": 6}
    assert "the licence is that of the data set's makers" in made["licence"]
    assert not list(tmp_path.rglob("evil*"))


def test_an_archive_in_an_archive(
    tiny_collection: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    md5 = place(cache, "beir", "cqadupstack.zip", beir_zip(tiny_collection, "cqadupstack/android"))
    monkeypatch.setitem(remote.BEIR_MD5, "cqadupstack", (md5,))
    assert make("beir:cqadupstack/android", tmp_path / "out")["counts"]["passages"] == 30
    with pytest.raises(
        DataError, match="holds no collection 'cqadupstack/physics'; it holds: cqadupstack/android"
    ):
        make("beir:cqadupstack/physics", tmp_path / "other")


def test_no_zip_file(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(remote.BEIR_MD5, "scifact", (place(cache, "beir", "scifact.zip", b"<html>"),))
    with pytest.raises(DataError, match="is no intact zip file"):
        make("beir:scifact", tmp_path / "out")


def test_a_dpr_file(tmp_path: Path, cache: Path) -> None:
    place(cache, "dpr", "nq-test.qa.csv", b"who\t['x']\n")
    made = make("dpr:nq-test.qa", tmp_path / "out")
    assert made["counts"]["queries"] == 1
    assert Collection.open(f"{tmp_path / 'out'}:test").queries().answers == [("x",)]


def test_unknown_names_are_listed(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"beir:scifct is not known \(did you mean scifact\?\); there are: arguana"
    ):
        make("beir:scifct", tmp_path / "out")
    with pytest.raises(UsageError, match="dpr:nope is not known; there are: psgs_w100, biencoder-nq-train"):
        make("dpr:nope", tmp_path / "out")


def test_a_download_keeps_the_judgements_given_with_it(tmp_path: Path, cache: Path) -> None:
    place(cache, "dpr", "nq-test.qa.csv", b"who\t['x']\n")
    (tmp_path / "c.tsv").write_text("7\tsome passage\n", encoding="utf-8")
    (tmp_path / "qrels.txt").write_text("0 0 7 1\n", encoding="utf-8")
    made = make(
        "dpr:nq-test.qa",
        tmp_path / "out",
        corpus=tmp_path / "c.tsv",
        qrels=(f"test={tmp_path / 'qrels.txt'}",),
    )
    assert made["splits"] == {"test": 1}
    assert made["counts"]["passages"] == 1


def test_the_addresses_are_those_published() -> None:
    plan = remote.find("beir", "scifact").plan()
    assert "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/scifact.zip" in plan
    plan = remote.find("dpr", "biencoder-nq-train").plan()
    assert "https://dl.fbaipublicfiles.com/dpr/data/retriever/biencoder-nq-train.json.gz" in plan
    assert "http://mirror/scifact.zip" in remote.find("beir", "scifact", "http://mirror/").plan()
    assert all(len(md5) == 32 for known in remote.BEIR_MD5.values() for md5 in known)


def test_curatedtrecs_answers_are_patterns(tmp_path: Path, cache: Path) -> None:
    place(cache, "dpr", "curatedtrec-test.qa.csv", b"when\t['Sept?(ember)?']\n")
    make("dpr:curatedtrec-test.qa", tmp_path / "out")
    assert Collection.open(f"{tmp_path / 'out'}:test").queries().answers_are_regex == [True]


def test_an_unchecked_mirror_has_a_place_of_its_own(tmp_path: Path, cache: Path) -> None:
    """What was never compared with a published checksum must not be taken for what was."""
    checked = remote.find("dpr", "psgs_w100", "http://mirror").plan()
    unchecked = remote.find("dpr", "psgs_w100", "http://mirror", unchecked=True).plan()
    other = remote.find("dpr", "psgs_w100", "http://elsewhere", unchecked=True).plan()
    assert "/downloads/dpr/psgs_w100.tsv.gz" in checked
    assert "/unchecked/" in unchecked
    assert unchecked.partition(" into ")[2] != other.partition(" into ")[2]
    with pytest.raises(UsageError, match="--unchecked goes with --mirror URL"):
        make("dpr:psgs_w100", tmp_path / "out", unchecked=True)


def test_the_hub_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--mirror .* is no hub; give http://HOST or https://HOST"):
        make("hf:mteb/scifact", tmp_path / "out", mirror=str(tmp_path), dry_run=True)


def test_a_local_mirror_of_other_bytes_is_refused_before_it_is_copied(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "scifact.zip").write_bytes(b"other")
    for dry_run in (True, False):
        with pytest.raises(VerificationError, match=rf"{tmp_path}/scifact\.zip has md5 .*published is 5f7d"):
            make("beir:scifact", tmp_path / "out", mirror=str(tmp_path), dry_run=dry_run)
    assert not cache.exists()
    made = make("beir:scifact", tmp_path / "out", mirror=str(tmp_path), unchecked=True, dry_run=True)
    assert made["state"] == "to do"
