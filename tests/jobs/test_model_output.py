from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from dretrieve.errors import PreconditionError
from dretrieve.jobs import model_output
from dretrieve.jobs.model_output import alone_in, model_files
from dretrieve.store.stage import Stage


def test_files_of_a_model_without_records_and_parts(tmp_path):
    theirs = ".files.tmp-00000000-1-1-00a1/model.safetensors"  # of a process beside, or a killed one
    own = ("model.safetensors", "query/config.json", "wandb/run.json")
    for name in (*own, "manifest.json", ".card.tmp-1", theirs):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert model_files(tmp_path, ("wandb",)) == ["model.safetensors", "query/config.json"]
    assert model_files(tmp_path) == ["model.safetensors", "query/config.json", "wandb/run.json"]


def test_files_of_a_finished_result(tmp_path):
    stage = Stage(tmp_path / "out", "folder", "train")
    assert stage.standing_files() == []
    with stage.write("card.json", text=True) as file:
        file.write("{}")
    stage.commit()
    assert stage.standing_files() == [tmp_path / "out" / "card.json"]


HOLDER = """
import sys, time
from pathlib import Path
from dretrieve.jobs.model_output import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


def test_a_second_training_in_a_folder_is_refused_until_the_first_is_gone(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    monkeypatch.setattr(model_output, "PATIENCE", 0.2)
    with subprocess.Popen([sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"in\n"
        with pytest.raises(PreconditionError, match=r"another training is at work in .*model; wait"):
            with alone_in(folder):
                raise AssertionError("two at once")
        monkeypatch.undo()
        threading.Timer(0.5, first.kill).start()  # who calls again at once meets one that is ending
        with alone_in(folder):
            assert first.wait(60) == -signal.SIGKILL
    with alone_in(folder):
        assert list(folder.iterdir()) == []
    with alone_in(tmp_path / "other"):
        pass
