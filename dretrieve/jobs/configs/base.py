"""What many jobs are told: each option that several commands have, said once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dretrieve.options import REQUIRED, check, option, parse_settings
from dretrieve.store.shards import parse_shard

COMMON, COMPUTE = "Common", "Compute"
FORMS = ("auto", "trec", "msmarco", "tevatron", "colbert", "dpr", "pyserini-json", "ranx")  # of runs
NAMED = f"{', '.join(FORMS[:-1])} or {FORMS[-1]}"
given = partial(option, panel="Input")
form_of_run = partial(option, metavar="FORM", legal=FORMS)
MODEL = ("--model-name-or-path",)
QUERIES = ("--topics",)


# Of a field that is a config itself: which one, and its options' group.
Inner = Mapping[str, tuple[type, str]]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Checked when it is made; its docstring is the command's help below the first line."""

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def inner(cls, words: Sequence[str]) -> Inner:
        """Return the configs within that depend on the words of the command line."""
        return {}

    @classmethod
    def help(cls, words: Sequence[str]) -> str:
        """Return the help, purpose and ``Examples:``."""
        return inspect.getdoc(cls) or ""

    @classmethod
    def from_words(cls, given: dict[str, Any]) -> Config:
        """Return the config of the fields that the command line gave."""
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class Careful(Config):
    """Of jobs that write or replace: what they would do, and whether they may."""

    force: bool = option(False, "Replace a result of other options.", panel=COMMON)
    dry_run: bool = option(False, "Say what would be done and what it costs.", panel=COMMON)


@dataclass(frozen=True, kw_only=True)
class Writing(Careful):
    """Of jobs that must be told where the result goes."""

    output: Path = option(REQUIRED, "Where the result goes.", aliases=("-o",))


@dataclass(frozen=True, kw_only=True)
class Verifying(Config):
    """Of jobs with inputs that have a manifest: True hashes every file again, whatever its time says."""

    verify: bool = option(
        False, "full hashes every file again.", panel=COMMON, words={"quick": False, "full": True}
    )


@dataclass(frozen=True, kw_only=True)
class Computing(Config):
    """Of jobs in which a model runs."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N.", panel=COMPUTE)
    precision: str = option(
        "auto", "fp32, bf16, fp16 (GPUs), or auto: bf16 where the device has it, else fp32.", panel=COMPUTE
    )


def choices(text: str, **more: Any) -> Any:
    """Return the option ``--set NAME=VALUE``, whose values make a mapping."""
    form = {"flag": "--set", "metavar": "NAME=VALUE", "repeated": True, "parse": parse_settings}
    return option({}, text, **form, **more)


@dataclass(frozen=True, kw_only=True)
class Choosing(Config):
    """Of jobs whose model leaves choices open: name to value."""

    settings: Mapping[str, Any] = choices("A choice of the model's method; repeatable.")


@dataclass(frozen=True, kw_only=True)
class Sharded(Config):
    """Of jobs that can do one part of the work: (index, count)."""

    shard: tuple[int, int] | None = option(
        None,
        "Do part I (from 0) of N only; array/N takes I from the job array.",
        metavar="I/N",
        panel=COMPUTE,
        parse=parse_shard,
    )


@dataclass(frozen=True, kw_only=True)
class ReadingTopics(Config):
    """Of jobs that read queries, which TREC's topics may be."""

    topic_field: str | None = given(
        None, "Of TREC's topics: title (as is), description, narrative, or title+description."
    )


@dataclass(frozen=True, kw_only=True)
class ReadingRun(Config):
    """Of jobs that read one form of runs."""

    run_format: str = form_of_run("auto", f"What the run is: {NAMED}.")


@dataclass(frozen=True, kw_only=True)
class ReadingRuns(Config):
    """Of jobs that read several runs, each perhaps in a form of its own."""

    run_format: tuple[str, ...] = form_of_run((), f"What the runs are, once or for each: {NAMED}.")
