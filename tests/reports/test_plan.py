"""What a recipe's commands name, and what stands behind a file by their answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dretrieve.errors import PreconditionError
from dretrieve.reports.plan import Answer, Plan, pieces_of, recorded_plan
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.stage import Stage
from dretrieve.types import VectorSpec


@pytest.mark.parametrize(
    ("piece", "path", "is_named"),
    [
        ("work/nq", "work/nq", True),
        ("work/nq:train", "work/nq", True),
        ("work/nq/x.jsonl", "work/nq", True),
        ("work", "work/nq", True),
        ("work/part-*", "work/part-0.trec", True),
        ("work/nq2", "work/nq", False),
        ("", "work/nq", False),
        ("nq", "work/nq", False),
    ],
)
def test_what_names_an_earlier_output(piece: str, path: str, is_named: bool) -> None:
    plan = Plan()
    plan.enter("other", ["elsewhere", "true"])
    plan.enter("call", ["prepare", "x", "--output", path])
    assert list(plan.named(piece)) == ([1] if is_named else [])


def test_paths_inside_a_data_word() -> None:
    assert (pieces_of("cloze:a/b"), pieces_of("a:test")) == (["a/b"], ["a:test"])
    assert pieces_of("name=nq,path=a/b.jsonl,corpus=c") == ["name", "nq", "path", "a/b.jsonl", "corpus", "c"]


class Folder:
    """A work folder whose artefacts are files of one line, and the plan that makes them."""

    def __init__(self, work: Path) -> None:
        self.work, self.answers, self.asked = work, {}, []
        self.plan = Plan(work=work, ask=self.ask)

    def ask(self, words: list[str]) -> Answer:
        self.asked.append(words[0])
        return self.answers.get(words[0], Answer(state="up to date"))

    def make(self, command: str, output: str, *words: str, stage: str = "", kind: str = "file") -> Path:
        path = self.work / output
        named = [str(self.work / word) for word in words]
        self.plan.enter("call", [command, *named, "--output", str(path)])
        made = Stage(path, kind, stage or command)
        with made.write("file" if kind == "folder" else None, text=True) as file:
            file.write(output)
        made.commit()
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A first model, negatives mined with it, a second model, its run and metrics; and another row."""
    made = Folder(tmp_path)
    made.make("prepare", "wiki")
    made.make("train-1", "first", "wiki", stage="train")
    made.make("search-1", "first.trec", "first", "wiki:train", stage="search")
    made.make("mine", "mined.jsonl", "first.trec")
    made.make("train-2", "second", "mined.jsonl", stage="train")
    made.make("search-2", "second.trec", "second", "wiki:test", stage="search")
    made.make("evaluate", "second.json", "second.trec")
    made.make("other", "other.json", "wiki")
    return made


def test_all_that_was_named_is_asked_once_and_the_trainings_end_what_is_near(folder: Folder) -> None:
    behind = folder.plan.behind(folder.work / "second.json")
    assert behind.problems == ()
    assert [item.name for item in behind.near] == ["second.json", "second.trec", "second", "wiki"]
    assert folder.asked == ["prepare", "train-1", "search-1", "mine", "train-2", "search-2", "evaluate"]
    assert folder.plan.behind(folder.work / "other.json").problems == ()
    assert folder.asked[7:] == ["other"]


@pytest.mark.parametrize(
    ("command", "answer", "sentence"),
    [
        ("prepare", Answer(state="refused", text="no text", code=3), "no text"),
        (
            "train-1",
            Answer(state="stale", changed=("seed",)),
            "first is stale (other: seed): the recipe would",
        ),
        ("mine", Answer(state="interrupted"), "mined.jsonl is interrupted: the recipe would make it anew"),
        ("evaluate", Answer(state="to do"), "second.json is to do"),
    ],
)
def test_the_first_that_is_not_up_to_date_is_named(
    folder: Folder, command: str, answer: Answer, sentence: str
) -> None:
    folder.answers[command] = answer
    behind = folder.plan.behind(folder.work / "second.json")
    assert behind.problems[0].startswith(sentence)
    assert behind.near == ()


@pytest.mark.parametrize("stale", ["", "medical", "legal"])
def test_models_that_share_a_passage_side_have_a_right_row_each(tmp_path: Path, stale: str) -> None:
    """Both search the passages of the general model; one's options are no matter of the other's row."""
    folder, domains = Folder(tmp_path), ("medical", "legal")
    shared = {"vectors": VectorSpec(4, "one", "dot"), "passage": SideCard(files={"general": "0" * 64})}
    for name in ("general", *domains):
        words = () if name == "general" else ("general",)
        model = folder.make(f"train-{name}", name, *words, stage="train", kind="folder")
        ModelCard(method="ddr", query=SideCard(files={name: "0" * 64}), **shared).save(model)
    folder.make("encode", "passages", "general")
    for name in domains:
        folder.make("search", f"{name}.trec", "passages", name)
        folder.make("evaluate", f"{name}.json", f"{name}.trec")
    assert (
        len({ModelCard.load(tmp_path / name).fingerprint("passage") for name in ("general", *domains)}) == 1
    )
    folder.answers[f"train-{stale}"] = Answer(state="stale", changed=("routing",))
    for name, other in (domains, domains[::-1]):
        behind = folder.plan.behind(tmp_path / f"{name}.json")
        if name == stale:
            assert behind.problems[0].startswith(f"{name} is stale (other: routing)")
        else:
            assert behind.problems == ()
            near = {item.name for item in behind.near}
            assert near >= {name, "passages", "general"}
            assert other not in near


@pytest.mark.parametrize(
    ("changed", "words", "fits"),
    [
        (("device",), (), True),
        (("device", "num_processes", "precision"), (), True),
        (("precision",), ("--precision", "bf16"), False),
        (("device", "seed"), (), False),
        ((), (), False),
    ],
)
def test_a_training_on_another_machine_is_the_same(
    tmp_path: Path, changed: tuple[str, ...], words: tuple[str, ...], fits: bool
) -> None:
    folder = Folder(tmp_path)
    folder.answers["train"] = Answer(state="stale", changed=changed)
    path = folder.make("train", "model")
    folder.plan.commands[0] = folder.plan.enter("call", ["train", *words, "--output", str(path)])
    assert (folder.plan.behind(path).problems == ()) == fits
    if fits:  # its files must be those that it wrote all the same
        path.write_text("other")
        again = Plan(work=tmp_path, ask=folder.ask)
        again.enter("call", ["train", *words, "--output", str(path)])
        assert "changed" in again.behind(path).problems[0]


def test_every_shard_is_hashed_by_full_verification(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number in range(2):
        path = tmp_path / "vectors" / f"shard-0000{number}-of-00002"
        stage = Stage(path, "file", "encode")
        with stage.write(text=True) as file:
            file.write("vectors")
        stage.commit()
        folder.plan.enter("call", ["encode", "--output", str(path.parent), "--shard", f"{number}/2"])
    assert len(folder.plan.behind(path.parent).near) == 2
    before = path.stat()
    path.write_text("VECTORS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for full in (False, True):
        plan = Plan(work=tmp_path, ask=folder.ask, full=full)
        plan.enter("call", ["encode", "--output", str(path.parent), "--shard", "1/2"])
        assert bool(plan.behind(path.parent).problems) == full


def test_what_another_program_makes_need_only_be_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    world, text = tmp_path / "world", folder.make("prepare", "text", "world/nq")
    folder.plan = Plan(work=tmp_path, ask=folder.ask)
    folder.plan.enter("other", [str(world), "python", "make.py"])
    folder.plan.enter("call", ["prepare", str(world / "nq"), "--output", str(text)])
    assert folder.plan.behind(text).problems == ("world is not there, and stands behind it",)
    world.mkdir()
    folder.plan = Plan(work=tmp_path, ask=folder.ask)
    folder.plan.enter("other", [str(world), "python", "make.py"])
    folder.plan.enter("call", ["prepare", str(world / "nq"), "--output", str(text)])
    assert folder.plan.behind(text).problems == ()


def test_a_link_to_the_best_of_several_models_is_followed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for rate in ("slow", "fast"):
        folder.make(rate, f"model.{rate}", stage="train", kind="folder")
    link = tmp_path / "model"
    link.symlink_to("model.fast")
    folder.plan.enter("other", [str(link), "false", str(link), f"{link}.slow", f"{link}.fast"])
    behind = folder.plan.behind(folder.make("search", "run.trec", "model"))
    assert (behind.problems, [item.name for item in behind.near]) == ((), ["run.trec", "model"])
    assert folder.asked == ["slow", "fast", "search"]


def test_a_script_that_fails_and_files_that_are_no_recipes(tmp_path: Path) -> None:
    (tmp_path / "parts.sh").write_text("exit 1\n")
    assert recorded_plan(tmp_path, "mini", tmp_path, lambda words: Answer(state="to do")).commands == []
    (tmp_path / "table.sh").write_text("#\nrecipe x\n")
    with pytest.raises(PreconditionError, match="table.sh says nothing of its plan at mini: .*recipe"):
        recorded_plan(tmp_path, "mini", tmp_path, lambda words: Answer(state="to do"))
