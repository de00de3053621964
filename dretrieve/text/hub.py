"""Data sets of the Hugging Face hub, and Arrow or Parquet files, through the library ``datasets``.

Two layouts are understood: a BEIR-like set with the configurations ``corpus``, ``queries`` and
``default`` or ``qrels`` (MTEB's and BEIR's own), and a set whose rows have one of our known forms
(a corpus, queries, training rows), each split of which is read as such.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, DretrieveError, PreconditionError, UsageError, quoted
from dretrieve.store.atomic import make_folder, replacing
from dretrieve.store.fingerprint import sha256_bytes
from dretrieve.store.interrupt import Signals
from dretrieve.text.beir import QRELS_HEADER
from dretrieve.text.cache import cache_folder
from dretrieve.text.qrels import GRADE
from dretrieve.types import Progress

FILE_FORMS = {".parquet": "parquet", ".arrow": "arrow"}
QRELS_COLUMNS = ("query-id", "corpus-id", "score")
LACKING = "hf: needs the package 'datasets'; install it: pip install datasets"


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A data set ``owner/name[/configuration][:split]``, or a saved data set's, Arrow or Parquet file's path.

    No name on the hub has a second slash, so what stands behind one is a configuration.
    """

    name: str
    endpoint: str | None = None
    licence: str = "the licence stands on the data set's page"
    answers_are_regex: bool = False

    @property
    def split(self) -> str | None:
        """The split named after the colon."""
        return self.name.partition(":")[2] or None

    @property
    def path(self) -> str:
        """The name without split."""
        return self.name.partition(":")[0]

    def _of_hub(self) -> tuple[str, str | None]:
        """Return the name on the hub and the configuration named behind it."""
        owner, _, rest = self.path.partition("/")
        name, slash, configuration = rest.partition("/")
        known = f"{owner}/{name}"
        if not (owner and slash) or Path(known).exists():  # the path of a file that is not there
            return self.path, None
        return known, configuration or None

    @property
    def _folder(self) -> Path:
        path, name = Path(self.path), self.path.strip("/").replace("/", "--")
        if path.exists():  # in whatever folder
            name = f"{path.name}-{sha256_bytes(str(path.resolve()).encode())[:16]}"
        return cache_folder() / "downloads" / "hf" / name

    def plan(self) -> str:
        """Return what would be fetched."""
        return f"load {self.path} through datasets, write it as JSONL below {self._folder}, then read it"

    def check(self) -> None:
        """Refuse to plan without the library.

        Raises:
            PreconditionError: it is missing.
        """
        if find_spec("datasets") is None:
            raise PreconditionError(LACKING)

    def fetch(self, progress: Progress, signals: Signals) -> Path:
        """Return a folder (BEIR layout) or file (JSONL in a known form); a choice among several is said.

        Raises:
            PreconditionError: the library is missing, no network, no such data set.
            UsageError: several configurations and none named, or not that one; a split of a BEIR layout.
            DataError: neither of the two layouts; no such split; judgements without whole grades.
        """
        if self.endpoint:
            os.environ["HF_ENDPOINT"] = self.endpoint
        try:
            import datasets
        except ImportError:
            raise PreconditionError(LACKING) from None
        writer = _Writer(make_folder(self._folder), progress, signals)
        try:
            if Path(self.path).exists():
                return self._rows(_local(datasets, Path(self.path)), writer)
            path, asked = self._of_hub()
            names = datasets.get_dataset_config_names(path)
            if asked is None and "corpus" in names and "queries" in names:
                return self._beir(datasets, names, writer)
            name = _configuration(path, asked, names, progress)
            return self._rows(datasets.load_dataset(path, name, streaming=True), writer)
        except DretrieveError:
            raise
        except Exception as error:  # its own errors, the network's, any of a data set's script
            text = " ".join(str(error).split())[:200]
            raise PreconditionError(
                f"hf:{self.path} cannot be loaded ({type(error).__name__}: {text}); check the name, "
                "the network and the proxy, or give --mirror URL"
            ) from error

    def _rows(self, splits: Mapping[str, Iterable[Any]], writer: _Writer) -> Path:
        chosen = self.split or _first(self.path, splits, writer.progress)
        if chosen not in splits:
            raise DataError(f"hf:{self.path} has no split '{chosen}'; it has: {', '.join(splits)}")
        return writer.write(f"{chosen}.jsonl", splits[chosen], _as_json)

    def _beir(self, datasets: Any, names: list[str], writer: _Writer) -> Path:
        if self.split:
            raise UsageError(
                f"hf:{self.path} is a collection with judgements of each split, and all are kept; leave "
                f":{self.split} out, and name the split where the collection is used, as DIR:{self.split}"
            )
        for kind in ("corpus", "queries"):
            splits = datasets.load_dataset(self.path, kind, streaming=True)
            chosen = _first(f"{self.path}/{kind}", splits, writer.progress)
            writer.write(f"{kind}.jsonl", splits[chosen], _as_json)
        name = next((name for name in ("default", "qrels") if name in names), None)
        source = self.path if name else f"{self.path}-qrels"
        make_folder(writer.folder / "qrels")
        for split, rows in datasets.load_dataset(source, name, streaming=True).items():
            file = f"qrels/{'dev' if split == 'validation' else split}.tsv"
            line = partial(_as_judgement, f"hf:{source}, split {split}")
            writer.write(file, rows, line, QRELS_HEADER + "\n")
        return writer.folder


@dataclass(frozen=True, slots=True)
class _Writer:
    folder: Path
    progress: Progress
    signals: Signals

    def write(
        self, name: str, rows: Iterable[Any], line: Callable[[Mapping[str, Any]], str], header: str = ""
    ) -> Path:
        if getattr(getattr(rows, "info", None), "builder_name", None) == "csv":
            self.progress.note(
                f"{name} was CSV, where datasets takes 007 for 7 and NA for nothing; where that matters, "
                "fetch the file and give it without hf:"
            )
        self.progress.start(f"loading {name}", None, "rows")
        with replacing(self.folder / name, text=True) as file:
            file.write(header)
            count = 0
            for count, row in enumerate(rows, 1):
                file.write(line(row))
                if count % 1000 == 0:
                    self.progress.advance(1000)
                    self.signals.check()
        self.progress.advance(count % 1000)
        self.progress.finish()
        return self.folder / name


def _as_json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _as_judgement(where: str, row: Mapping[str, Any]) -> str:
    query, passage, score = (row.get(column) for column in QRELS_COLUMNS)
    grade = GRADE.fullmatch(str(score))
    if query is None or passage is None or grade is None:
        raise DataError(
            f"{where}: expected {', '.join(QRELS_COLUMNS)}, the last a whole number, found "
            f"{quoted(dict(row))}; correct a copy of its files and give their folder"
        )
    return f"{query}\t{passage}\t{grade[1]}\n"


def _configuration(path: str, asked: str | None, names: list[str], progress: Progress) -> str:
    """Return the configuration that is read: the one named, the default one, or the only one."""
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    chosen = asked or ("default" if "default" in names else names[0])
    untold = not asked and len(names) > 1
    if chosen not in names or (untold and chosen != "default"):
        lacks = f"no configuration {quoted(asked)}" if asked else "several configurations"
        raise UsageError(
            f"hf:{path} has {lacks}; write one behind its name, as hf:{path}/{names[0]}; it has: {listed}"
        )
    if untold:
        progress.note(
            f"hf:{path}: of its configurations {listed} only {chosen} is read; hf:{path}/NAME takes one"
        )
    return chosen


def _first(path: str, splits: Mapping[str, Any], progress: Progress) -> str:
    """Return the split that is read where none is named: train, or the first."""
    chosen = "train" if "train" in splits else next(iter(splits))
    if len(splits) > 1:
        progress.note(
            f"hf:{path}: of its splits {', '.join(splits)} only {chosen} is read; hf:{path}:SPLIT takes one"
        )
    return chosen


def _local(datasets: Any, path: Path) -> Mapping[str, Iterable[Any]]:
    if path.is_dir() and ((path / "dataset_dict.json").is_file() or (path / "state.json").is_file()):
        loaded = datasets.load_from_disk(str(path))
        return loaded if isinstance(loaded, Mapping) else {"train": loaded}
    form = FILE_FORMS.get(path.suffix)
    if form is None:
        raise DataError(
            f"{path} is no saved data set and no {' or '.join(FILE_FORMS)} file; name one such file, or give "
            "a file of text (CSV, JSON lines) without hf:"
        )
    return dict(datasets.load_dataset(form, data_files=str(path), streaming=True))
