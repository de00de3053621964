"""Archives and files with an address: what is unpacked, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dretrieve.errors import DataError, UsageError, VerificationError
from dretrieve.store.interrupt import Signals
from dretrieve.text import download, remote
from dretrieve.text.collection import Collection
from dretrieve.text.compression import Damaged
from dretrieve.types import SILENT, Progress
from tests.common import lines, prepared

Server = Any  # the fixture `server` of conftest.py


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    monkeypatch.setattr(download, "PAUSE", 0.0)


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
    made = prepared("beir:scifact", tmp_path / "out")
    assert made["sha256"] == Collection(tiny_collection).sha256
    assert made["splits"] == {"dev": 6, "test": 6, "train": 6}
    assert "the licence is that of the data set's makers" in made["licence"]
    assert not list(tmp_path.rglob("evil*"))


def test_an_archive_in_an_archive(
    tiny_collection: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    md5 = place(cache, "beir", "cqadupstack.zip", beir_zip(tiny_collection, "cqadupstack/android"))
    monkeypatch.setitem(remote.BEIR_MD5, "cqadupstack", (md5,))
    assert prepared("beir:cqadupstack/android", tmp_path / "out")["counts"]["passages"] == 30
    with pytest.raises(
        DataError, match="holds no collection 'cqadupstack/physics'; it holds: cqadupstack/android"
    ):
        prepared("beir:cqadupstack/physics", tmp_path / "other")


def test_no_zip_file(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(remote.BEIR_MD5, "scifact", (place(cache, "beir", "scifact.zip", b"<html>"),))
    with pytest.raises(DataError, match="is no intact zip file"):
        prepared("beir:scifact", tmp_path / "out")


def test_a_dpr_file(tmp_path: Path, cache: Path) -> None:
    place(cache, "dpr", "nq-test.qa.csv", b"who\t['x']\n")
    made = prepared("dpr:nq-test.qa", tmp_path / "out")
    assert made["counts"]["queries"] == 1
    assert Collection.open(f"{tmp_path / 'out'}:test").queries().answers == [("x",)]


def test_unknown_names_are_listed(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"beir:scifct is not known \(did you mean scifact\?\); there are: arguana"
    ):
        prepared("beir:scifct", tmp_path / "out")
    with pytest.raises(UsageError, match="dpr:nope is not known; there are: psgs_w100, biencoder-nq-train"):
        prepared("dpr:nope", tmp_path / "out")


def test_a_download_keeps_the_judgements_given_with_it(tmp_path: Path, cache: Path) -> None:
    place(cache, "dpr", "nq-test.qa.csv", b"who\t['x']\n")
    (tmp_path / "c.tsv").write_text("7\tsome passage\n", encoding="utf-8")
    (tmp_path / "qrels.txt").write_text("0 0 7 1\n", encoding="utf-8")
    made = prepared(
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
    prepared("dpr:curatedtrec-test.qa", tmp_path / "out")
    assert Collection.open(f"{tmp_path / 'out'}:test").queries().answers_are_regex == [True]
    row = {"question": "when", "answers": ["Sept?(ember)?"], "hard_negative_ctxs": [], "negative_ctxs": []}
    row["positive_ctxs"] = [{"title": "t", "text": "in September", "passage_id": "1"}]
    packed = gzip.compress(json.dumps([row]).encode())
    place(cache, "dpr", "biencoder-curatedtrec-train.json.gz", packed)
    prepared("dpr:biencoder-curatedtrec-train", tmp_path / "train")
    assert Collection.open(f"{tmp_path / 'train'}:train").queries().answers_are_regex == [True]


def test_an_unchecked_mirror_has_a_place_of_its_own(tmp_path: Path, cache: Path) -> None:
    """What was never compared with a published checksum must not be taken for what was."""
    checked = remote.find("dpr", "psgs_w100", "http://mirror").plan()
    unchecked = remote.find("dpr", "psgs_w100", "http://mirror", unchecked=True).plan()
    other = remote.find("dpr", "psgs_w100", "http://elsewhere", unchecked=True).plan()
    assert "/downloads/dpr/psgs_w100.tsv.gz" in checked
    assert "/unchecked/" in unchecked
    assert unchecked.partition(" into ")[2] != other.partition(" into ")[2]
    with pytest.raises(UsageError, match="--unchecked goes with --mirror URL"):
        prepared("dpr:psgs_w100", tmp_path / "out", unchecked=True)


def test_the_hub_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--mirror .* is no hub; give http://HOST or https://HOST"):
        prepared("hf:mteb/scifact", tmp_path / "out", mirror=str(tmp_path), dry_run=True)


def test_a_local_mirror_of_other_bytes_is_refused_before_it_is_copied(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "scifact.zip").write_bytes(b"other")
    for dry_run in (True, False):
        with pytest.raises(VerificationError, match=rf"{tmp_path}/scifact\.zip has md5 .*published is 5f7d"):
            prepared("beir:scifact", tmp_path / "out", mirror=str(tmp_path), dry_run=dry_run)
    assert not cache.exists()
    made = prepared("beir:scifact", tmp_path / "out", mirror=str(tmp_path), unchecked=True, dry_run=True)
    assert made["state"] == "to do"


SPLITS = {"train": "train", "val": "dev", "test": "test"}


def domain(folder: Path, tiny_collection: Path) -> Path:
    """Write the tiny collection as the Multi-Domain Benchmark's files stand; return the folder."""
    collection = Collection(tiny_collection)
    queries = {query.id: query.text for query in collection.queries().queries}
    corpus = collection.corpus()
    rows = [
        {"id": record.id, "title": record.title, "text": record.text, "keywords": ["k"], "doi": None}
        for record in corpus.records(0, len(corpus))
    ]
    lines(folder / "collection.jsonl", *rows)
    lines(folder / "authors.jsonl", {"id": "a", "name": "not ours", "docs": []})
    for name, split in SPLITS.items():
        asked = [
            {"id": query, "text": queries[query], "rel_doc_ids": [passage], "user_id": "u", "timestamp": 7}
            | {"bm25_doc_ids": ["x"] * 9, "bm25_doc_scores": [0.5] * 9}
            for query, passage, _ in collection.qrels(split).rows()
        ]
        lines(folder / name / "queries.jsonl", *asked)
        (folder / name / "query_ids.txt").write_text("\n".join(query["id"] for query in asked))
    return folder


def test_a_domain_of_the_multi_domain_benchmark(
    tiny_collection: Path, tmp_path: Path, cache: Path, server: Server, at_once: None
) -> None:
    """Fetched over broken connections, or read from a folder: the collection that it was made from."""
    folder = domain(tmp_path / "computer_science", tiny_collection)
    server.data, server.cut_after, server.cuts = beir_zip(folder, "computer_science"), 1000, 2
    fetched = prepared("mdb:computer_science", tmp_path / "fetched", mirror=server.base)
    assert [asked is None for asked in server.log] == [True, False, False]  # each goes on where one broke
    assert not list(tmp_path.rglob("evil*"))
    assert not list(cache.rglob("authors.jsonl"))
    local = prepared(folder, tmp_path / "local")
    for made in (fetched, local):
        assert made["sha256"] == Collection(tiny_collection).sha256
        assert made["splits"] == {"dev": 6, "test": 6, "train": 6}
        assert made["counts"]["judgements"] == 18
        assert "passages: left out 'keywords', 'doi'" in made["notes"]
        assert "queries: kept as fields 'user_id', 'timestamp'" in made["notes"]
        assert "queries: left out 'bm25_doc_ids', 'bm25_doc_scores'" in made["notes"]
    assert "10.5281/zenodo.6606557" in fetched["licence"]
    for split in SPLITS.values():
        ours, theirs = (Collection(of).qrels(split) for of in (tmp_path / "local", tiny_collection))
        assert list(ours.rows()) == list(theirs.rows())
    zipped = tmp_path / "cs.zip"
    zipped.write_bytes(server.data)
    assert prepared(zipped, tmp_path / "zipped")["counts"] == local["counts"]
    assert prepared(folder, tmp_path / "local")["state"] == "up to date"


def test_what_is_no_domain(tiny_collection: Path, tmp_path: Path, cache: Path, server: Server) -> None:
    with pytest.raises(
        UsageError, match="mdb:biology is not known; there are: computer_science, physics, pol"
    ):
        prepared("mdb:biology", tmp_path / "out")
    assert "/records/6606557/files/political_science.zip" in remote.find("mdb", "political_science").plan()
    server.data = b"<html>"
    with pytest.raises(DataError, match="is no intact zip file .* it is removed: run the command again"):
        prepared("mdb:physics", tmp_path / "out", mirror=server.base)
    server.data = beir_zip(tiny_collection, "physics")[:-200]
    with pytest.raises(DataError, match="is no intact zip file"):
        prepared("mdb:physics", tmp_path / "out", mirror=server.base)
    empty = tmp_path / "empty"
    lines(empty / "physics" / "journals.jsonl", {"id": 1})
    server.data = beir_zip(empty, "x")
    with pytest.raises(
        DataError, match=r"holds no corpus\.jsonl or collection\.jsonl beside its queries; one"
    ):
        prepared("mdb:physics", tmp_path / "out", mirror=server.base)
    folder = domain(tmp_path / "domain", tiny_collection)
    for options, message in (
        ({"split": "dev"}, "has queries of each split; leave --split out"),
        ({"queries": folder / "val" / "queries.jsonl"}, r"holds queries\.jsonl already; leave --queries out"),
        ({"qrels": (f"dev={tiny_collection / 'qrels' / 'dev.tsv'}",)}, "holds judgements of 'dev' already"),
    ):
        with pytest.raises(UsageError, match=message):
            prepared(folder, tmp_path / "out", **options)
    lines(folder / "val" / "queries.jsonl", {"id": "q", "text": "bees", "rel_doc_ids": []})
    with pytest.raises(
        DataError, match="val/queries.jsonl: the query 'q' names no relevant passages; give it"
    ):
        prepared(folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["nq", "hotpotqa"])
def test_beirs_archives_over_broken_connections(
    tiny_collection: Path, tmp_path: Path, cache: Path, server: Server, at_once: None, name: str
) -> None:
    server.data, server.cut_after, server.cuts = beir_zip(tiny_collection, name), 1000, 2
    with pytest.raises(
        VerificationError, match=rf"{name}\.zip has md5 .* published is {remote.BEIR_MD5[name][0]}"
    ):
        prepared(f"beir:{name}", tmp_path / "out", mirror=server.base)
    server.cuts = 2
    made = prepared(f"beir:{name}", tmp_path / "out", mirror=server.base, unchecked=True)
    assert (made["sha256"], made["splits"]["test"]) == (Collection(tiny_collection).sha256, 6)


def test_a_damaged_archive_that_another_process_has_removed_is_said_alike(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<html>")

    def unpack(path: Path, progress: Progress) -> Path:
        path.unlink()
        raise Damaged(path, "it is no zip file")

    wanted = download.Download(url=(tmp_path / "a.zip").as_uri(), target=tmp_path / "cache" / "a.zip")
    with pytest.raises(DataError, match="it is no zip file; it is removed: run the command again"):
        remote.RemoteFile(name="a", download=wanted, licence="", unpack=unpack).fetch(SILENT, Signals())
