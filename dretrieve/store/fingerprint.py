"""Names for contents: SHA-256 over bytes, and over the canonical JSON of what a stage depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def canonical_json(value: object) -> bytes:
    """Return the one JSON spelling of ``value``: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_bytes(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of the file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(stage: str, version: int, options: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """Return what a stage's output is a pure function of, as one hash.

    Args:
        stage: the stage's name.
        version: raised when the same options would give other bytes than before.
        options: only those that can change bytes; threads, verbosity and paths stay out.
        inputs: the fingerprint of each input by its role.
    """
    return sha256_bytes(
        canonical_json({"inputs": inputs, "options": options, "stage": stage, "version": version})
    )
