"""EntityQuestions (Sciavolino et al., EMNLP 2021) from its published archive: questions with their relation.

The archive holds ``dataset/<split>/<relation>.<split>.json``, each a list of ``{"question", "answers"}``. Its
other folder, ``one-off``, holds the paper's own subsets and is left alone.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, UsageError
from dretrieve.store.atomic import replacing
from dretrieve.store.interrupt import Signals
from dretrieve.text.beir import Query, query_line
from dretrieve.text.cache import download_folder
from dretrieve.text.compression import check_zip
from dretrieve.text.download import Download, check, fetch
from dretrieve.types import Progress

BASE = "https://nlp.cs.princeton.edu/projects/entity-questions"
LICENCE = (
    "EntityQuestions is under the MIT licence (https://github.com/princeton-nlp/EntityQuestions); it is made "
    "from T-REx (MIT) and Wikidata (CC0)"
)
SPLITS = ("train", "dev", "test")
MEMBER = re.compile(r"dataset/(train|dev|test)/(P\d+)\.(train|dev|test)\.json")


@dataclass(frozen=True, slots=True)
class EntityQuestions:
    """The questions of one split, or of ``all`` three."""

    name: str
    base: str = BASE
    licence: str = LICENCE
    unchecked: bool = False  # no checksum is published; accepted as for the other sources
    answers_are_regex: bool = False

    def __post_init__(self) -> None:
        if self.name not in (*SPLITS, "all"):
            raise UsageError(f"entityquestions:{self.name} is not known; there are: {', '.join(SPLITS)}, all")

    @property
    def split(self) -> str | None:
        """The split, where it is one."""
        return None if self.name == "all" else self.name

    def _download(self) -> Download:
        folder = download_folder("entityquestions", self.base, unchecked=self.unchecked)
        target = folder / "dataset.zip"
        return Download(url=f"{self.base}/dataset.zip", target=target)

    def plan(self) -> str:
        """Return what would be fetched."""
        return f"fetch {self._download().url} into {self._download().target}, then read its questions"

    def check(self) -> None:
        """Refuse a local mirror's archive that is missing."""
        check(self._download())

    def fetch(self, progress: Progress, signals: Signals) -> Path:
        """Return a file of queries, each with answers, relation and split.

        Raises:
            PreconditionError: no network, no such file on the server.
            DataError: the archive is damaged (it is removed, so that the next run fetches it again), or holds
                no such questions.
        """
        if not self._download().target.is_file():
            progress.note("entityquestions: no checksum is published; only the archive's own are checked")
        archive = fetch(self._download(), progress, signals)
        target = archive.with_name(f"{self.name}.queries.jsonl")
        try:
            with zipfile.ZipFile(archive) as bundle, replacing(target, text=True) as file:
                check_zip(bundle, bundle.namelist())
                count = 0
                for query in questions(bundle, SPLITS if self.split is None else (self.split,)):
                    file.write(query_line(query))
                    count += 1
                if not count:
                    raise DataError(f"{archive} holds no questions in dataset/{self.name}; remove it")
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            archive.unlink()
            raise DataError(
                f"{archive} was no intact zip file ({error}) and is removed; run the command again, or give "
                "--mirror URL"
            ) from error
        return target


def questions(bundle: zipfile.ZipFile, splits: tuple[str, ...]) -> Iterator[Query]:
    """Yield the questions of those splits, by split and relation; ids are ``eq-<split>-<relation>-<number>``.

    Raises:
        DataError: a file that is no list of questions with answers.
    """
    found = {}
    for name in bundle.namelist():
        parts = MEMBER.fullmatch(name)
        if parts and parts[1] == parts[3]:
            found[parts[1], parts[2]] = name
    for split in splits:
        for (of, relation), name in sorted(found.items()):
            if of != split:
                continue
            for number, row in enumerate(_rows(bundle, name)):
                fields = {"relation": relation, "split": split}
                query_id = f"eq-{split}-{relation}-{number:05d}"
                yield Query(query_id, row["question"], tuple(row["answers"]), fields=fields)


def _rows(bundle: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(bundle.read(name))
    except ValueError as error:
        raise DataError(
            f"{bundle.filename}, {name}: {error}; the archive is not the published one"
        ) from error
    if not isinstance(rows, list) or not all(map(_is_question, rows)):
        raise DataError(
            f'{bundle.filename}, {name}: expected a list of {{"question", "answers"}}; '
            "the archive is not the published one"
        )
    return rows


def _is_question(row: object) -> bool:
    if not isinstance(row, dict):
        return False
    answers = row.get("answers")
    return (
        isinstance(row.get("question"), str)
        and isinstance(answers, list)
        and all(isinstance(answer, str) for answer in answers)
    )
