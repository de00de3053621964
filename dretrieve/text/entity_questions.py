"""EntityQuestions (Sciavolino et al., EMNLP 2021) from its published archive: questions with their relation.

The archive holds ``dataset/<split>/<relation>.<split>.json``, each a list of ``{"question", "answers"}``. Its
other folder, ``one-off``, holds the paper's own subsets and is left alone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from zipfile import ZipFile

from dretrieve.errors import DataError
from dretrieve.store.atomic import replacing
from dretrieve.text.archives import open_archive, refuse_swelling
from dretrieve.text.beir import Query, query_line

SPLITS = ("train", "dev", "test")
MEMBER = re.compile(r"dataset/(train|dev|test)/(P\d+)\.(train|dev|test)\.json")


def write_questions(archive: Path, splits: tuple[str, ...], target: Path) -> Path:
    """Write the questions of those splits as a file of queries with answers, relation and split.

    Ids are ``eq-<split>-<relation>-<number>``.

    Raises:
        Damaged: as `open_archive`.
        DataError: no such questions; a file that is no list of questions with answers.
    """
    with open_archive(archive) as bundle, replacing(target, text=True) as file:
        refuse_swelling(bundle, bundle.namelist())
        files: dict[str, list[tuple[str, str]]] = {split: [] for split in splits}
        for name in bundle.namelist():
            parts = MEMBER.fullmatch(name)
            if parts and parts[1] == parts[3] and parts[1] in files:
                files[parts[1]].append((parts[2], name))
        if not any(files.values()):
            raise DataError(f"{archive} holds no questions of {', '.join(splits)}; remove it")
        for split, found in files.items():
            for relation, name in sorted(found):
                for number, (question, answers) in enumerate(_rows(bundle, name)):
                    query_id = f"eq-{split}-{relation}-{number:05d}"
                    fields = {"relation": relation, "split": split}
                    file.write(query_line(Query(query_id, question, tuple(answers), fields=fields)))
    return target


def _rows(bundle: ZipFile, name: str) -> list[tuple[str, list[str]]]:
    try:
        rows = [(row["question"], row["answers"]) for row in json.loads(bundle.read(name))]
    except (ValueError, TypeError, KeyError):
        rows = [("", None)]
    for question, answers in rows:
        if not isinstance(answers, list) or not all(isinstance(text, str) for text in (question, *answers)):
            raise DataError(
                f'{bundle.filename}, {name}: expected a list of {{"question", "answers"}}; '
                "the archive is not the published one"
            )
    return rows
