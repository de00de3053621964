"""Jobs behind the command line: results, errors and their exit codes, threads."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from rich.table import Table

from dretrieve import errors
from dretrieve.jobs.configs.base import Verifying, Writing
from dretrieve.options import REQUIRED, option, parse_settings
from dretrieve.threads import VARIABLES
from dretrieve_cli import app, command, streams


class Answer:
    """A result with a number in it."""

    def __init__(self, rendered: object = "forty-two") -> None:
        self.rendered = rendered

    def as_json(self) -> object:
        return {"answer": 42, "name": "é"}

    def render(self) -> object:
        return self.rendered


def failing(error: BaseException):
    def work(progress: object) -> Answer:
        raise error

    return work


def outcome(work, verbose=False):
    return app.guarded(lambda: command.execute(work), verbose=verbose)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DretrieveError("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.PreconditionError("x"), 3),
        (errors.DataError.at("corpus.jsonl", 7, "x"), 4),
        (errors.VerificationError("x"), 5),
        (errors.Interrupted("x"), 75),
        (MemoryError(), 3),
        (ModuleNotFoundError("No module named 'faiss'", name="faiss"), 3),
        (KeyboardInterrupt(), 130),
        (RuntimeError("two\nlines"), 1),
    ],
)
def test_errors_become_one_line_and_their_exit_code(error, code, capsys):
    assert outcome(failing(error)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "Traceback" not in captured.err


def test_an_unexpected_error_says_how_to_see_more(capsys):
    outcome(failing(RuntimeError("two\nlines")))
    assert "unexpected RuntimeError: two lines; run again with --verbose" in capsys.readouterr().err
    outcome(failing(RuntimeError("deep")), verbose=True)
    assert "in work" in capsys.readouterr().err


def test_results_go_to_stdout_as_text_json_or_table(capsys):
    command.execute(lambda progress: Answer())
    assert capsys.readouterr().out == "forty-two\n"
    command.execute(lambda progress: Answer(), command.Seen(json=True))
    assert capsys.readouterr().out == '{\n "answer": 42,\n "name": "é"\n}\n'
    table = Table("metric")
    table.add_row("nDCG@10")
    command.execute(lambda progress: Answer(table))
    shown = capsys.readouterr().out
    assert "nDCG@10" in shown
    assert "\x1b" not in shown


def test_progress_and_notes_go_to_stderr_and_quiet_silences_them(capsys):
    def work(progress) -> Answer:
        progress.start("encode", 10, "passages")
        progress.note("a default was taken")
        progress.advance(10)
        progress.finish()
        return Answer()

    command.execute(work)
    loud = capsys.readouterr()
    assert "encode: 10 passages" in loud.err
    assert "a default was taken" in loud.err
    command.execute(work, command.Seen(quiet=True))
    silent = capsys.readouterr()
    assert silent.err == ""
    assert silent.out == loud.out == "forty-two\n"


def test_libraries_warnings_are_hidden_unless_asked_for(root):
    program = (
        "import warnings; from dretrieve_cli import command\n"
        "class A:\n def as_json(self): return 1\n def render(self): return 'x'\n"
        "def work(progress):\n warnings.warn('library talk'); return A()\n"
        "command.execute(work, command.Seen(verbose={}))"
    )
    for verbose in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", program.format(verbose)],
            env={"PYTHONPATH": f"{root}:{root / 'cli'}"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("library talk" in done.stderr) is verbose


def test_a_reader_that_goes_away_is_no_error(root):
    program = (
        "from dretrieve_cli import command\n"
        "class A:\n def render(self): return 'x' * 1000000\n"
        "command.execute(lambda progress: A())"
    )
    line = f'set -o pipefail; {sys.executable} -c "{program}" | head -c 1'
    done = subprocess.run(
        ["bash", "-c", line],
        env={"PYTHONPATH": f"{root}:{root / 'cli'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "x", "")


@pytest.fixture
def clean(monkeypatch):
    for name in {*command.THREAD_VARIABLES, *VARIABLES, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    return monkeypatch


def test_threads_come_from_the_flag_the_user_the_scheduler_the_machine(clean):
    import os

    assert command.apply_threads(0) == len(os.sched_getaffinity(0))
    clean.delenv("OMP_NUM_THREADS")
    clean.setenv("SLURM_CPUS_PER_TASK", "3")
    assert command.apply_threads(0) == 3
    assert os.environ["OMP_NUM_THREADS"] == "3"
    clean.setenv("OMP_NUM_THREADS", "5")
    assert command.apply_threads(0) == 5
    assert command.apply_threads(2) == 2
    assert {os.environ[name] for name in command.THREAD_VARIABLES} == {"2"}
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    clean.setenv("OMP_WAIT_POLICY", "ACTIVE")
    clean.delenv("GOMP_SPINCOUNT")
    command.apply_threads(0)
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in os.environ


def test_execute_leaves_the_tests_own_warnings_filter_alone():
    with warnings.catch_warnings():
        command.execute(lambda progress: Answer(""))


def test_no_rendering_and_no_note_reaches_a_terminal_unread(capsys):
    hostile = "\x1b[31mred\x1b]8;;http://x\x07link\x9b2J\u202eevil"
    seen = "\\x1b[31mred\\x1b]8;;http://x\\x07link\\u009b2J\\u202eevil"

    class Hostile(Answer):
        def as_json(self) -> object:
            return {"answer": hostile}

    def work(progress) -> Answer:
        progress.start(hostile, 1, "x")
        progress.note(hostile)
        return Hostile(f"text {hostile}")

    command.execute(work)
    shown = capsys.readouterr()
    assert shown.out == f"text {seen}\n"
    assert shown.err.splitlines()[:2] == [f"{seen}: 1 x", seen]
    command.execute(work, command.Seen(json=True))
    written = capsys.readouterr().out
    assert not set("\x1b\x07\x9b\u202e") & set(written)
    assert json.loads(written) == {"answer": hostile}


def test_blanks_in_a_sentence_stay_as_they_are(capsys):
    outcome(failing(errors.PreconditionError("no  'two  blanks.trec';\n  correct it")))
    assert capsys.readouterr().err == "dretrieve: no  'two  blanks.trec'; correct it\n"


def test_an_encoding_that_lacks_a_character_is_said(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii", errors="backslashreplace"))
    streams.write_rendered("é")
    assert "standard output is ascii" in capsys.readouterr().err


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A part of a config."""

    depth: int = option(100, "How deep.", least=1, panel="Part")


@dataclass(frozen=True, kw_only=True)
class ToyConfig(Writing, Verifying):
    """What a command is made from.

    Examples:
        dretrieve toy a b --output o
    """

    paths: tuple[Path, ...] = option(REQUIRED, "Read.", argument=True)
    part: Inner = field(default_factory=Inner)
    mode: Literal["fast", "slow"] = option("fast", "How.", aliases=("-m",))
    measures: str = option("", "What.", repeated=True, parse=" ".join)
    settings: Mapping[str, Any] = option(
        {}, flag="--set", repeated=True, parse=parse_settings, shorthands={"k1": (float, "A part of it.")}
    )
    share: bool = option(True, "Whether.")
    level: int = option(0, "Old.", hidden=True)
    note: str = "not of the command line"


def toy(**more):
    """The parser, which keeps the configs that it makes."""
    made = []

    def work(config, progress, words):
        made.append(config)
        return Answer()

    return command.command_from("toy", "Try.", ToyConfig, work, [], **more), made


def test_a_config_is_made_of_the_words():
    parser, made = toy()
    line = "a b -o out --depth 7 -m slow --measures x --measures y --set c=2 --k1 0.5 --no-share"
    parser.main([*line.split(), "--verify", "full", "--force"], standalone_mode=False)
    parser.main(["a", "--output", "out"], standalone_mode=False)
    assert made == [
        ToyConfig(
            paths=(Path("a"), Path("b")), output=Path("out"), part=Inner(depth=7), mode="slow",
            measures="x y", settings={"c": 2, "k1": 0.5}, share=False, verify=True, force=True,
        ),
        ToyConfig(paths=(Path("a"),), output=Path("out")),
    ]  # fmt: skip


def test_its_help_is_made_of_the_fields():
    parser, _ = toy()
    shown = " ".join(parser.get_help(parser.make_context("toy", [], resilient_parsing=True)).split())
    assert shown.startswith("Try. What a command is made from.")
    for part in (
        "How deep (from 1). [default: 100]",
        "-m, --mode <fast|slow> How. [default: fast]",
        "--k1 <float> A part",
        "--share / --no-share",
        "--verify <quick|full>",
        "{paths}...",
        "-o, --output <path> Where the result goes. [required]",
    ):
        assert part in shown
    assert "--level" not in shown
    assert "--note" not in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "x"], "--mode x: expected fast or slow"),
        (["--verify", "x"], "--verify x: expected quick or full"),
        (["--set", "x"], "--set takes name=value"),
    ],
)
def test_illegal_words_are_refused_by_their_option(words, message):
    parser, made = toy()
    with pytest.raises(errors.UsageError, match=message):
        parser.main(["a", "--output", "o", *words], standalone_mode=False)
    assert not made


def test_of_several_processes_the_first_prints(clean, capsys):
    clean.setenv("WORLD_SIZE", "2")
    for rank, printed in (("0", "forty-two\n"), ("1", "")):
        clean.setenv("RANK", rank)
        assert command.execute(lambda progress: Answer()) == 0
        assert capsys.readouterr().out == printed
