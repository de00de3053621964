"""Records that travel between packages."""

import numpy as np

from dretrieve.types import Run, Silent


def test_a_run_gives_the_hits_of_a_query_best_first() -> None:
    run = Run(
        query_ids=["q1", "empty", "q2"],
        passage_ids=["a", "b"],
        offsets=np.array([0, 2, 2, 3]),
        passages=np.array([1, 0, 0], dtype=np.int32),
        scores=np.array([2.0, 1.0, 5.0], dtype=np.float32),
    )
    assert len(run) == 3
    assert [list(run.hits(query)) for query in range(3)] == [[("b", 2.0), ("a", 1.0)], [], [("a", 5.0)]]


def test_silence_says_nothing(capsys) -> None:
    progress = Silent()
    progress.start("x", 3, "rows")
    progress.advance(1)
    progress.note("y")
    progress.finish()
    assert capsys.readouterr() == ("", "")
