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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, DretrieveError, PreconditionError
from dretrieve.store.atomic import make_folder, replacing
from dretrieve.store.interrupt import Signals
from dretrieve.text.beir import QRELS_HEADER
from dretrieve.text.cache import cache_folder
from dretrieve.types import Progress

FILE_FORMS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv"}
QRELS_COLUMNS = ("query-id", "corpus-id", "score")
LACKING = "hf: needs the package 'datasets'; install it: pip install datasets"


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A data set ``owner/name[:split]``, or the path of a saved data set, an Arrow, Parquet or CSV file."""

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

    @property
    def _folder(self) -> Path:
        return cache_folder() / "downloads" / "hf" / self.path.strip("/").replace("/", "--")

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
        """Return a folder (BEIR layout) or file (JSONL in a known form).

        Raises:
            PreconditionError: the library is missing, no network, no such data set.
            DataError: neither of the two layouts.
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
            names = datasets.get_dataset_config_names(self.path)
            if "corpus" in names and "queries" in names:
                return self._beir(datasets, names, writer)
            name = None if "default" in names else names[0]
            return self._rows(datasets.load_dataset(self.path, name, streaming=True), writer)
        except DretrieveError:
            raise
        except Exception as error:  # its own errors, the network's, any of a data set's script
            text = " ".join(str(error).split())[:200]
            raise PreconditionError(
                f"hf:{self.path} cannot be loaded ({type(error).__name__}: {text}); check the name, "
                "the network and the proxy, or give --mirror URL"
            ) from error

    def _rows(self, splits: Mapping[str, Iterable[Any]], writer: _Writer) -> Path:
        chosen = self.split or ("train" if "train" in splits else next(iter(splits)))
        if chosen not in splits:
            raise DataError(f"hf:{self.path} has no split '{chosen}'; it has: {', '.join(splits)}")
        return writer.write(f"{chosen}.jsonl", splits[chosen], _as_json)

    def _beir(self, datasets: Any, names: list[str], writer: _Writer) -> Path:
        for kind in ("corpus", "queries"):
            splits = datasets.load_dataset(self.path, kind, streaming=True)
            writer.write(f"{kind}.jsonl", splits[next(iter(splits))], _as_json)
        name = next((name for name in ("default", "qrels") if name in names), None)
        source = self.path if name else f"{self.path}-qrels"
        make_folder(writer.folder / "qrels")
        for split, rows in datasets.load_dataset(source, name, streaming=True).items():
            file = f"qrels/{'dev' if split == 'validation' else split}.tsv"
            writer.write(file, rows, _as_judgement, QRELS_HEADER + "\n")
        return writer.folder


@dataclass(frozen=True, slots=True)
class _Writer:
    folder: Path
    progress: Progress
    signals: Signals

    def write(
        self, name: str, rows: Iterable[Any], line: Callable[[Mapping[str, Any]], str], header: str = ""
    ) -> Path:
        self.progress.start(f"loading {name}", None, "rows")
        with replacing(self.folder / name, text=True) as file:
            file.write(header)
            for count, row in enumerate(rows, 1):
                file.write(line(row))
                if count % 1000 == 0:
                    self.progress.advance(1000)
                    self.signals.check()
        self.progress.finish()
        return self.folder / name


def _as_json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _as_judgement(row: Mapping[str, Any]) -> str:
    if any(column not in row for column in QRELS_COLUMNS):
        raise DataError(f"its judgements: expected {', '.join(QRELS_COLUMNS)}, found {', '.join(row)}")
    return f"{row['query-id']}\t{row['corpus-id']}\t{int(row['score'])}\n"


def _local(datasets: Any, path: Path) -> Mapping[str, Iterable[Any]]:
    if path.is_dir() and ((path / "dataset_dict.json").is_file() or (path / "state.json").is_file()):
        loaded = datasets.load_from_disk(str(path))
        return loaded if isinstance(loaded, Mapping) else {"train": loaded}
    form = FILE_FORMS.get(path.suffix)
    if form is None:
        raise DataError(
            f"{path} is no saved data set and no {', '.join(FILE_FORMS)} file; give such a path after hf:"
        )
    return dict(datasets.load_dataset(form, data_files=str(path), streaming=True))
