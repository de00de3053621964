"""Manifests are deterministic, checked, and know their files."""

import json
import os
from pathlib import Path

import pytest

from dretrieve.errors import DataError, PreconditionError, VerificationError
from dretrieve.store.manifest import (
    Manifest,
    commit,
    manifest_path,
    provenance_path,
    read_manifest,
    verify_files,
)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    (tmp_path / "data.bin").write_bytes(b"0123456789")
    commit(tmp_path / "manifest.json", Manifest(stage="encode", version=1), ["data.bin"], {})
    return tmp_path / "manifest.json"


def test_a_manifest_reads_back_equal_and_writes_the_same_bytes(artefact: Path) -> None:
    manifest = read_manifest(artefact)
    before = artefact.read_bytes()
    assert commit(artefact, manifest, ["data.bin"]) == manifest
    assert artefact.read_bytes() == before


def test_provenance_is_outside_the_fingerprint(artefact: Path) -> None:
    assert provenance_path(artefact).name == "provenance.json"
    assert "host" not in artefact.read_text()


@pytest.mark.parametrize("key", ["options", "inputs", "counts", "files", "extra", "stage"])
def test_an_edited_manifest_is_refused_whatever_was_edited(artefact: Path, key: str) -> None:
    value = json.loads(artefact.read_bytes())
    value[key] = "other" if key == "stage" else {**value[key], "x": 1}
    artefact.write_text(json.dumps(value))
    with pytest.raises(VerificationError, match="edited after it was written"):
        read_manifest(artefact)


def test_other_formats_and_other_files(artefact: Path, tmp_path: Path) -> None:
    value = json.loads(artefact.read_bytes())
    artefact.write_text(json.dumps({**value, "format": 99}))
    with pytest.raises(DataError, match="manifest format 99, this dretrieve reads format 1"):
        read_manifest(artefact)
    artefact.write_text("{")
    with pytest.raises(DataError, match="cannot be read as a manifest"):
        read_manifest(artefact)
    artefact.write_text("{}")
    with pytest.raises(DataError, match="is not a manifest of dretrieve"):
        read_manifest(artefact)
    with pytest.raises(PreconditionError, match="has not finished"):
        read_manifest(tmp_path / "none.json")


def test_truncated_and_flipped_bytes_are_found(artefact: Path) -> None:
    manifest, data = read_manifest(artefact), artefact.parent / "data.bin"
    verify_files(artefact, manifest)
    data.write_bytes(b"012345678X")
    with pytest.raises(VerificationError, match="bytes were changed"):
        verify_files(artefact, manifest)
    data.write_bytes(b"01234")
    with pytest.raises(VerificationError, match=r"has 5 bytes, manifest\.json says 10"):
        verify_files(artefact, manifest)
    data.unlink()
    with pytest.raises(PreconditionError, match=r"data.bin is missing"):
        verify_files(artefact, manifest)


def test_a_flip_that_keeps_size_and_time_is_found_by_full(artefact: Path) -> None:
    manifest, data = read_manifest(artefact), artefact.parent / "data.bin"
    status = data.stat()
    data.write_bytes(b"012345678X")
    os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))
    verify_files(artefact, manifest)
    with pytest.raises(VerificationError, match="checksum"):
        verify_files(artefact, manifest, full=True)


def test_where_manifests_stand(tmp_path: Path) -> None:
    (tmp_path / "run.trec").touch()
    assert manifest_path(tmp_path) == tmp_path / "manifest.json"
    assert manifest_path(tmp_path / "run.trec") == tmp_path / "run.trec.manifest.json"
    assert provenance_path(tmp_path / "run.trec.manifest.json").name == "run.trec.provenance.json"
