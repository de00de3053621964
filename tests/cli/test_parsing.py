"""How words become parameters: spellings, shard pairs, configuration files, explained mistakes."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.jobs.configs.base import Choosing, Sharded, Writing
from dretrieve.options import REQUIRED, option
from dretrieve_cli import app, command, parsing


@dataclass(frozen=True, kw_only=True)
class SampleConfig(Writing, Sharded, Choosing):
    """The help's second line.

    Examples:
        dretrieve sample --index a --output b
        dretrieve sample --index c --output d
    """

    index: Path = option(REQUIRED, "Index.", panel="Input")
    hits: int = option(1000, "Passages per query.", least=1, aliases=("--depth",))
    alpha: float = option(1.0)
    names: tuple[str, ...] = option((), flag="--name")
    query_prefix: str = option("")


class Arrived:
    """A result that says what arrived."""

    def __init__(self, config):
        self.config = config

    def as_json(self):
        return asdict(self.config) | {"index": str(self.config.index), "output": str(self.config.output)}


@pytest.fixture
def run(new_command, cli_here):
    new_command(SampleConfig, lambda config, progress: Arrived(config))
    return lambda *words, code=0: cli_here("sample", *words, code=code)


def test_help_shows_examples_before_options_and_groups_them(run):
    text = run("--help").out
    places = [
        text.index(part)
        for part in ("Try the parser.", "Examples:", "--index c", "Usage:", "Input:", "Common:")
    ]
    assert places == sorted(places)
    assert "--hits, --depth <int>" in text
    assert "Passages per query (from 1).  [default: 1000]" in " ".join(text.split()).replace(". [", ".  [")


def test_underscores_aliases_and_equal_signs(run):
    words = ["--index", "a", "--output=b", "--depth", "5", "--query_prefix=k_k", "--json"]
    got = run(*words).json()
    assert (got["hits"], got["query_prefix"], got["output"]) == (5, "k_k", "b")


def test_a_value_that_looks_like_a_flag_stays_as_it_is(run):
    got = run("--index", "a", "--output", "b", "--query_prefix=--my_text", "--alpha", "-0.5", "--json").json()
    assert (got["query_prefix"], got["alpha"]) == ("--my_text", -0.5)


@pytest.mark.parametrize(
    "words",
    [
        ["--shard", "3/4"],
        ["--shard_id", "3", "--shard-num=4"],
        ["--dataset_shard_index", "3", "--dataset_number_of_shards", "4"],
        ["--encode_num_shard", "4", "--encode_shard_index", "3"],
        ["--num_shards=4", "--shard_id=3"],
    ],
)
def test_every_spelling_of_a_shard(run, words):
    assert run("--index", "a", "--output", "b", *words, "--json").json()["shard"] == [3, 4]


def test_configuration_file_and_flags_that_win(run, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "index: q\noutput: z\ndepth: 5\nname: [a, 1]\nforce: true\nquery-prefix: no\nalpha: 1e-3\n"
    )
    got = run("--config", file, "--depth", "7", "--json").json()
    assert got["hits"] == 7
    assert (got["index"], got["names"], got["force"], got["alpha"]) == ("q", ["a", "1"], True, 0.001)
    assert got["query_prefix"] == "false"


def test_later_configuration_files_win(run, tmp_path):
    (tmp_path / "one.yaml").write_text("index: a\noutput: b\nhits: 1\n")
    (tmp_path / "two.yaml").write_text("hits: 2\n")
    (tmp_path / "none.yaml").write_text("")
    files = [word for name in ("one", "two", "none") for word in ("--config", tmp_path / f"{name}.yaml")]
    assert run(*files, "--json").json()["hits"] == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("hitz: 5\n", "has the unknown key 'hitz'; did you mean hits?"),
        ("help: true\n", "has the unknown key 'help'"),
        ("- 1\n", "must hold `option: value` lines"),
        ("a: [\n", "line 2: not YAML"),
        ("run: a\nrun: b\n", "the key 'run' stands twice"),
        ("force: 3\n", "force is a flag; give true or false, not 3"),
        ("hits: [1, 2]\n", "hits takes one value, not [1, 2]"),
        ("hits: none\nindex: a\noutput: b\n", "Input should be a valid integer"),
    ],
)
def test_mistakes_in_a_configuration_file(run, tmp_path, content, sentence):
    (tmp_path / "run.yaml").write_text(content)
    outcome = run("--config", tmp_path / "run.yaml", code=2)
    assert sentence in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_configuration_file_that_does_not_exist(run, tmp_path):
    assert "no.yaml does not exist" in run("--config", tmp_path / "no.yaml", code=2).err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--indx", "a"], "there is no option --indx; did you mean --index?"),
        (["--save_ranking_to", "a"], "there is no option --save-ranking-to: write --output RUN"),
        (["--batch-size", "8"], "batches are cut by tokens"),
        (["--query_max_len", "32"], "there is no option --query-max-len: train and convert take it"),
        (["--index", "a", "--index=b"], "--index takes one value, not 'a' and 'b'"),
        (["--zzz"], "there is no option --zzz (dretrieve sample --help lists the options)"),
        (["--output", "b"], "Missing option '--index'"),
        (["--index", "a", "--output", "b", "--hits", "0"], "--hits 0: expected a whole number from 1"),
        (["--index"], "Option '--index' requires an argument"),
        (["--index", "a", "--output", "b", "stray"], "stray"),
    ],
)
def test_mistakes_in_the_flags(run, words, sentence):
    outcome = run(*words, code=2)
    assert sentence in outcome.err
    assert len(outcome.err.splitlines()) == 1


@given(st.lists(st.text(alphabet="ab-_=", max_size=6)))
def test_words_that_are_no_known_flag_are_left_alone(words):
    assert parsing.spell_with_dashes(words, set()) == words


def test_words_after_two_dashes_are_left_alone():
    assert parsing.spell_with_dashes(["--a_b", "--", "--a_b"], {"--a-b"}) == ["--a-b", "--", "--a_b"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        OSError("libgomp.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("Error in virtual void faiss::IndexFlat: std::bad_alloc"),
        RecursionError("maximum recursion depth exceeded"),
    ],
)
def test_memory_and_depth_that_run_out_are_one_sentence(error, capsys):
    def work(progress):
        raise error

    assert app.guarded(lambda: command.execute(work)) == 3
    assert re.search("^dretrieve: (out of memory|the data are nested too deeply)", capsys.readouterr().err)


def test_a_number_beyond_64_bits_is_refused(run):
    err = run("--index", "a", "--output", "b", "--hits", str(1 << 63), code=2).err
    assert f"--hits {1 << 63}: expected a whole number from 1" in err


@pytest.mark.parametrize(("one", "other"), [("-", "-"), ("-", "/dev/stdin"), ("a=-", "/dev/fd/0")])
def test_one_stream_for_two_inputs_is_refused(run, one, other):
    err = run("--index", one, "--name", other, "--output", "-", code=2).err
    assert "one stream, which is read only once" in err
