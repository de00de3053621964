"""A miniature of everything that the profile `paper` downloads: a hundred rows of a file, in its own layout.

`write_mirror` lays out DPR's files, BEIR's zips and EntityQuestions' archive below one folder, made of the
invented world; `served` puts them behind an address.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SETS = ("nq", "trivia", "webquestions", "curatedtrec", "squad1")
DEV_SETS = ("nq", "trivia")
GZIPPED = ("trivia",)
BEIR = ("arguana", "dbpedia-entity", "fever", "hotpotqa")
RELATIONS = {"founder": "P112", "river": "P206", "craft": "P101"}
ROWS = 100
SPLITS = ("train", "dev", "test")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_mirror(world: Path, folder: Path) -> None:
    """Write every file.

    Args:
        world: what recipes/smoke.py wrote.
        folder: the mirror's root.
    """
    passages = [row for name in ("nq", "squad") for row in rows_of(world / name / "corpus.jsonl")]
    queries = {row["_id"]: row for name in ("nq", "squad") for row in rows_of(world / name / "queries.jsonl")}
    number = {row["_id"]: str(place) for place, row in enumerate(passages, 1)}
    write_passages(folder / "wikipedia_split" / "psgs_w100.tsv.gz", passages, number)
    retriever = folder / "data" / "retriever"
    for split, sets in (("train", SETS), ("dev", DEV_SETS), ("test", SETS)):
        asked = judged(world, split)
        for place, name in enumerate(sets):
            own = asked[place :: len(sets)][:ROWS]
            if split != "test":
                rows = [training_row(queries[pair[0]], pair[1], passages, number) for pair in own]
                write_gz(retriever / f"biencoder-{name}-{split}.json.gz", json.dumps(rows, indent=4))
            if split != "train":
                write_questions(retriever, f"{name}-{split}.qa.csv", [queries[pair[0]] for pair in own])
    write_beir(folder, world / "elsewhere")
    write_entity_questions(folder / "dataset.zip", rows_of(world / "entities" / "queries.jsonl"))


def judged(world: Path, split: str) -> list[tuple[str, str]]:
    """Return (question, passage) of both collections, taken in turn."""
    both = []
    for name in ("nq", "squad"):
        lines = (world / name / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]
        both.append([tuple(line.split("\t")[:2]) for line in lines])
    return [pair for pairs in zip(*both, strict=True) for pair in pairs]


def write_passages(path: Path, passages: list[dict[str, Any]], number: dict[str, str]) -> None:
    """Write psgs_w100.tsv.gz: a header, cells quoted where csv quotes them."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["id", "text", "title"])
    for row in passages:
        writer.writerow([number[row["_id"]], row["text"], row["title"]])
    write_gz(path, text.getvalue())


def training_row(
    query: dict[str, Any], positive: str, passages: list[dict[str, Any]], number: dict[str, str]
) -> dict[str, Any]:
    """Return one question of a biencoder file; two hard negatives are about the same entity."""
    entity = positive.split("-")[0]
    same = [row for row in passages if row["_id"].startswith(f"{entity}-") and row["_id"] != positive]
    gold = next(row for row in passages if row["_id"] == positive)
    easy = passages[(len(query["text"]) * 37) % len(passages)]
    return {
        "dataset": "miniature",
        "question": query["text"],
        "answers": query["answers"],
        "positive_ctxs": [context(gold, number)],
        "negative_ctxs": [context(easy, number)],
        "hard_negative_ctxs": [context(row, number) for row in same],
    }


def context(row: dict[str, Any], number: dict[str, str]) -> dict[str, Any]:
    """Return a passage as DPR's files hold it."""
    return {"title": row["title"], "text": row["text"], "score": 1.5, "passage_id": number[row["_id"]]}


def write_questions(folder: Path, name: str, queries: list[dict[str, Any]]) -> None:
    """Write a .qa.csv: question, TAB, a Python list of answers (CuratedTREC: one pattern)."""
    lines = []
    for query in queries:
        answers = [f"{query['answers'][0][:-1]}."] if name.startswith("curatedtrec") else query["answers"]
        lines.append(f"{query['text']}\t{answers!r}\n")
    if name.startswith(GZIPPED):
        write_gz(folder / f"{name}.gz", "".join(lines))
    else:
        (folder / name).write_text("".join(lines), encoding="utf-8")


def write_beir(
    folder: Path, collection: Path, names: Iterable[str] = BEIR, splits: Iterable[str] = ("test",)
) -> None:
    """Write the zips; each holds the collection, under its own name."""
    for name in names:
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as bundle:
            for file in ("corpus.jsonl", "queries.jsonl", *(f"qrels/{split}.tsv" for split in splits)):
                bundle.writestr(f"{name}/{file}", (collection / file).read_text(encoding="utf-8"))


def write_entity_questions(path: Path, queries: list[dict[str, Any]]) -> None:
    """Write dataset.zip: a file for each relation and split."""
    with zipfile.ZipFile(path, "w") as bundle:
        for relation, code in RELATIONS.items():
            own = [row for row in queries if row["relation"] == relation][:ROWS]
            rows = [{"question": row["text"], "answers": row["answers"]} for row in own]
            for split in ("train", "dev", "test"):
                bundle.writestr(f"dataset/{split}/{code}.{split}.json", json.dumps(rows))


def write_gz(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the folder on this machine; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
