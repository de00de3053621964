"""The output of a search: its stage, and the writing of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dretrieve.jobs.configs.search import SearchConfig
from dretrieve.runs.write import compression, write_run
from dretrieve.store.shards import Shard
from dretrieve.store.stage import Stage
from dretrieve.types import Run

STAGE, VERSION = "search", 1


def search_stage(
    config: SearchConfig, options: Mapping[str, Any], inputs: Mapping[str, str], shard: Shard | None
) -> Stage:
    """Return the stage of a search; only what can change the run's bytes is in it."""
    known: dict[str, Any] = {"hits": config.hits, "form": written_form(config), **options}
    if config.shard is not None and shard is not None:
        known["shard"] = {
            "index": shard.index,
            "count": shard.count,
            "start": shard.start,
            "stop": shard.stop,
            "total": shard.total,
        }
    return Stage(
        config.output,
        kind="file",
        name=STAGE,
        version=VERSION,
        options=known,
        inputs=inputs,
        force=config.force,
    )


def written_form(config: SearchConfig) -> str:
    """Return the form with the compression that the output's name asks for."""
    ending = compression(config.output)
    return config.form + ending


def write_search(
    stage: Stage,
    found: Run,
    config: SearchConfig,
    counts: Mapping[str, int],
    seconds: float,
    extra: Mapping[str, Any] | None = None,
) -> int:
    """Write the run and commit, ``extra`` for the manifest; return the number of hits."""
    with stage.write() as file:
        hits = write_run(file, found, form=config.form, name=config.output.name)
    speed = {"search_seconds": round(seconds, 3), "threads": config.threads, "device": config.device}
    stage.commit(counts={**counts, "hits": hits}, extra=extra, details=speed)
    return hits
