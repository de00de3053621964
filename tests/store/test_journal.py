"""The chunk is the unit of commit: whatever is killed, cut or flipped, a prefix of whole chunks survives."""

import io
import os
import shutil
from pathlib import Path

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


def copied(journal: Journal) -> dict[str, bytes]:
    found = {}
    for name in NAMES:
        target = io.BytesIO()
        journal.copy(name, target)
        found[name] = target.getvalue()
    return found


def contents(folder: Path) -> tuple[int, dict[str, bytes]]:
    journal = Journal(folder, NAMES, PLAN)
    found = journal.chunks, copied(journal)
    journal.close()
    return found


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


def test_half_a_chunk_behind_the_last_line_is_no_part_of_it(tmp_path: Path) -> None:
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
    assert copied(journal) == dict.fromkeys(NAMES, b"")
    journal.discard()
    assert not tmp_path.exists()


def test_an_empty_chunk_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path, NAMES, PLAN)
    journal.append(dict.fromkeys(NAMES, b""))
    journal.close()
    again = Journal(tmp_path, NAMES, PLAN)
    assert again.chunks == 1
    again.close()


@given(st.lists(st.booleans(), min_size=8, max_size=8), st.integers(0, 4))
def test_two_writers_at_once_do_each_other_no_harm(tmp_path_factory, turns: list[bool], start: int) -> None:
    folder = tmp_path_factory.mktemp("journal")
    written(folder / "whole", 4)
    first = Journal(folder / "both", NAMES, PLAN)
    second = None
    for turn, who in enumerate(turns):
        if turn == start:  # the other begins while the first is at work
            second = Journal(folder / "both", NAMES, PLAN)
        writer = second if who and second is not None else first
        if writer.chunks < 4:
            writer.append(chunk(writer.chunks))
    for writer in (first, second or first):
        while writer.chunks < 4:
            writer.append(chunk(writer.chunks))
    assert (4, copied(first)) == (4, copied(second or first)) == contents(folder / "whole")
    first.discard()  # the one that is done first removes the folder
    assert second is None or copied(second) == contents(folder / "whole")[1]
    if second is not None:
        second.close()


def test_who_has_opened_the_files_needs_no_folder_any_more(tmp_path: Path, monkeypatch) -> None:
    """The call that ended first removes it, at whatever time."""
    recover = Journal._recover
    monkeypatch.setattr(Journal, "_recover", lambda self: shutil.rmtree(self.folder) or recover(self))
    journal = Journal(tmp_path / "both", NAMES, PLAN)
    journal.append(chunk(0))
    assert copied(journal) == chunk(0)
    journal.close()
