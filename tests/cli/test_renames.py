"""The table of other tools' words."""

from __future__ import annotations

import re

from dretrieve_cli.app import COMMANDS, parser_of
from dretrieve_cli.renames import COMMAND_RENAMES, FLAG_RENAMES


def test_flags_are_written_as_the_parser_looks_them_up():
    assert len(FLAG_RENAMES) > 40
    assert all(re.fullmatch(r"--[a-z0-9.]+(-[a-z0-9]+)*", flag) for flag in FLAG_RENAMES)


def test_explained_commands_are_not_ours():
    assert not set(COMMAND_RENAMES) & set(COMMANDS)


def test_what_the_sentences_name_exists():
    options: set[str] = set()
    for name in COMMANDS:
        options |= {spelling for param in parser_of(name, ["shared"]).params for spelling in param.opts}
    for text in (*FLAG_RENAMES.values(), *COMMAND_RENAMES.values()):
        assert set(re.findall(r"--[a-z][a-z0-9-]*", text)) - {"--version"} <= options, text
