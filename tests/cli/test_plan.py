"""A plan: each command is asked, those whose inputs are not there wait, nothing is done. See test_recipes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from dretrieve_cli import plan

ROOT = Path(__file__).parents[2]


def recorded(folder: Path, *calls: list[str]) -> Path:
    path = folder / "record"
    path.write_text("".join("\x1f".join([*words, ""]) + "\n" for words in calls))
    return path


def test_commands_that_wait_name_the_last_that_they_wait_for(tiny_collection, tmp_path, capsys):
    work = str(tmp_path / "work")
    where = str(tiny_collection)
    calls = (
        f"call index --corpus {where} --type bm25 --output {work}/index",
        f"call search --index {work}/index --queries {where}:test --output {work}/r.trec",
        f"call evaluate --run {work}/r.trec --qrels {where}:test",
    )
    assert plan.main(recorded(tmp_path, ["step", "1. All"], *map(str.split, calls))) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1] == "1. All"
    assert [line.strip() for line in out if "after" in line] == ["after 1", "after 2"]
    assert out[-1] == "3 commands; 2 of them wait for an earlier one. Nothing was done."
    assert not (tmp_path / "work").exists()


def test_asking_leaves_the_environment_as_it_was(tmp_path, monkeypatch):
    """Tasks that `array` submits afterwards would have it."""
    for name in ("HF_HUB_OFFLINE", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    assert plan.ask(["search", "--index", "x", "--queries", "y", "--output", "z", "--threads", "7"]).code == 3
    assert dict(os.environ) == before


def test_what_is_missing_and_made_by_nobody_ends_with_its_code(tmp_path, capsys):
    call = ["call", "index", "--corpus", str(tmp_path / "absent"), "--type", "bm25", "--output", "x"]
    assert plan.main(recorded(tmp_path, call)) == 3
    assert "absent' does not exist" in capsys.readouterr().out
    assert plan.main(recorded(tmp_path, ["call", "index", "--corpse", "x", "--output", "y"])) == 2


def test_another_command_is_only_shown_and_its_output_waited_for(tmp_path, capsys):
    made = ["other", f"{tmp_path}/world", "python", "make it.py", f"{tmp_path}/world"]
    call = ["call", "index", "--corpus", f"{tmp_path}/world/nq", "--type", "bm25", "--output", "x"]
    assert plan.main(recorded(tmp_path, made, call)) == 0
    out = capsys.readouterr().out
    assert f"1. python 'make it.py' {tmp_path}/world\n" in out
    assert "after 1\n" in out


def test_shards_are_told_in_a_line_each_and_wait_together(tmp_path, capsys):
    world = ["other", f"{tmp_path}/world", "true"]
    encode = f"call encode --model m --corpus {tmp_path}/world/nq --output e --shard"
    shards = [[*encode.split(), f"{n}/3"] for n in range(3)]
    search = "call search --index e --query-embeddings e --shard"
    searches = [[*search.split(), f"{n}/2", "--output", f"part-{n}"] for n in range(2)]
    merge = ["call", "merge", "part-0", "part-1", "--output", "x"]
    assert plan.main(recorded(tmp_path, world, *shards, *searches, merge)) == 0
    out = capsys.readouterr().out
    assert (out.count("dretrieve encode"), out.count("dretrieve search")) == (1, 1)
    assert "       and 3. --shard 1/3\n       and 4. --shard 2/3\n" in out
    assert "       and 6. --shard 1/2\n" in out
    assert "merge part-0 part-1 --output x\n       after 6\n" in out
    assert "7 commands; 6 of them wait for an earlier one." in out


def test_seeds_come_from_the_environment_or_the_recipe(tmp_path):
    script = tmp_path / "toy.sh"
    script.write_text(f'source "{ROOT}/recipes/lib.sh"\nchoose_seeds 1 2 3\necho "${{seeds[@]/#/s}}"\n')
    said = [
        subprocess.run(
            ["bash", str(script)], env=os.environ | extra, capture_output=True, text=True, check=True
        ).stdout
        for extra in ({}, {"SEEDS": "3 1"})
    ]
    assert said == ["s1 s2 s3\n", "s3 s1\n"]
