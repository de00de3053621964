"""The life of an output."""

import os
from pathlib import Path
from typing import Any

import pytest

from dretrieve.errors import Interrupted, PreconditionError, UsageError, VerificationError
from dretrieve.store.manifest import read_manifest
from dretrieve.store.stage import Stage, open_artefact, replaces_stale
from dretrieve.store.state import read_state


def stage(path: Path, **changes: Any) -> Stage:
    settings: dict[str, Any] = {"options": {"hits": 10}, "inputs": {"index": "i"}, **changes}
    return Stage(path, "file", "search", **settings)


def make(path: Path, **changes: Any) -> None:
    one = stage(path, **changes)
    with one.write() as file:
        file.write(b"run")
    one.commit({"hits": 1})


def test_a_finished_output_is_up_to_date_and_opens(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    assert not stage(path).up_to_date()
    make(path)
    assert stage(path).up_to_date()
    manifest = open_artefact(path, ("search",))
    assert manifest.counts == {"hits": 1}
    assert manifest.fingerprint == stage(path).fingerprint
    assert not (tmp_path / "run.trec.state.json").exists()


def test_equal_runs_give_equal_manifests(tmp_path: Path) -> None:
    make(tmp_path / "a" / "run")
    make(tmp_path / "b" / "run")
    first, second = ((tmp_path / name / "run.manifest.json").read_bytes() for name in "ab")
    assert first == second


def test_other_options_are_refused_by_name_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    make(path)
    other = {"options": {"hits": 20}, "inputs": {"index": "j"}}
    with pytest.raises(PreconditionError, match=r"hits 10 -> 20, input index i -> j\); use --force"):
        stage(path, **other).up_to_date()
    assert not stage(path, force=True, **other).up_to_date()


def test_a_look_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run with --force must not make a finished result an unfinished one."""
    path = tmp_path / "run.trec"
    make(path)
    assert not stage(path, force=True).up_to_date(look=True)
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert not stage(path, options={"hits": 20}).up_to_date(look=True)
    assert open_artefact(path).counts == {"hits": 1}
    assert not stage(path, options={"hits": 20}).up_to_date()
    assert not (tmp_path / "run.trec.manifest.json").exists()


@pytest.mark.parametrize("stale", ["refuse", "replace"])
def test_a_file_that_is_not_ours_is_not_overwritten(tmp_path: Path, monkeypatch, stale: str) -> None:
    monkeypatch.setenv("DRETRIEVE_STALE", stale)
    path = tmp_path / "run.trec"
    path.write_text("precious")
    with pytest.raises(PreconditionError, match="was not made by dretrieve"):
        stage(path).up_to_date()
    assert not stage(path, force=True).up_to_date()


def test_a_device_or_a_pipe_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    for output in (tmp_path / "pipe", Path("-")):
        with pytest.raises(PreconditionError, match="is no file on disk"):
            stage(output, force=True).up_to_date()


def test_killed_between_data_and_manifest_the_same_command_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    one = stage(path)
    with one.write() as file:
        file.write(b"run")
    with pytest.raises(PreconditionError, match="has not finished"):
        open_artefact(path)
    assert not stage(path).up_to_date()
    make(path)
    assert stage(path).up_to_date()


def test_changed_bytes_are_not_up_to_date_silently(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    make(path)
    path.write_bytes(b"ruN")
    with pytest.raises(VerificationError, match="changed"):
        stage(path).up_to_date()


def test_the_wrong_kind_of_artefact(tmp_path: Path) -> None:
    make(tmp_path / "run")
    with pytest.raises(VerificationError, match="made by the stage 'search', expected one made by index"):
        open_artefact(tmp_path / "run", ("index",))
    with pytest.raises(PreconditionError, match="does not exist"):
        open_artefact(tmp_path / "none")
    with pytest.raises(PreconditionError, match="is a folder; give --output a file name"):
        stage(tmp_path).up_to_date()
    folder = Stage(tmp_path / "run", "folder", "index")
    with pytest.raises(PreconditionError, match="is a file; give --output a folder name"):
        folder.up_to_date()


def test_a_folder_lists_every_file(tmp_path: Path) -> None:
    one = Stage(tmp_path / "index", "folder", "index")
    with one.write("a.json", text=True) as file:
        file.write("{}")
    (tmp_path / "index" / "b.npy").write_bytes(b"x")
    one.add("b.npy")
    one.commit()
    assert sorted(open_artefact(tmp_path / "index").files) == ["a.json", "b.npy"]


def test_a_file_renamed_with_its_manifest_is_the_same_and_a_swapped_one_is_not(tmp_path: Path) -> None:
    for name in ("one", "two"):
        stage = Stage(tmp_path / name, "file", "toy", options={"name": name})
        with stage.write(text=True) as file:
            file.write(f"{name}\n")
        stage.commit()
    for ending in ("", ".manifest.json"):
        (tmp_path / f"one{ending}").rename(tmp_path / f"three{ending}")
    assert open_artefact(tmp_path / "three").options == {"name": "one"}
    (tmp_path / "two.manifest.json").replace(tmp_path / "three.manifest.json")
    with pytest.raises(VerificationError, match=r"three.*three\.manifest\.json"):
        open_artefact(tmp_path / "three")


def test_a_dry_run_answers_alike_of_every_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.txt"

    def answer(**changes: Any) -> dict[str, Any]:
        return stage(path, **changes).planned("would write", {"rows": 3}).as_json()

    assert answer() == {
        "stage": "search",
        "fingerprint": stage(path).fingerprint,
        "state": "to do",
        "outputs": [str(path)],
        "changed": [],
        "plan": "would write",
        "rows": 3,
    }
    with pytest.raises(Interrupted), stage(path).write(text=True):
        raise Interrupted("a signal")
    assert answer()["state"] == "interrupted"
    make(path)
    assert answer()["state"] == "up to date"
    assert answer(force=True)["state"] == "to do"
    with pytest.raises(PreconditionError, match="holds the result of other options"):
        answer(options={"hits": 20})
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    stale = stage(path, options={"hits": 20}, inputs={"index": "i", "run": "b"}).planned("")
    assert (stale.state, list(stale.changed)) == ("stale", ["hits", "input run"])
    assert "stale (hits, input run)" in stale.render()
    path.write_text("other")
    with pytest.raises(VerificationError):
        answer()


def test_a_stale_result_is_made_again_and_a_fresh_one_is_left_alone(tmp_path, monkeypatch):
    path, other = tmp_path / "run.trec", {"options": {"hits": 20}}
    make(path)
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert stage(path).up_to_date()
    assert not stage(path, **other).up_to_date()
    make(path, **other)
    assert stage(path, **other).up_to_date()


def test_any_other_word_is_a_mistake(monkeypatch):
    monkeypatch.setenv("DRETRIEVE_STALE", "yes")
    with pytest.raises(UsageError, match="'yes' is neither 'refuse' nor 'replace'"):
        replaces_stale()


def between_two_looks(monkeypatch, act) -> None:
    """Let another process act when this one looks at the state."""

    def look(manifest: Path) -> dict[str, Any] | None:
        monkeypatch.undo()
        act()
        return read_state(manifest)

    monkeypatch.setattr("dretrieve.store.stage.read_state", look)


def test_what_another_process_finishes_between_two_looks_is_up_to_date(tmp_path, monkeypatch):
    path = tmp_path / "run.trec"
    one = stage(path)
    with one.write() as file:
        file.write(b"run")
    between_two_looks(monkeypatch, lambda: one.commit({"hits": 1}))
    assert stage(path).up_to_date()
    folder = Stage(tmp_path / "docs", "folder", "prepare")
    with folder.write("corpus.jsonl") as file:
        file.write(b"{}")
    between_two_looks(monkeypatch, folder.commit)
    Stage(tmp_path / "docs", "folder", "prepare").refuse_strangers()


def test_what_another_process_begins_between_two_looks_is_ours(tmp_path, monkeypatch):
    path = tmp_path / "run.trec"

    def begin() -> None:
        with stage(path).write() as file:
            file.write(b"run")

    between_two_looks(monkeypatch, begin)
    assert not stage(path).up_to_date()
    make(path)
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    look = "dretrieve.store.stage.read_manifest"
    monkeypatch.setattr(look, lambda file: file.unlink() or read_manifest(file))
    assert not stage(path, options={"hits": 20}).up_to_date()
