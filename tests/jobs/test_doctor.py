"""The doctor: its verdict, its exit code, and that a broken machine cannot break it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dretrieve.jobs import doctor, libraries, machine
from dretrieve.jobs.machine import Finding


def test_this_machine_is_able(cli):
    report = cli("doctor", "--json").json()
    assert report["able"] is True
    named = {finding["name"]: finding for finding in report["findings"]}
    assert named["python"]["found"].startswith("3.")
    assert named["torch"]["state"] == "ok"
    assert "GiB free of" in named["memory"]["found"]
    assert cli("doctor").out.endswith("this machine is able\n")


def test_something_required_that_is_missing_gives_exit_code_3_and_its_cure(monkeypatch, cli_here):
    ghost = libraries.Library("no_such_module", "no-such-thing", "2.1", "ghosts")
    monkeypatch.setattr(doctor, "REQUIRED", (ghost,))
    outcome = cli_here("doctor", code=3)
    assert 'cure: pip install "no-such-thing>=2.1"' in outcome.out
    assert outcome.out.endswith("missing: no-such-thing\n")
    assert cli_here("doctor", "--json", code=3).json()["able"] is False


def test_a_look_that_fails_is_a_finding(monkeypatch):
    def broken() -> list[Finding]:
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor, "look_at_torch", broken)
    result = doctor.run(doctor.DoctorConfig())
    assert "OSError: libgomp.so.1: cannot open" in result.render()
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
    finding = Finding(name="x", state=state, found="y")
    assert doctor.DoctorResult(findings=[finding]).exit_code == 0
    assert machine.look_at_python()[0].state == "ok"
