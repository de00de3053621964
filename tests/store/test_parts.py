"""Parts of one output, joined."""

from pathlib import Path

import pytest

from dretrieve.errors import PreconditionError, VerificationError
from dretrieve.store.manifest import Manifest
from dretrieve.store.parts import finished_parts, join_parts, part_of, tiling_parts, whole_of
from dretrieve.store.stage import Stage


def stage(output: Path, shard: tuple[int, int] | None = None, hits: int = 10) -> Stage:
    return part_of(Stage(output, "file", "search", 1, {"hits": hits}, {"index": "i"}), shard)


def make(output: Path, shard: tuple[int, int], hits: int = 10) -> None:
    one = stage(output, shard, hits)
    with one.write() as file:
        file.write(f"{shard[0]};".encode())
    one.commit({"lines": shard[0] + 1})


def test_all_parts_in_order_make_the_whole(tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert stage(output, (1, 3)).output.name == "run.shard-00001-of-00003"
    for index in (2, 0):
        make(output, (index, 3))
    make(output, (1, 3), hits=7)
    make(output, (1, 2))
    assert finished_parts(stage(output)) == []
    stage(output, (1, 3)).output.unlink()
    stage(output, (1, 3)).output.with_name("run.shard-00001-of-00003.manifest.json").unlink()
    make(output, (1, 3))
    parts = finished_parts(stage(output))
    assert [path for path, _ in parts] == [stage(output, (index, 3)).output for index in range(3)]
    with output.open("wb") as file:
        assert join_parts(file, parts) == {"lines": 6}
    assert output.read_bytes() == b"0;1;2;"
    assert finished_parts(stage(output, (0, 3))) == []


def test_a_part_of_an_older_version_is_none(tmp_path: Path) -> None:
    make(tmp_path / "run", (0, 1))
    newer = stage(tmp_path / "run")
    newer.version = 2
    assert finished_parts(newer) == []


def test_a_changed_part_is_none(tmp_path: Path) -> None:
    make(tmp_path / "run", (0, 1))
    assert len(finished_parts(stage(tmp_path / "run"))) == 1
    stage(tmp_path / "run", (0, 1)).output.write_bytes(b"other")
    assert finished_parts(stage(tmp_path / "run")) == []


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    make(tmp_path / "run[1]", (0, 1))
    assert len(finished_parts(stage(tmp_path / "run[1]"))) == 1


def test_parts_of_one_thing_come_in_the_order_of_their_rows() -> None:
    def part(index: int, **options: object) -> tuple[Path, Manifest]:
        shard = {"start": index, "stop": index + 1, "index": index, "count": 3, "total": 3}
        return Path(str(index)), Manifest(
            stage="search", version=1, options={"hits": 9, "shard": shard, **options}
        )

    def tiling(*parts: tuple[Path, Manifest]) -> list[str]:
        own = ("shard", "form")
        found = tiling_parts(parts, "run, not made by search", "searches", where="the list", own=own)
        return [str(path) for path, _ in found]

    every = part(2), part(0, form="gz"), part(1)
    assert tiling(*every) == ["0", "1", "2"]
    assert whole_of(every[1][1]).options == {"hits": 9, "form": "gz"}
    with pytest.raises(PreconditionError, match="the list lacks 1 of 3 shards; run --shard 1/3"):
        tiling(*every[:2])
    with pytest.raises(VerificationError, match=r"2 and 1 are parts of different searches \(hits 9 -> 8\)"):
        tiling(*every[:2], part(1, hits=8))
    whole = Path("w"), whole_of(every[0][1])
    with pytest.raises(VerificationError, match="w is a whole run, not made by search --shard I/N"):
        tiling(part(0), whole)
