"""EntityQuestions from its archive, over a connection that breaks and damages."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.jobs.prepare import PrepareConfig, run
from dretrieve.text import download, remote
from dretrieve.text.collection import Collection
from tests.common import Told


def archive(compression: int = zipfile.ZIP_DEFLATED, **changed: object) -> bytes:
    """The published layout with two relations and a folder that must be left alone."""
    rows = {
        f"dataset/{split}/{relation}.{split}.json": [
            {"question": f"{split} {relation} {number}?", "answers": ["Rome", "Roma"]} for number in range(2)
        ]
        for split in ("train", "dev", "test")
        for relation in ("P50", "P19")
    }
    rows |= {
        "dataset/one-off/similar/P19/P19.test.json": [],
        "dataset/dev/P1.test.json": [],
        "../evil.json": [],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as bundle:
        for name, value in (rows | changed).items():
            bundle.writestr(name, value if isinstance(value, str) else json.dumps(value))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, short pauses."""
    monkeypatch.setenv("DRETRIEVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE", 0.001)


def make(split: str, output: Path, progress: Told | None = None, **options: object) -> dict:
    config = PrepareConfig(source=f"entityquestions:{split}", output=output, **options)
    return run(config, progress or Told()).as_json()


def test_a_split_through_cuts(server, tmp_path: Path) -> None:
    server.data, server.cuts, server.cut_after = archive(), 3, 200
    notes = Told()
    made = make("test", tmp_path / "out", notes, mirror=server.base)
    assert made["counts"]["queries"] == 4
    assert len(server.log) == 4
    assert "MIT licence" in made["licence"]
    assert any("no checksum is known" in line for line in notes.lines)
    assert any("MIT licence" in line for line in notes.lines)
    found = Collection.open(f"{tmp_path / 'out'}:test").queries().queries
    assert [query.id for query in found] == [
        f"eq-test-{relation}-0000{number}" for relation in ("P19", "P50") for number in range(2)
    ]
    assert found[0].answers == ("Rome", "Roma")
    assert found[0].fields == {"relation": "P19", "split": "test"}
    assert make("test", tmp_path / "out", mirror=server.base)["state"] == "up to date"
    assert len(server.log) == 4
    assert not list(tmp_path.rglob("evil*"))


def test_all_splits(server, tmp_path: Path) -> None:
    server.data = archive()
    made = make("all", tmp_path / "out", mirror=server.base)
    assert made["counts"]["queries"] == 12
    assert Collection(tmp_path / "out").splits == ["dev", "test", "train"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_bytes_are_removed_and_fetched_again(server, tmp_path: Path, compression: int) -> None:
    good = archive(compression)
    middle = zipfile.ZipFile(io.BytesIO(good)).getinfo("dataset/test/P50.test.json").header_offset + 70
    server.data = good[:middle] + bytes(255 - byte for byte in good[middle : middle + 9]) + good[middle + 9 :]
    with pytest.raises(DataError, match="is no intact zip file .* is removed: run the command again"):
        make("test", tmp_path / "out", mirror=server.base)
    server.data, server.version = good, '"two"'
    assert make("test", tmp_path / "out", mirror=server.base)["counts"]["queries"] == 4


def test_another_archive_is_refused(server, tmp_path: Path) -> None:
    for bad in ("{", json.dumps([{"question": "who?"}]), json.dumps({"question": "who?", "answers": []})):
        server.data = archive(**{"dataset/test/P19.test.json": bad})
        with pytest.raises(DataError, match=r"P19.test.json: .*the archive is not the published one"):
            make("test", tmp_path / "out", mirror=server.base)
        (tmp_path / "cache/downloads/entityquestions/dataset.zip").unlink()


def test_the_address_and_the_splits() -> None:
    plan = remote.find("entityquestions", "test").plan()
    assert "https://nlp.cs.princeton.edu/projects/entity-questions/dataset.zip" in plan
    with pytest.raises(
        UsageError,
        match="entityquestions:tests is not known .did you mean test.*; there are: train, dev, test, all",
    ):
        remote.find("entityquestions", "tests")


def test_a_split_is_chosen_by_the_name_alone(tmp_path: Path) -> None:
    config = PrepareConfig(source="entityquestions:dev", output=tmp_path / "out", split="X")
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="--split X: each question of EntityQuestions names its split"):
            run(replace(config, dry_run=dry_run))


def test_a_dry_run_refuses_a_mirror_as_the_run_does(tmp_path: Path) -> None:
    """Also when there is a folder, without the archive; and it takes the archive that is there."""
    (tmp_path / "mirror").mkdir()
    cases = {
        str(tmp_path / "gone"): (PreconditionError, "there is no folder .*gone"),
        "gopher://host": (UsageError, "is no address"),
        str(tmp_path / "mirror"): (PreconditionError, r"the mirror has no file .*mirror/dataset\.zip"),
    }
    for mirror, (kind, text) in cases.items():
        for dry_run in (True, False):
            with pytest.raises(kind, match=text):
                make("dev", tmp_path / "out", mirror=mirror, dry_run=dry_run)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mirror" / "dataset.zip").write_bytes(archive())
    assert make("dev", tmp_path / "out", mirror=mirror, dry_run=True)["state"] == "to do"
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()
    assert make("dev", tmp_path / "out", mirror=mirror)["counts"]["queries"] == 4
