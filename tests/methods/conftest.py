"""The methods of this folder as a package of their own would bring them: modules and a registry line each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dretrieve.models import registry

HERE = Path(__file__).parent
LINES = """[dretrieve.methods]
late_interaction = late_interaction:LateInteraction
reader = encoder_decoder:Reader
prefix = prefix:Prefix
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[dict[str, str]]:
    """Put the methods on the path of this process; return the environment that does it for another."""
    place = tmp_path_factory.mktemp("installed")
    (place / "toys-1.0.dist-info").mkdir()
    (place / "toys-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n"
    )
    (place / "toys-1.0.dist-info" / "entry_points.txt").write_text(LINES)
    paths = [str(HERE), str(place)]
    with pytest.MonkeyPatch.context() as patch:
        for path in paths:
            patch.syspath_prepend(path)
        registry.methods.cache_clear()
        yield os.environ | {"PYTHONPATH": os.pathsep.join([*paths, str(root), str(root / "cli")])}
    registry.methods.cache_clear()
    for name in ("late_interaction", "prefix", "encoder_decoder"):
        sys.modules.pop(name, None)
