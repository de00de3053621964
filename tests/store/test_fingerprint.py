"""Names for contents."""

import hashlib

import pytest

from dretrieve.store.fingerprint import canonical_json, fingerprint, sha256_bytes, sha256_file


def test_canonical_json_has_one_spelling() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("inf"))


def test_order_of_options_does_not_matter_and_everything_else_does() -> None:
    base = fingerprint("encode", 1, {"a": 1, "b": 2}, {"model": "m"})
    assert base == fingerprint("encode", 1, {"b": 2, "a": 1}, {"model": "m"})
    others = {
        fingerprint("search", 1, {"a": 1, "b": 2}, {"model": "m"}),
        fingerprint("encode", 2, {"a": 1, "b": 2}, {"model": "m"}),
        fingerprint("encode", 1, {"a": 1, "b": 3}, {"model": "m"}),
        fingerprint("encode", 1, {"a": 1, "b": 2}, {"model": "n"}),
        base,
    }
    assert len(others) == 5


def test_hashes_are_sha256(tmp_path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert sha256_bytes(b"abc") == sha256_file(tmp_path / "f") == expected
