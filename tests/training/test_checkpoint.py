from __future__ import annotations

import pytest
import torch

from dretrieve.errors import DataError, PreconditionError
from dretrieve.training.checkpoint import Checkpoints, Progressed, load_weights


def checkpoints(folder, notes=None, keep=3, method="shared"):
    note = (notes if notes is not None else []).append
    return Checkpoints(folder / "checkpoints", {"method": method}, {"data": "abc"}, keep=keep, note=note)


def save(store, total):
    tensors = {"w": torch.full((2, 2), float(total))}
    return store.save(
        total, tensors, {"0.step": torch.tensor(float(total))}, Progressed(step=total, total=total)
    )


def test_the_newest_comes_back_whole(tmp_path):
    store = checkpoints(tmp_path)
    for total in (1, 2, 3):
        save(store, total)
    found = store.newest()
    assert found.state == Progressed(step=3, total=3)
    assert torch.equal(found.model["w"], torch.full((2, 2), 3.0))
    assert float(found.optimizer["0.step"]) == 3.0


def test_none_yet(tmp_path):
    assert checkpoints(tmp_path).newest() is None


def test_only_the_last_few_stay(tmp_path):
    store = checkpoints(tmp_path, keep=2)
    for total in range(1, 6):
        save(store, total)
    assert [path.name for path in store.found()] == ["step-00000005", "step-00000004"]


def test_a_damaged_one_of_more_steps_does_not_take_the_new_ones_place(tmp_path):
    store = checkpoints(tmp_path, keep=1)
    (save(store, 400) / "manifest.json").unlink()
    save(store, 200)
    assert store.newest().state.total == 200
    assert [path.name for path in save(store, 401).parent.glob("step-*")] == ["step-00000401"]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_newest_is_said_and_the_one_before_taken(tmp_path, name, damage):
    notes = []
    store = checkpoints(tmp_path, notes)
    save(store, 1)
    file = save(store, 2) / name
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        file.write_bytes(bytes(data))
    elif damage == "cut":
        file.write_bytes(bytes(data[:-3]))
    else:
        file.unlink()
    assert store.newest().state.total == 1
    assert len(notes) == 1
    assert "step-00000002 is damaged" in notes[0]
    assert "taking the one before" in notes[0]


def test_all_damaged_starts_afresh(tmp_path):
    notes = []
    store = checkpoints(tmp_path, notes)
    (save(store, 1) / "state.json").write_text("{}")
    assert store.newest() is None
    assert len(notes) == 1


def test_another_method_is_refused(tmp_path):
    save(checkpoints(tmp_path), 1)
    with pytest.raises(PreconditionError, match=r"another training \(method shared -> dpr\).*--force"):
        checkpoints(tmp_path, method="dpr").newest()


def test_a_half_written_folder_is_not_seen(tmp_path):
    store = checkpoints(tmp_path)
    save(store, 1)
    (store.folder / ".step-00000002.tmp-1-ab").mkdir()
    assert store.newest().state.total == 1


def test_clear(tmp_path):
    store = checkpoints(tmp_path)
    save(store, 1)
    store.clear()
    assert store.newest() is None


def test_weights_that_do_not_fit():
    with pytest.raises(DataError, match=r"here does not fit this model.*--force"):
        load_weights(torch.nn.Linear(2, 2), {"weight": torch.zeros(3, 3)}, "here")
