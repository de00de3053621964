"""The artefact behind the report's row of speed: what is timed, on what, and when again."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def speed(script) -> ModuleType:
    return script("tests/bench/step_seconds.py")


def seconds_of(output: Path) -> dict[str, list[float]]:
    return json.loads((output.parent / f"{output.name}.manifest.json").read_bytes())["extra"]["seconds"]


def test_real_steps_are_timed_round_for_round(speed, tiny_collection, tmp_path):
    output = tmp_path / "speed.json"
    words = [str(output), "--texts", str(tiny_collection), "--batch", "2", "--rounds", "3"]
    assert speed.main(words) == 0
    found = seconds_of(output)
    assert {name: len(of) for name, of in found.items()} == {"dpr": 3, "det": 3}
    assert all(0 < value < 60 for of in found.values() for value in of)
    assert json.loads(output.read_text()) == found


def test_it_is_measured_again_when_what_decides_it_changed(
    speed, tiny_collection, tmp_path, monkeypatch, capsys
):
    calls = []

    def rounds(setting, names):
        calls.append(setting)
        return {name: [float(len(calls))] * setting.rounds for name in names}

    monkeypatch.setattr(speed.bench_taser, "rounds", rounds)
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    output = tmp_path / "speed.json"
    words = [str(output), "--texts", str(tiny_collection), "--rounds", "2"]
    for state in ("to do", "up to date"):
        assert speed.main([*words, "--dry-run", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["state"] == state
        assert speed.main(words) == 0
    assert speed.main(words) == 0
    assert (len(calls), seconds_of(output)) == (1, {"dpr": [1.0, 1.0], "det": [1.0, 1.0]})
    assert speed.main([*words, "--batch", "4"]) == 0
    monkeypatch.setattr(speed, "device_model", lambda device: "another processor")
    assert speed.main([*words, "--batch", "4"]) == 0
    monkeypatch.setattr(speed.torch, "__version__", "9.9")
    assert speed.main([*words, "--batch", "4"]) == 0
    monkeypatch.setattr(speed, "sha256_file", lambda path: path.name)
    assert speed.main([*words, "--batch", "4"]) == 0
    assert len(calls) == 5


def test_nothing_is_measured_on_other_texts(speed, tiny_collection, tmp_path, capsys):
    absent = tmp_path / "data" / "squad"
    assert speed.main([str(tmp_path / "speed.json"), "--texts", str(absent)]) == 3
    assert capsys.readouterr().err == (
        f"step_seconds.py: {absent} is not there, and its texts are what steps are timed on; "
        "set DATA to the folder that holds it\n"
    )
    words = [str(tmp_path / "speed.json"), "--texts", str(tiny_collection), "--rounds", "40"]
    assert speed.main(words) == 3
    assert "has 30 passages; 1,312 are needed" in capsys.readouterr().err
    assert not list(tmp_path.glob("speed*manifest*"))


def test_the_devices_are_those_that_torch_sees(speed, monkeypatch, tmp_path, tiny_collection, capsys):
    places = speed.bench_taser.places
    monkeypatch.setattr(speed.torch.cuda, "is_available", lambda: False)
    assert (places("auto"), places("cpu")) == (["cpu"], ["cpu"])
    words = [str(tmp_path / "speed.json"), "--texts", str(tiny_collection), "--device", "cuda"]
    assert speed.main(words) == 3
    assert (
        capsys.readouterr().err
        == "step_seconds.py: --device cuda: torch sees no GPU here; give auto or cpu\n"
    )
    monkeypatch.setattr(speed.torch.cuda, "is_available", lambda: True)
    assert (places("auto"), places("cuda")) == (["cpu", "cuda"], ["cuda"])
    assert speed.read_words([*words[:3], "--device", "auto"]).device == "cuda"
