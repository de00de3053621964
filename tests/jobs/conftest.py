"""What the tests of several jobs begin with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dretrieve.jobs.configs.explain import ExplainConfig


@pytest.fixture
def config(model_of: Callable[[], str], tiny_collection: Path) -> ExplainConfig:
    """What `explain` is asked: of the test file's own ``model_of()``, on the tiny collection."""
    return ExplainConfig(
        model=model_of(),
        corpus=(str(tiny_collection),),
        queries=(f"{tiny_collection}:test",),
        device="cpu",
        precision="fp32",
    )
