"""Where the cache is."""

from __future__ import annotations

from pathlib import Path

import pytest

from dretrieve.text.cache import cache_folder


def test_the_variable_wins_over_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRETRIEVE_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    monkeypatch.setenv("DRETRIEVE_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dretrieve"
    assert not (tmp_path / ".cache").exists()
