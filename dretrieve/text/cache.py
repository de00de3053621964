"""Where things are kept that can be made again (text stores, downloads)."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$DRETRIEVE_CACHE``, or ``~/.cache/dretrieve``; it need not exist."""
    return Path(os.environ.get("DRETRIEVE_CACHE") or Path.home() / ".cache" / "dretrieve")
