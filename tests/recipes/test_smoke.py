"""The invented world of the profile `smoke`, and the recipes that run on it from end to end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from dretrieve.text.collection import Collection

ROOT = Path(__file__).parents[2]


def test_every_question_has_one_passage_which_holds_its_answer(script, tmp_path):
    smoke = script("recipes/smoke.py")
    rng = random.Random(1)
    smoke.write_collection(tmp_path / "nq", smoke.words(rng, 12, 3), smoke.words(rng, 9, 2), rng)
    collection = Collection.open(tmp_path / "nq")
    assert collection.splits == ["dev", "test", "train"]
    texts = {record.id: record.text for record in collection.corpus().records(0, len(collection.corpus()))}
    seen = set()
    for split, size in (("train", 24), ("dev", 4), ("test", 8)):
        queries, qrels = collection.queries(split), collection.qrels(split)
        assert len(queries) == len(qrels) == size
        seen |= set(queries.ids())
        judged = {
            query_id: qrels.passage_ids[int(qrels.passages[row])]
            for row, query_id in enumerate(qrels.query_ids)
        }
        for query in queries.queries:
            assert query.answers[0] in texts[judged[query.id]]
    assert len(seen) == 36


def test_the_same_seed_gives_the_same_world(script, tmp_path):
    smoke = script("recipes/smoke.py")
    for name in ("a", "b"):
        rng = random.Random(1)
        smoke.write_collection(tmp_path / name, smoke.words(rng, 5, 3), smoke.words(rng, 5, 2), rng)
    assert (tmp_path / "a/corpus.jsonl").read_bytes() == (tmp_path / "b/corpus.jsonl").read_bytes()


def kernels(folder: Path) -> set[str]:
    """Return the compiled kernels that numba keeps there."""
    return {path.name for path in folder.rglob("*.nbc")}


@pytest.mark.slow
def test_an_installation_compiles_every_kernel_that_a_table_calls(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "kernels"), "PYTHON": sys.executable}
    scripts, made = ("compile.sh", "taser/table1.sh"), []
    for script in scripts:
        done = subprocess.run(
            ["bash", str(ROOT / "recipes" / script)],
            env=os.environ | cache | {"PROFILE": "smoke", "WORK": str(tmp_path / "work")},
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        made.append(kernels(tmp_path / "kernels"))
    assert made[0] == made[1] != set()
