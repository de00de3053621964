"""A changed token index: what a fresh one over the same passages holds and finds; kills; refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import DataError, Interrupted, PreconditionError, UsageError, VerificationError
from dretrieve.index import token, token_build
from dretrieve.index.registry import change_index, open_vector_index
from dretrieve.index.token import TokenIndex
from dretrieve.index.token_codes import open_codes
from dretrieve.jobs import index as index_job
from dretrieve.jobs import validate
from dretrieve.store import state
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.types import Silent, Vectors, offsets_of
from tests.common import indexing, searched, searching

DIM, ROWS, MORE = 6, 2000, 300
DELETED = [0, 5, 6, 7, 1023, 1024, ROWS - 1]


def texts(count: int, seed: int) -> Vectors:
    """Return texts of 0 to 5 tokens; whole numbers, so that many scores are equal."""
    chance = np.random.default_rng(seed)
    lengths = chance.integers(0, 6, count)
    values = chance.integers(-3, 4, (lengths.sum(), DIM)).astype(np.float16)
    values[:, 0] += 1 - np.abs(values).any(axis=1)
    return Vectors(values, offsets_of(lengths))


OLD, NEW, ASKED = texts(ROWS, 0), texts(MORE, 1), texts(20, 2)
OLD_IDS, NEW_IDS = [f"p{row}" for row in range(ROWS)], [f"m{row}" for row in range(MORE)]


@pytest.fixture
def work(write_embeddings, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(token_build, "CHUNK_TOKENS", 200)
    write_embeddings("old", OLD_IDS, OLD, score="maxsim_sum", shards=2)
    write_embeddings("new", NEW_IDS, NEW, score="maxsim_sum")
    write_embeddings("queries", [f"q{row}" for row in range(20)], ASKED, side="query", score="maxsim_sum")
    (tmp_path / "ids.txt").write_text("".join(f"{OLD_IDS[row]}\n" for row in DELETED))
    indexed(tmp_path)
    return tmp_path


def indexed(work: Path, embeddings: str = "old", output: str = "index", **settings) -> str:
    given = {
        name: str(work / value) for name, value in settings.items() if name in ("add", "delete", "centroids")
    }
    return index_job.run(indexing(work, output, embeddings, settings=settings | given)).state


def arrays(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy") if path.name != "removed.npy"}


def hits(work: Path, index: str, mode: str = "exact") -> list[list[tuple[str, float]]]:
    config = searching(work, f"{index}.{mode}.trec", index, hits=30, settings={"mode": mode})
    return searched(config)


def fresh(work: Path, write_embeddings, **settings) -> Path:
    """Return an index over the passages that are left and those that came, encoded together."""
    kept = np.setdiff1d(np.arange(ROWS), DELETED)
    ids = [OLD_IDS[row] for row in kept] + NEW_IDS
    write_embeddings("left", ids, Vectors.joined([OLD.take(kept), NEW]), score="maxsim_sum")
    indexed(work, "left", "fresh", centroids="index", **settings)
    return work / "fresh"


BOTH = {"add": "new", "delete": "ids.txt"}


@pytest.mark.parametrize("calls", [[BOTH], [{"add": "new"}, {"delete": "ids.txt"}], [{"add": "new"}, BOTH]])
def test_arrays_and_hits_are_those_of_a_fresh_index(work: Path, write_embeddings, calls: list) -> None:
    assert "deleted" not in open_vector_index(work / "index").search_options["said"]
    assert [indexed(work, **call) for call in calls] == ["changed"] * len(calls)
    index = open_vector_index(work / "index")
    assert isinstance(index, TokenIndex)
    assert "before passages were added or deleted" in index.search_options["said"]
    assert index.passages.rows == ROWS - len(DELETED) + MORE
    assert arrays(work / "index") == arrays(fresh(work, write_embeddings))
    exact = hits(work, "index")
    assert exact == hits(work, "fresh")
    # equal ones may stand in each other's place: the scores tell
    pairs = [zip(*both, strict=False) for both in zip(hits(work, "index", "fast"), exact, strict=True)]
    assert np.mean([fast[1] == sure[1] for pair in pairs for fast, sure in pair]) >= 0.95
    checked = validate.run(
        validate.ValidateConfig(paths=tuple(map(str, (work / "index", work / "index.exact.trec"))))
    )
    assert "was searched with" in checked.render()
    rows = np.array([0, 4, 5, 1500, ROWS - len(DELETED), index.passages.rows - 1])
    assert index.passages.ids(rows) == ["p1", "p8", "p9", "p1506", "m0", f"m{MORE - 1}"]
    assert np.array_equal(index.passages.gather(rows[:1]).values, OLD.take(np.array([1])).values)
    before = (work / "index" / "manifest.json").read_bytes()
    assert indexed(work, add="new", delete="ids.txt") == indexed(work, delete="ids.txt") == "up to date"
    assert (work / "index" / "manifest.json").read_bytes() == before


def test_a_passage_takes_the_place_of_one_with_its_id(work: Path, write_embeddings) -> None:
    write_embeddings("update", ["p5"], texts(1, 3), score="maxsim_sum")
    (work / "ids.txt").write_text("p5\n")
    assert indexed(work, add="update", delete="ids.txt") == "changed"
    assert indexed(work, add="update", delete="ids.txt") == "up to date"
    passages = open_vector_index(work / "index").passages
    assert passages.every_id().count("p5") == 1
    assert passages.every_id()[-1] == "p5"
    write_embeddings("later", ["p5"], texts(1, 4), score="maxsim_sum")
    assert indexed(work, add="later", delete="ids.txt") == "changed"
    assert indexed(work, add="update", delete="ids.txt") == "up to date", "what came later stays"
    assert open_vector_index(work / "index").passages.every_id().count("p5") == 1


def test_a_kill_leaves_the_index_or_what_the_same_command_finishes(work: Path, monkeypatch) -> None:
    indexed(work, output="other")
    indexed(work, output="other", add="new", delete="ids.txt")
    expected = arrays(work / "other"), (work / "other" / "manifest.json").read_bytes()
    whole = arrays(work / "index")

    class Stopping(Signals):
        def check(self) -> None:
            raise Interrupted("stop")

    settings = {"add": str(work / "new"), "delete": str(work / "ids.txt")}
    with pytest.raises(Interrupted):
        change_index(
            "token",
            Embeddings.open(work / "old"),
            work / "index",
            settings,
            progress=Silent(),
            signals=Stopping(),
        )
    assert (work / "index" / ".changed" / token_build.PARTIAL / "journal.jsonl").read_bytes()
    assert arrays(work / "index") == whole
    open_vector_index(work / "index")

    moved = Path.replace

    def stop(path: Path, target: Path) -> Path:
        if path.name == "lists.npy" and path.parent.name == ".changed":
            raise Interrupted("stop")
        return moved(path, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(Interrupted):
        indexed(work, add="new", delete="ids.txt")
    monkeypatch.undo()
    with pytest.raises(PreconditionError, match="no finished index"):
        open_vector_index(work / "index")
    assert indexed(work, add="new", delete="ids.txt") == "up to date"
    assert (arrays(work / "index"), (work / "index" / "manifest.json").read_bytes()) == expected
    assert not (work / "index" / ".changed").exists()


def test_what_a_killed_change_left_takes_no_rebuilt_indexs_place(work: Path, monkeypatch) -> None:
    whole, moved = arrays(work / "index"), Path.replace

    def stop(path: Path, target: Path) -> Path:
        if path.parent.name == ".changed":
            raise Interrupted("stop")
        return moved(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(Interrupted):
            indexed(work, add="new")
    assert (work / "index" / ".changed" / "manifest.json").is_file()
    assert indexed(work) == "written"
    assert arrays(work / "index") == whole
    assert indexed(work, delete="ids.txt") == "changed"
    assert open_vector_index(work / "index").passages.rows == ROWS - len(DELETED)


def test_what_does_not_fit_is_refused(work: Path, write_embeddings) -> None:
    whole = arrays(work / "index")
    (work / "strange.txt").write_text("p3\nx1\nx2\n")
    write_embeddings("twice", ["m1", "p9"], texts(2, 5), score="maxsim_sum")
    write_embeddings("model", ["m1"], texts(1, 5), score="maxsim_sum", model="other")
    write_embeddings("one", ["m1"], np.ones((1, DIM)))
    for settings, error, words in (
        ({"delete": "strange.txt"}, DataError, r"names 2 ids that the index does not have \(x1, x2\)"),
        ({"delete": "none.txt"}, PreconditionError, "there is no such file"),
        ({"add": "twice"}, DataError, r"has 1 ids that the index has already \(p9\); delete these"),
        ({"add": "model"}, VerificationError, "cannot be searched together: passage m and other"),
        ({"add": "one"}, VerificationError, "holds one vector per passage"),
        ({"add": "none"}, PreconditionError, "no finished embeddings"),
        ({"add": "new", "bits": 4}, UsageError, "leave the other settings away"),
        ({"add": "new", "embeddings": "new"}, VerificationError, "was built over .*old, not over .*new"),
        ({"add": "new", "output": "nothing"}, PreconditionError, "does not exist"),
    ):
        with pytest.raises(error, match=words):
            indexed(work, **settings)
    assert arrays(work / "index") == whole


def test_an_index_that_is_changed_while_it_is_opened_is_the_changed_one(work: Path, monkeypatch) -> None:
    opened = token.open_embeddings

    def meanwhile(*words, **named):
        found = opened(*words, **named)
        if indexed(work, **BOTH) == "changed":
            (work / "again").touch()
        return found

    monkeypatch.setattr(token, "open_embeddings", meanwhile)
    index = open_vector_index(work / "index")
    assert index.passages.rows == len(index.passages.ranks) == ROWS - len(DELETED) + MORE
    assert index.codes is not None
    assert len(index.codes.borders) == index.passages.rows + 1
    assert (work / "again").exists()


def test_an_index_is_changed_by_one_process_at_a_time(work: Path, monkeypatch) -> None:
    monkeypatch.setattr(state, "PATIENCE", 0.0)
    with state.alone_in(work / "index"):
        with pytest.raises(PreconditionError, match=r"another process is at work in .*index; wait"):
            indexed(work, **BOTH)
    assert indexed(work, **BOTH) == "changed"


def test_borders_of_other_codes_are_refused(work: Path) -> None:
    indexed(work, output="other")
    indexed(work, output="other", add="new")
    (work / "other" / "borders.npy").replace(work / "index" / "borders.npy")
    with pytest.raises(VerificationError, match="was changed while it was opened"):
        open_codes(work / "index")
