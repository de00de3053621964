"""Job arrays: the plan, what is missing, and a real Slurm in which a task dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import DretrieveError, PreconditionError, UsageError, VerificationError
from dretrieve.jobs import array
from dretrieve.jobs.array import Array
from dretrieve.jobs.configs.array import Resources
from dretrieve.reports.plan import Answer
from dretrieve.store.atomic import write_json
from dretrieve.store.stage import Stage
from dretrieve.text.collection import Collection
from tests.common import Told

ROWS = 4 * 1024 + 5
TOY = Path(__file__).resolve().parent.parent / "slurm" / "toy_stage.py"


def config(folder: Path, **changes: object) -> Array:
    output = folder / "out"
    plain = Array(
        stage="toy",
        words=("--output", str(output), "--rows", str(ROWS)),
        output=output,
        shards=4,
        program=(sys.executable, str(TOY)),
        working_folder=folder,
        environment={"PYTHONPATH": str(TOY.parent.parent.parent)},
        rows=(ROWS, "0" * 64),
    )
    return replace(plain, **changes)


def run_task(settings: Array, index: int) -> None:
    script = settings.folder / "array.sh"
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(index)}
    subprocess.run(["bash", str(script)], env=environment, check=True, timeout=60)


def squares(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted((folder / "out").glob("shard-*.txt")))


def test_the_plan_holds_command_and_shard_map(tmp_path):
    result = array.run(config(tmp_path))
    plan = json.loads((tmp_path / "out.array" / "plan.json").read_text())
    assert plan["command"][-2:] == ["--shard", "array/4"]
    assert [task["shard"] for task in plan["tasks"]] == ["0/4", "1/4", "2/4", "3/4"]
    borders = [(task["start"], task["stop"]) for task in plan["tasks"]]
    assert borders[0][0] == 0
    assert borders[-1][1] == ROWS
    assert all(before[1] == after[0] and before[1] % 1024 == 0 for before, after in pairwise(borders))
    assert (result.finished, result.queued, result.missing) == ([], [], [0, 1, 2, 3])
    assert "#SBATCH --array=0-3\n" in result.text
    assert "sbatch" in result.render()


def test_tasks_by_hand_and_what_is_missing_then(tmp_path):
    settings = config(tmp_path)
    array.run(settings)
    for index in (0, 2):
        run_task(settings, index)
    halfway = array.run(settings)
    assert (halfway.finished, halfway.missing) == ([0, 2], [1, 3])
    for index in (1, 3):
        run_task(settings, index)
    assert array.run(settings).missing == []
    assert squares(tmp_path) == "".join(f"{row * row}\n" for row in range(ROWS))


def test_a_changed_shard_is_refused(tmp_path):
    settings = config(tmp_path)
    array.run(settings)
    run_task(settings, 1)
    part = tmp_path / "out" / "shard-00001-of-00004.txt"
    part.write_text(part.read_text()[:-1])
    with pytest.raises(VerificationError, match="shard-00001-of-00004.txt has"):
        array.run(settings)


def test_shards_of_other_texts_are_refused_or_made_again(write_embeddings, tmp_path, monkeypatch):
    """Though no task can tell of what else they are, as long as its model is not there."""
    write_embeddings("out", [f"p{row}" for row in range(ROWS)], np.ones((ROWS, 2)), shards=4)
    settings = config(tmp_path, ask=lambda words: Answer(state="refused", text="no model"), replan=True)
    told = Told()
    own = replace(settings, rows=(ROWS, "passages of out"))
    assert array.run(own, told).finished == [0, 1, 2, 3]
    assert told.lines == ["what is finished may be of other options, for no task can tell: no model"]
    with pytest.raises(VerificationError, match=r"00000-of-00004.* made otherwise .*\(input collection\);"):
        array.run(settings)
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert array.run(settings).missing == [0, 1, 2, 3]


def test_shards_of_other_options_are_refused_or_made_again(write_embeddings, tmp_path, monkeypatch):
    """Those that differ in nothing but their rows are asked about once."""
    write_embeddings("out", [f"p{row}" for row in range(ROWS)], np.ones((ROWS, 2)), shards=4)
    asked, answer = [], Answer(state="up to date")
    words = ("--output", "out", "--force", "--dtype", "float16")
    settings = config(tmp_path, words=words, ask=lambda words: asked.append(words) or answer)
    assert array.run(settings).finished == [0, 1, 2, 3]
    assert asked == [["toy", "--output", "out", "--dtype", "float16", "--shard", "0/4"]]
    answer = Answer(state="stale", changed=("dtype", "input passage_model"))
    with pytest.raises(VerificationError, match=r"\(dtype, input passage_model\); choose another --output"):
        array.run(settings)
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    (tmp_path / "out" / "shard-00002-of-00004.ids.txt").unlink()  # by a task that removes it
    assert array.run(settings).missing == [0, 1, 2, 3]


def test_a_part_of_another_output_is_none_of_this_one(tmp_path):
    """Though its name begins like this one's, and no task can tell yet what it would make."""
    settings = config(tmp_path, ask=lambda words: Answer(state="refused", text="no run"))
    for name, finished in (("out2", []), ("out", [1])):
        part = Stage(tmp_path / f"{name}.shard-00001-of-00004", "file", "toy")
        with part.write(text=True) as file:
            file.write("1")
        part.commit()
        assert array.run(settings).finished == finished


def test_dry_run_writes_nothing(tmp_path):
    result = array.run(config(tmp_path, dry_run=True, submit=True))
    assert list(tmp_path.iterdir()) == []
    assert "exec " in result.render()
    assert result.as_json()["missing"] == [0, 1, 2, 3]


def test_a_plan_of_other_options_is_refused_unless_replaced(tmp_path):
    array.run(config(tmp_path))
    other = config(tmp_path, shards=8)
    with pytest.raises(PreconditionError, match="holds the result of other options .shards 4 -> 8"):
        array.run(other)
    assert len(array.run(replace(other, replan=True)).missing) == 8


def test_more_memory_or_time_is_the_same_plan(tmp_path):
    array.run(config(tmp_path))
    more = Resources(
        time="2:00:00", memory="16G", cpus=4, gpus=1, at_once=2, setup=("module load x",), more=("--qos=a",)
    )
    text = array.run(config(tmp_path, resources=more)).text
    for line in (
        "--time=2:00:00",
        "--mem=16G",
        "--cpus-per-task=4",
        "--gres=gpu:1",
        "--array=0-3%2",
        "--qos=a",
    ):
        assert f"#SBATCH {line}\n" in text
    assert "\nmodule load x\nexec " in text


def test_words_with_spaces_and_quotes_reach_the_stage(tmp_path):
    folder = tmp_path / "a folder's name"
    folder.mkdir()
    settings = config(folder, shards=1)
    array.run(settings)
    run_task(settings, 0)
    assert array.run(settings).finished == [0]


def test_each_shard_a_file_of_its_own_and_their_list_for_what_follows(tmp_path):
    output = tmp_path / "part[1].{shard}.txt"
    settings = config(tmp_path, output=output, words=("--output", str(output), "--rows", str(ROWS)))
    settings = replace(settings, then=("merge {outputs} --output x",))
    array.run(settings)
    follow = (settings.folder / "then-0.sh").read_text()
    assert all(f"part[1].shard-0000{index}-of-00004.txt" in follow for index in range(4))
    run_task(settings, 2)
    assert (tmp_path / "part[1].shard-00002-of-00004.txt").is_file()
    assert array.run(settings).finished == [2]


def test_mistakes(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="--shards 0: expected a whole number from 1"):
        config(tmp_path, shards=0)
    with pytest.raises(PreconditionError, match="holds no plan to re-queue; run with --submit first"):
        array.run(config(tmp_path, requeue=True))
    with pytest.raises(PreconditionError, match="--after nowhere: give a job number, or the plan folder"):
        array.jobs_before(("12", "nowhere"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PreconditionError, match="sbatch is not on this machine"):
        array.run(config(tmp_path, submit=True))


class Submitted:
    """Numbers jobs from 7 and keeps what each waits for; refuses the scripts of that name."""

    def __init__(self, refused: str = ""):
        self.refused, self.after = refused, {}

    def __call__(self, script, options=(), after=()):
        if script.stem == self.refused:
            raise DretrieveError(f"Slurm refused {script}")
        self.after[script.stem] = [*options, *after]
        return str(6 + len(self.after))


def test_what_follows_waits_for_the_tasks_that_are_left_not_for_their_array(tmp_path, monkeypatch):
    submit = Submitted()
    monkeypatch.setattr(array, "submit", submit)
    settings = config(tmp_path, then=("join", "tell"))
    array.run(settings)
    write_json(settings.folder / "submissions.json", [{"array": "5"}])
    monkeypatch.setattr(array, "queued_tasks", lambda jobs: {0: "5_0", 2: "5_2"})
    run_task(settings, 0)
    assert array.run(replace(settings, requeue=True)).queued == [1, 2, 3]
    assert submit.after == {"array": ["--array=1,3"], "then-0": ["7", "5_2"], "then-1": ["8"]}


def test_a_submission_that_another_process_makes_meanwhile_is_not_forgotten(tmp_path, monkeypatch):
    def submit(script: Path, *words: object, **named: object) -> str:
        write_json(script.parent / array.SUBMISSIONS, [{"array": "7"}])
        return "8"

    monkeypatch.setattr(array, "submit", submit)
    array.run(config(tmp_path, submit=True))
    assert array.read_submissions(tmp_path / "out.array") == [{"array": "7"}, {"array": "8"}]


def test_an_array_is_known_though_what_follows_was_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(array, "submit", Submitted(refused="then-0"))
    settings = config(tmp_path, then=("join",))
    with pytest.raises(DretrieveError, match=r"Slurm refused .*then-0\.sh"):
        array.run(replace(settings, submit=True))
    assert array.read_submissions(settings.folder) == [{"array": "7"}]


def test_a_plan_is_waited_for_with_what_is_left_of_its_earlier_submissions(tmp_path, monkeypatch):
    write_json(tmp_path / "submissions.json", [{"array": "3"}, {"array": "5"}, {"array": "7", "then-0": "8"}])
    monkeypatch.setattr(
        array, "queued_tasks", lambda jobs: {row: f"{job}_{row}" for row, job in enumerate(jobs)}
    )
    assert array.jobs_before(("2", str(tmp_path))) == ["2", "3_0", "5_1", "7", "8"]


def wait_for(condition, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def test_an_array_of_four_with_one_task_killed_and_requeued(slurm, tmp_path):
    words = ("--output", str(tmp_path / "out"), "--rows", str(ROWS), "--slow", "2")
    settings = config(tmp_path, words=words, then=(f"join --output {tmp_path / 'out'}",))
    first = array.run(replace(settings, submit=True))
    assert first.submitted.keys() == {"array", "then-0"}
    assert first.queued == [0, 1, 2, 3]
    job = first.submitted["array"]
    with pytest.raises(PreconditionError, match="of this array are queued already"):
        array.run(replace(settings, submit=True))
    wait_for(lambda: array.run(settings).queued == [2] and Path(f"{settings.output}.started-2").exists())
    assert array.run(replace(settings, requeue=True)).submitted == {}, "nothing is missing: task 2 still runs"

    subprocess.run(["scancel", "--signal=KILL", "--full", f"{job}_2"], check=True)
    wait_for(lambda: array.run(settings).missing == [2])
    assert not Path(f"{settings.output}.joined").exists()
    Path(f"{settings.output}.go").touch()
    again = array.run(replace(settings, requeue=True))
    assert again.submitted.keys() == {"array", "then-0"}
    assert again.submitted["array"] != job
    wait_for(Path(f"{settings.output}.joined").exists)
    wait_for(lambda: array.run(settings).finished == [0, 1, 2, 3])
    started = [Path(f"{settings.output}.started-{index}").read_text() for index in range(4)]
    assert len(set(started)) == 4
    assert squares(tmp_path) == "".join(f"{row * row}\n" for row in range(ROWS))
    assert Path(f"{settings.output}.joined").read_text() == squares(tmp_path)
    assert array.run(replace(settings, requeue=True)).submitted == {}


def test_what_follows_an_early_requeue_runs(slurm, tmp_path):
    words = ("--output", str(tmp_path / "out"), "--rows", str(ROWS), "--slow", "0")
    then = (f"join --output {tmp_path / 'out'}",)
    settings = config(tmp_path, words=words, then=then, resources=Resources(at_once=1))
    job = array.run(replace(settings, submit=True)).submitted["array"]
    subprocess.run(["scancel", f"{job}_3"], check=True)
    wait_for(lambda: array.run(settings).missing == [3])
    assert array.run(replace(settings, requeue=True)).submitted.keys() == {"array", "then-0"}
    Path(f"{settings.output}.go").touch()
    wait_for(Path(f"{settings.output}.joined").exists)
    assert squares(tmp_path) == "".join(f"{row * row}\n" for row in range(ROWS))


def test_a_second_array_waits_for_the_first(slurm, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    slow = config(before, words=("--output", str(before / "out"), "--rows", str(ROWS), "--slow", "1"))
    array.run(replace(slow, submit=True))
    follower = config(after, after=(str(slow.folder),))
    array.run(replace(follower, submit=True))
    wait_for(lambda: array.run(slow).queued == [1])
    assert array.run(follower).queued == [0, 1, 2, 3]
    Path(f"{slow.output}.go").touch()
    wait_for(lambda: array.run(follower).finished == [0, 1, 2, 3])
    order = [path.stat().st_mtime_ns for path in (slow.output, follower.output)]
    assert order == sorted(order)


def test_slurms_own_refusal_is_passed_on(slurm, tmp_path):
    with pytest.raises(DretrieveError, match=r"Slurm refused .*partition"):
        array.run(config(tmp_path, resources=Resources(partition="nowhere"), submit=True))


def test_a_plan_of_other_options_names_the_options_of_array(tmp_path):
    settings = config(tmp_path)
    array.run(settings)
    with pytest.raises(PreconditionError, match="--replan to replace it or choose another --plan"):
        array.run(replace(settings, shards=5))
    (settings.folder / "plan.json").write_text("{}")
    with pytest.raises(VerificationError, match="again with --replan"):
        array.run(settings)
    assert len(array.run(replace(settings, shards=5, replan=True)).missing) == 5


def test_more_tasks_than_slurm_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(array, "most_tasks", lambda: 1001)
    with pytest.raises(UsageError, match="at most 1,001 tasks .* give --shards 1001 or fewer"):
        array.run(config(tmp_path, shards=1002, dry_run=True))
    assert len(array.run(config(tmp_path, shards=1001, dry_run=True)).missing) == 1001
    monkeypatch.setattr(array, "most_tasks", lambda: None)
    array.run(config(tmp_path, shards=1002, dry_run=True), told := Told())
    assert "1,001 tasks" in told.lines[0]


def test_a_plan_folder_that_no_script_can_name(tmp_path):
    with pytest.raises(UsageError, match="another --plan"):
        array.run(replace(config(tmp_path), plan=tmp_path / "a\n#SBATCH --exclusive"))
    assert not list(tmp_path.iterdir())
    text = array.run(replace(config(tmp_path), plan=tmp_path / "50% of it")).text
    assert f'#SBATCH --output="{tmp_path}/50%% of it/logs/%A_%a.log"\n' in text


def test_rows_are_those_of_the_side_that_is_cut(tiny_collection):
    passages = array.rows_of("encode", {"corpus": str(tiny_collection)})
    queries = array.rows_of("encode", {"queries": f"{tiny_collection}:test"})
    assert passages is not None
    assert queries is not None
    assert (passages[0], queries[0]) == (30, 6)
    assert len({passages[1], queries[1]}) == 2
    assert array.rows_of("search", {"queries": f"{tiny_collection}:test"}) is None
    with pytest.raises(UsageError, match="passages have no splits"):
        array.rows_of("encode", {"corpus": f"{tiny_collection}:test"})


def test_texts_of_topics_are_those_of_the_field_that_is_searched(tmp_path):
    topics = tmp_path / "topics.txt"
    topics.write_text("<top>\n<num> Number: 7\n<title> bees\n<desc> Description:\nwho makes honey\n</top>\n")
    found = array.rows_of("encode", {"queries": str(topics), "topic_field": "description"})
    assert found == (1, Collection.open(topics, "queries", "description").queries().sha256)
    assert found != array.rows_of("encode", {"queries": str(topics), "topic_field": None})


def test_a_plan_without_rows_still_names_every_shard(tmp_path):
    config = array.Array(
        stage="fuse-bm25",
        words=("--run", "a"),
        output=tmp_path / "run",
        shards=2,
        plan=tmp_path / "plan",
        program=(sys.executable,),
        working_folder=Path("/x"),
    )
    plan = array.plan_of(config)
    assert [task["stem"] for task in plan["tasks"]] == ["shard-00000-of-00002", "shard-00001-of-00002"]
    assert plan["rows"] is None
    assert all("start" not in task for task in plan["tasks"])


@pytest.mark.parametrize("values", [{}, {"precision": "fp32"}, {"precision": None}])
def test_a_precision_that_is_chosen_stays(values):
    assert array.resolved_precision(values, None) == ()


def test_a_shard_with_a_file_of_its_own(tmp_path):
    output = tmp_path / "run.{shard}.trec"
    assert array.shard_output(output, 3, 16) == tmp_path / "run.shard-00003-of-00016.trec"
    assert array.shard_output(tmp_path / "emb", 3, 16) == tmp_path / "emb"
