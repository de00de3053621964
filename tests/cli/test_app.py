"""The front door: map, help, versions, unknown words, start-up cost."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from errno import ENAMETOOLONG

import pytest

from dretrieve import __version__
from dretrieve.errors import PreconditionError
from dretrieve.jobs.configs.base import Config
from dretrieve_cli import app

HEAVY = ("numpy", "torch", "transformers", "faiss", "numba", "datasets", "scipy", "typer", "rich")


def test_no_words_print_the_stage_map_and_every_command(cli):
    alone, asked = cli(), cli("--help")
    assert alone.out == asked.out == cli("-h").out == cli("help").out
    assert "search  evaluate" in alone.out
    for name, (_, line) in app.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", alone.out, re.MULTILINE)
    assert len(re.findall(r"^  dretrieve .*--output|^  dretrieve evaluate", alone.out, re.MULTILINE)) == 3


def test_every_command_has_a_config_or_a_module_and_nothing_else_has(root):
    frame = {"__init__", "__main__", "app", "command", "parsing", "plan", "progress", "renames", "streams"}
    modules = {path.stem for path in (root / "cli" / "dretrieve_cli").glob("*.py")} - frame
    configs = {path.stem for path in (root / "dretrieve" / "jobs" / "configs").glob("*.py")}
    configs -= {"__init__", "base", "convert_run"}
    assert {name.replace("-", "_") for name in app.COMMANDS} == modules | configs


@pytest.mark.parametrize("name", app.COMMANDS)
def test_help_of_a_command_stands_on_examples_that_parse(name, cli_here):
    shown = cli_here(name, "--help")
    assert shown.err == ""
    assert "Usage: dretrieve " + name in shown.out
    above = shown.out.split("Usage:")[0].replace("\\\n", " ")
    examples = re.findall(rf"^  dretrieve {name}(?: .*)?$", above, re.MULTILINE)
    assert len(examples) >= 2, "a command's docstring needs an Examples: section with two runnable lines"
    for line in examples:
        words = shlex.split(line, comments=True)[2:]
        app.parser_of(name, words).make_context(name, words)


@pytest.mark.parametrize("name", ["", *app.COMMANDS])
def test_help_loads_nothing_heavy(name, root):
    words = [name, "--help"] if name else ["--help"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dretrieve_cli", *words],
        cwd=root,
        env={"PYTHONPATH": f"{root}:{root / 'cli'}", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    forbidden = set(HEAVY) if not name else set(HEAVY) - {"typer", "rich"}
    assert loaded & {"dretrieve_cli"}
    assert not loaded & forbidden


def test_help_costs_at_most_one_and_a_half_imports_of_typer_and_rich(root):
    def seconds(*words: str) -> float:
        before = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=root, env=environment, check=True, capture_output=True)
        return time.perf_counter() - before

    environment = {"PYTHONPATH": f"{root}:{root / 'cli'}"}
    ours, theirs = [], []
    for _ in range(7):
        ours.append(seconds("-m", "dretrieve_cli", "--help"))
        theirs.append(seconds("-c", "import typer, rich"))
    assert min(ours) <= 1.5 * min(theirs)


def test_version(cli):
    assert cli("--version").out.startswith(f"dretrieve {__version__} (Python 3.")
    versions = cli("--version", "--json").json()
    assert versions["dretrieve"] == __version__
    assert versions["torch"]
    assert {"transformers", "numpy", "faiss-cpu"} <= set(versions)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["serch"], "there is no command 'serch'; did you mean search? "),
        (["retrieve"], "there is no command 'retrieve'; write search. "),
        (["xyzzy"], "there is no command 'xyzzy'; dretrieve --help lists the commands"),
        (["--index", "a"], "the command comes first: dretrieve COMMAND --index"),
    ],
)
def test_unknown_commands_are_explained(words, sentence, cli_here):
    outcome = cli_here(*words, code=2)
    assert sentence in outcome.err
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1


def test_dashes_and_underscores_name_the_same_command(cli_here):
    names = [name for name in app.COMMANDS if "-" in name]
    assert names
    for name in names:
        assert cli_here(name.replace("-", "_"), "--help").out == cli_here(name, "--help").out


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (PreconditionError("no room"), 3, "dretrieve: no room"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            3,
            "needs torch, which is not installed",
        ),
        (
            OSError(ENAMETOOLONG, "File name too long", "x" * 300),
            3,
            "x'… (300 characters): File name too long; choose a",
        ),
        (ValueError("a\nb"), 1, "unexpected ValueError: a b; run again with --verbose"),
        (PermissionError(13, "Permission denied", "/a"), 3, "/a: Permission denied; check the disk and"),
    ],
)
def test_errors_before_the_job_begins_are_one_line_too(error, code, sentence, new_command, cli_here):
    @dataclass(frozen=True, kw_only=True)
    class ThingsConfig(Config):
        """Fail."""

        def __post_init__(self):
            raise error

    new_command(ThingsConfig)
    outcome = cli_here("things", code=code)
    assert sentence in outcome.err
    assert len(outcome.err.splitlines()) == 1
    traced = cli_here("things", "--verbose", code=code).err
    assert traced.startswith("Traceback")
    assert traced.endswith(outcome.err)


HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J"


def narrow(root, line, **env):
    """Run one line of bash in which $D is this program."""
    program = f"{sys.executable} -m dretrieve_cli"
    done = subprocess.run(
        ["bash", "-c", line],
        env={"PYTHONPATH": f"{root}:{root / 'cli'}", "PATH": "/usr/bin:/bin", "D": program, **env},
        capture_output=True,
    )
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode()


@pytest.mark.parametrize("words", ["--help", "--version", "tokens --help"])
@pytest.mark.parametrize(
    ("place", "why"), [(">&-", "it is closed"), (">/dev/full", "No space left on device")]
)
def test_a_standard_output_that_takes_nothing_is_said_in_one_sentence(words, place, why, root):
    code, _, err = narrow(root, f"$D {words} {place}")
    assert code == 1
    assert err == (
        f"dretrieve: the result cannot be written to standard output ({why}); send it to a file or a program "
        "that takes it\n"
    )


def test_nobody_can_be_told_when_standard_error_is_closed_too(root):
    assert narrow(root, "$D --version >&- 2>&-") == (1, "", "")
    assert narrow(root, "$D nonsense 2>/dev/full") == (2, "", "")
    assert narrow(root, "$D tokens --model none x 2>/dev/full") == (3, "", "")


def test_a_closed_stream_lends_its_number_to_no_file(root):
    program = "from dretrieve_cli import app; app.open_streams(); print(open('/dev/null').fileno() > 2)"
    assert narrow(root, f'{sys.executable} -c "{program}" <&- 2>&-')[1] == "True\n"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", "\\u00e9 \\ud83d\\udc1d \\udcff"), ("latin-1", "é \\ud83d\\udc1d \\udcff")],
)
def test_what_an_encoding_lacks_is_written_as_json_writes_it(encoding, expected, root):
    program = "from dretrieve_cli import app; app.open_streams(); print('é 🐝 \\udcff')"
    code, out, _ = narrow(root, f'{sys.executable} -c "{program}"', PYTHONIOENCODING=encoding)
    assert (code, out) == (0, expected + "\n")
    assert json.loads(f'"{out.strip()}"') == "é 🐝 \udcff"


def test_words_of_the_command_line_cannot_colour_the_sentence(cli_here):
    err = cli_here("tokens", "--model", HOSTILE + "\nx", "text", code=3).err
    assert "\\x1b[31mred\\x1b]0;title\\x07\\u009b2J x" in err
    assert not set("\x1b\x07\x9b") & set(err)
    assert len(err.splitlines()) == 1
