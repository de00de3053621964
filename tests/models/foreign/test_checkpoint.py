"""Reading: what is opened, what is refused, and that nothing in a pickle runs."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest
import torch

from dretrieve.errors import DataError, PreconditionError, VerificationError
from dretrieve.models.foreign.checkpoint import read_checkpoint
from tests.common import flip

WEIGHTS = {"question_model.a": torch.arange(6.0).view(2, 3)}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_trainer_state_with_hydra_settings_needs_no_omegaconf(save_state, hydra_config, zipped):
    """omegaconf's classes are not loaded: they are gone when the file is read, and its values are there."""
    encoder = hydra_config(sequence_length=24, mean_pool=False, pretrained_file=None)
    path = save_state(WEIGHTS, {"do_lower_case": True, "encoder": encoder}, zipped=zipped)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.startswith("omegaconf")]:
            patch.setitem(sys.modules, name, None)
        found = read_checkpoint(path)
    assert found.settings == {"do_lower_case": True, "sequence_length": 24, "mean_pool": False}
    assert torch.equal(found.tensors["question_model.a"], WEIGHTS["question_model.a"])
    assert list(found.tensors) == ["question_model.a"]


def test_a_trainer_state_of_2020_has_flat_settings(save_state):
    path = save_state(WEIGHTS, {"do_lower_case": True, "projection_dim": 0, "sequence_length": 24})
    assert read_checkpoint(path).settings == {
        "do_lower_case": True,
        "projection_dim": 0,
        "sequence_length": 24,
    }


def test_bare_weights_by_name(tmp_path):
    from safetensors.torch import save_file

    torch.save(WEIGHTS, tmp_path / "weights.pt")
    save_file(WEIGHTS, tmp_path / "weights.safetensors")
    for name in ("weights.pt", "weights.safetensors"):
        found = read_checkpoint(tmp_path / name)
        assert torch.equal(found.tensors["question_model.a"], WEIGHTS["question_model.a"])
        assert found.settings == {}


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Foreign:
    pass


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_a_program_is_refused_and_does_not_run(tmp_path, zipped):
    path = tmp_path / "bad.pt"
    torch.save(
        {"model_dict": WEIGHTS, "epoch": Bomb(tmp_path / "made")}, path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(DataError, match=r"bad.pt holds .*a pickle can run any program.*safetensors"):
        read_checkpoint(path)
    assert not (tmp_path / "made").exists()


def test_an_object_of_an_unknown_class_is_named(tmp_path):
    torch.save({"model_dict": WEIGHTS, "tokenizer": Foreign()}, tmp_path / "odd.pt")
    with pytest.raises(
        DataError, match=r"holds an object of .*test_checkpoint.*Foreign, which is not opened"
    ):
        read_checkpoint(tmp_path / "odd.pt")


def test_names_of_builtins_do_nothing(tmp_path):
    """The names that stand for hydra's own are no way in: a class that is called gives an empty object."""

    class Caller:
        def __reduce__(self):
            return dict, ([("a", 1)],)

    torch.save({"model_dict": WEIGHTS, "encoder_params": Caller()}, tmp_path / "odd.pt")
    assert read_checkpoint(tmp_path / "odd.pt").settings == {}


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_damaged_files_are_one_sentence(tmp_path, name):
    for content in (b"", b"PK\x03\x04 cut", b"text that is no checkpoint"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} .*fetch it again|not opened"):
            read_checkpoint(tmp_path / name)


def test_what_is_no_file_of_weights(tmp_path):
    with pytest.raises(PreconditionError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(PreconditionError, match="is a folder; name the checkpoint's file"):
        read_checkpoint(tmp_path)
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(DataError, match="holds no weights by name"):
        read_checkpoint(tmp_path / "empty.pt")


@pytest.mark.parametrize("part", range(12))
def test_a_flipped_bit_in_a_zip_is_never_other_weights(tmp_path, part):
    """Flips spread over a torch file: refused, or in bytes on which no weight depends."""
    path = tmp_path / "weights.pt"
    torch.save({"model_dict": {"a": torch.arange(4096.0)}}, path)
    data = bytearray(path.read_bytes())
    data[len(data) * (2 * part + 1) // 24] ^= 0x10
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        assert torch.equal(read_checkpoint(path).tensors["a"], torch.arange(4096.0))


def test_the_damaged_part_of_a_zip_is_named(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"model_dict": {"a": torch.arange(4096.0)}}, path)
    flip(path)
    with pytest.raises(DataError, match="its part weights/data/0 does not have the checksum"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["weights.safetensors", "old.pt"])
def test_a_checkpoint_without_checksums_is_held_against_its_first_use(tmp_path, name):
    from safetensors.torch import save_file

    path, weights = tmp_path / name, {"a": torch.arange(4096.0)}
    if name == "old.pt":
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    else:
        save_file(weights, path)
    read_checkpoint(path)
    flip(path)
    with pytest.raises(VerificationError, match=f"{name} has other bytes than at its first use"):
        read_checkpoint(path)
