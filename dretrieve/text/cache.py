"""Where things are kept that can be made again (text stores, downloads)."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$DRETRIEVE_CACHE``, or ``~/.cache/dretrieve``; it need not exist."""
    return Path(os.environ.get("DRETRIEVE_CACHE") or Path.home() / ".cache" / "dretrieve")


def download_folder(kind: str, base: str, *, unchecked: bool) -> Path:
    """Return where downloads of a kind stand; one that is not checked never stands where a checked one would.

    Args:
        kind: ``dpr``, ``beir`` and so on.
        base: the address that they come from.
        unchecked: whether they need not be those whose checksums are published.
    """
    if not unchecked:
        return cache_folder() / "downloads" / kind
    return cache_folder() / "unchecked" / sha256(base.encode()).hexdigest()[:12] / kind
