"""Archives that swell beyond all measure are refused before anything is written."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from dretrieve.errors import DataError
from dretrieve.text import archives
from dretrieve.text.archives import refuse_swelling, unpack
from dretrieve.types import Silent


def test_a_zip_that_swells_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LEAST_BOMB", 1 << 20)
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("bomb/corpus.jsonl", bytes(1 << 22))
    with pytest.raises(
        DataError, match=r"bomb\.zip would unpack to 4,194,304 bytes from [\d,]+; at most 64 GB"
    ):
        unpack(archive, "bomb", tmp_path / "out", Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.zip"]


def test_an_ordinary_zip_is_taken(tmp_path: Path) -> None:
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("set/corpus.jsonl", "".join(f'{{"_id": "{row * 7919}"}}\\n' for row in range(1000)))
        refuse_swelling(bundle, bundle.namelist())
