from __future__ import annotations

from dretrieve.jobs.model_output import listed, model_files
from dretrieve.store.stage import Stage


def test_files_of_a_model_without_records_and_parts(tmp_path):
    for name in ("model.safetensors", "query/config.json", "manifest.json", ".card.tmp-1", "wandb/run.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert model_files(tmp_path, ("wandb",)) == ["model.safetensors", "query/config.json"]
    assert model_files(tmp_path) == ["model.safetensors", "query/config.json", "wandb/run.json"]


def test_files_of_a_finished_result(tmp_path):
    stage = Stage(tmp_path / "out", "folder", "train")
    assert listed(stage) == []
    with stage.write("card.json", text=True) as file:
        file.write("{}")
    stage.commit()
    assert listed(stage) == [tmp_path / "out" / "card.json"]
