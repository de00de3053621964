from __future__ import annotations

from dretrieve.jobs.model_output import model_files
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
