"""Commands of a test's own: a config, a job, a line of the table."""

from __future__ import annotations

import sys
import types

import pytest

from dretrieve_cli import app


class Echo:
    """A result that repeats what arrived."""

    def __init__(self, config) -> None:
        self.config = config

    def as_json(self) -> object:
        return {name: str(value) for name, value in vars(self.config).items()}

    def render(self) -> str:
        return str(self.as_json())


@pytest.fixture
def new_command(monkeypatch):
    """``new_command(Config, run)``: the command that is named as the config is."""

    def add(kind, run=lambda config, progress: Echo(config)):
        name = kind.__name__.removesuffix("Config").lower()
        for place, held in (("configs.", {kind.__name__: kind}), ("", {"run": run})):
            module = types.ModuleType(name)
            vars(module).update(vars(sys.modules[kind.__module__]) | held)  # its annotations are read there
            monkeypatch.setitem(sys.modules, f"dretrieve.jobs.{place}{name}", module)
        monkeypatch.setattr(kind, "__module__", f"dretrieve.jobs.configs.{name}")
        monkeypatch.setitem(app.COMMANDS, name, ("Look", "Try the parser."))
        return name

    return add
