"""The doctor: its verdict, its exit code, made-up machines, and that a broken one cannot break it."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from dretrieve.jobs import doctor
from dretrieve.jobs.doctor import Finding


def test_this_machine_is_able(cli):
    report = cli("doctor", "--json").json()
    assert report["able"] is True
    named = {finding["name"]: finding for finding in report["findings"]}
    assert named["python"]["found"].startswith("3.")
    assert named["torch"]["state"] == "ok"
    assert "GiB free of" in named["memory"]["found"]
    assert cli("doctor").out.endswith("this machine is able\n")


def test_something_required_that_is_missing_gives_exit_code_3_and_its_cure(monkeypatch, cli_here):
    monkeypatch.setattr(doctor, "REQUIRED", {"no-such-thing": "ghosts"})
    monkeypatch.setattr(doctor, "least_versions", lambda: {"no-such-thing": "2.1"})
    outcome = cli_here("doctor", code=3)
    assert 'cure: pip install "no-such-thing>=2.1"' in outcome.out
    assert outcome.out.endswith("missing: no-such-thing\n")
    assert cli_here("doctor", "--json", code=3).json()["able"] is False


def test_a_look_that_fails_is_a_finding(monkeypatch):
    def look_at_torch() -> list[Finding]:
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor, "look_at_torch", look_at_torch)
    result = doctor.run(doctor.DoctorConfig())
    assert "torch                OSError: libgomp.so.1: cannot open" in result.render()
    assert result.exit_code == 0


def test_it_needs_nothing_but_the_standard_library(root):
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'numpy', 'torch', 'numba', 'transformers'}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from dretrieve_cli.app import main\n"
        "sys.exit(main(['doctor']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": f"{root}:{root / 'cli'}", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    assert "missing: torch, transformers, numpy, numba" in done.stdout


def test_a_folder_that_does_not_exist_is_refused(cli_here):
    assert "nowhere" in cli_here("doctor", "--folder", "nowhere", code=2).err


@pytest.mark.parametrize("state", ["ok", "absent", "note"])
def test_only_what_is_required_decides(state):
    assert doctor.DoctorResult(findings=[Finding("x", state, "y")]).exit_code == 0


def test_every_dependency_has_a_purpose(root):
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {one.partition(">=")[0] for one in declared} <= {*doctor.REQUIRED, *doctor.OPTIONAL}


def test_least_versions_are_those_that_the_package_declares(monkeypatch):
    declared = ["torch>=2.11", "PyYAML>=6", 'pyserini==1.6.0; extra == "lucene"', "plain"]
    monkeypatch.setattr(doctor, "requires", lambda name: declared)
    assert doctor.least_versions() == {"torch": "2.11", "pyyaml": "6", "pyserini": "1.6.0"}


@pytest.mark.parametrize(
    ("version", "parts"), [("2.13.0+cpu", (2, 13, 0)), ("2024.5.10", (2024, 5, 10)), ("3.0rc1", (3,))]
)
def test_numbers(version, parts):
    assert doctor.numbers(version) == parts


def test_libraries_that_are_absent_old_and_present(monkeypatch):
    monkeypatch.setattr(doctor, "least_versions", lambda: {"numpy": "999"})
    monkeypatch.setitem(doctor.CURES, "no-such-thing", "install it by hand")
    absent, old = doctor.look_at_libraries({"no-such-thing": "x", "numpy": "x"}, "absent")
    assert (absent.state, absent.found, absent.cure) == ("absent", "not installed", "install it by hand")
    assert (old.state, old.cure) == ("absent", 'pip install "numpy>=999"')
    assert old.found.endswith(", needs 999 or later")
    monkeypatch.setattr(doctor, "least_versions", lambda: {"numpy": "1.26.4"})
    assert [found.state for found in doctor.look_at_libraries({"numpy": "x"}, "missing")] == ["ok"]


@pytest.mark.parametrize(
    ("there", "state", "words"),
    [
        ({}, "absent", "not installed"),
        ({"faiss-cpu": "1.15"}, "ok", "faiss-cpu 1.15"),
        ({"faiss-gpu": "1.15"}, "ok", "faiss-gpu 1.15"),
        ({"faiss-cpu": "1.15", "faiss-gpu": "1.15"}, "note", "overwrite each other"),
    ],
)
def test_faiss_is_one_of_two(monkeypatch, there, state, words):
    def version(name: str) -> str:
        if name not in there:
            raise doctor.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(doctor, "installed_version", version)
    (finding,) = doctor.look_at_faiss()
    assert finding.state == state
    assert words in finding.found
    assert bool(finding.cure) is (state != "ok")


def program(folder, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A PATH with nothing but what the test puts there; no Java of pip's."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(
        doctor.shutil, "which", lambda name: str(tmp_path / name) if (tmp_path / name).exists() else None
    )
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tmp_path


def test_java(alone):
    assert next(doctor.look_at_java()).found == "none"
    program(alone, "java", """echo 'openjdk version "17.0.1" 2021' >&2""")
    old = next(doctor.look_at_java())
    assert (old.state, old.cure) == ("absent", 'pip install "dretrieve[lucene]"')
    program(alone, "java", """echo 'openjdk version "21.0.8" 2025' >&2""")
    assert next(doctor.look_at_java()).state == "ok"


def test_slurm(alone):
    assert next(doctor.look_at_slurm()).found == "no sbatch"
    program(alone, "sbatch", "exit 1")
    program(alone, "sinfo", "exit 1")
    assert next(doctor.look_at_slurm()).found == "sbatch is here, but no cluster answers"
    program(alone, "sinfo", "echo slurm 22.05.8")
    assert next(doctor.look_at_slurm()).found == "slurm 22.05.8"


def test_nothing_is_said_of_torch_where_it_is_missing(alone):
    assert list(doctor.look_at_torch()) == []


def test_an_old_python(monkeypatch):
    assert next(doctor.look_at_python()).state == "ok"
    monkeypatch.setattr(doctor, "MINIMUM_PYTHON", (99, 1))
    finding = next(doctor.look_at_python())
    assert (finding.state, finding.cure) == ("missing", "install Python 99.1 or later")


def test_little_memory_and_disk_are_worth_a_note(monkeypatch, tmp_path):
    assert next(doctor.look_at_memory()).state == "ok"
    monkeypatch.setattr(doctor, "MINIMUM_MEMORY_GIB", 1e9)
    monkeypatch.setattr(doctor, "MINIMUM_DISK_GIB", 1e9)
    assert "use more shards" in next(doctor.look_at_memory()).cure
    assert next(doctor.look_at_disk(tmp_path)).state == "note"


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("DRETRIEVE_CACHE", str(tmp_path / "cache"))
    assert list(doctor.look_at_disk(tmp_path))[1].state == "ok"
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert "set DRETRIEVE_CACHE" in list(doctor.look_at_disk(tmp_path))[1].cure


def test_threads_and_their_source(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert "SLURM_CPUS_PER_TASK=3" in next(doctor.look_at_threads()).found


def test_processor():
    names = [finding.name for finding in doctor.look_at_torch()]
    assert names[:2] == ["processor", "bf16"]
    assert names[2].startswith("gpu")
