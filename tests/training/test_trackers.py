from __future__ import annotations

import sys
import types

import pytest

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.training.trackers import open_trackers


def test_none_is_no_tracker(tmp_path):
    assert open_trackers(["none"], tmp_path, "0123456789abcdef") == []


def test_an_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(UsageError, match="comet is unknown; choose from tensorboard, wandb"):
        open_trackers(["comet"], tmp_path, "0123456789abcdef")


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_library_names_its_cure(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PreconditionError, match=f"pip install {name}"):
        open_trackers([name], tmp_path, "0123456789abcdef")


def test_numbers_arrive(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, key, value, step):
            written.append((key, value, step))

        def close(self):
            written.append("closed")

    class Run:
        def log(self, values, step):
            written.append((values, step))

        def finish(self):
            written.append("finished")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))

    def init(**own):
        written.append(own["id"])
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    trackers = open_trackers(["tensorboard", "wandb"], tmp_path, "0123456789abcdef")
    for tracker in trackers:
        tracker.log(3, {"loss": 0.5})
        tracker.close()
    assert written == [
        str(tmp_path / "tensorboard"),
        f"{tmp_path.name}-0123456789ab",
        ("loss", 0.5, 3),
        "closed",
        ({"loss": 0.5}, 3),
        "finished",
    ]
