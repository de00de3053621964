"""The chunk is the unit of commit: whatever is killed, cut or flipped, a prefix of whole chunks survives."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.store.journal import JOURNAL, Journal

NAMES = ("a.bin", "b.txt")
PLAN = {"rows": 3}


def chunk(number: int) -> dict[str, bytes]:
    return {"a.bin": bytes([number]) * (number + 1), "b.txt": f"{number}\n".encode()}


def written(folder: Path, chunks: int) -> None:
    journal = Journal(folder, NAMES, PLAN)
    for number in range(journal.chunks, chunks):
        journal.append(chunk(number))
    journal.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*NAMES, JOURNAL)}


def test_stopping_between_chunks_changes_no_byte(tmp_path: Path) -> None:
    written(tmp_path / "whole", 5)
    for stop in range(1, 6):
        written(tmp_path / "parts", stop)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@given(st.data())
def test_any_cut_of_any_file_costs_only_later_chunks(tmp_path_factory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("journal")
    written(folder / "whole", 4)
    written(folder / "cut", 4)
    name = data.draw(st.sampled_from((*NAMES, JOURNAL)))
    size = (folder / "cut" / name).stat().st_size
    os.truncate(folder / "cut" / name, data.draw(st.integers(0, size)))
    written(folder / "cut", 4)
    assert contents(folder / "cut") == contents(folder / "whole")


@given(st.sampled_from((*NAMES, JOURNAL)), st.data())
def test_a_flipped_byte_is_never_kept(tmp_path_factory, name: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("journal")
    written(folder / "whole", 4)
    written(folder / "bad", 4)
    raw = bytearray((folder / "bad" / name).read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 0x41
    (folder / "bad" / name).write_bytes(raw)
    written(folder / "bad", 4)
    assert contents(folder / "bad") == contents(folder / "whole")


def test_half_a_chunk_behind_the_last_line_is_cut_off(tmp_path: Path) -> None:
    written(tmp_path / "whole", 2)
    written(tmp_path / "part", 1)
    with open(tmp_path / "part" / "a.bin", "ab") as file:
        file.write(b"half a chunk")
    written(tmp_path / "part", 2)
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")


def test_another_plan_starts_again(tmp_path: Path) -> None:
    written(tmp_path, 2)
    journal = Journal(tmp_path, NAMES, {"rows": 4})
    assert journal.chunks == 0
    assert (tmp_path / "a.bin").read_bytes() == b""
    journal.discard()
    assert not tmp_path.exists()


@pytest.mark.parametrize("parts", [{"a.bin": b"", "b.txt": b""}])
def test_an_empty_chunk_counts(tmp_path: Path, parts: dict[str, bytes]) -> None:
    journal = Journal(tmp_path, NAMES, PLAN)
    journal.append(parts)
    journal.close()
    again = Journal(tmp_path, NAMES, PLAN)
    assert again.chunks == 1
    again.close()
