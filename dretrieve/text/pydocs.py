"""The documentation of the running Python's standard library as a collection: real text without a network.

A docstring with a summary and a body gives one passage (the body, under the qualified name as title) and one
query (the summary, taken out of the passage). Sources are parsed, never imported. Everything is in a fixed
order, so that one Python release gives one collection.

Kept right for measuring: bodies that several objects share (inherited copies) are one passage; a summary that
several passages share is one query with all of them relevant, and no query at all beyond `MOST_RELEVANT`.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dretrieve.errors import PreconditionError
from dretrieve.text.beir import Query
from dretrieve.text.collection_writer import CollectionWriter
from dretrieve.types import Record

SKIPPED_FOLDERS = frozenset(
    "site-packages dist-packages test tests idle_test idlelib lib2to3 turtledemo "
    "ensurepip pydoc_data lib-dynload __pycache__ msilib".split()
)
SKIPPED_MODULES = frozenset(("this", "antigravity", "__hello__", "__phello__"))
SIGNATURE = re.compile(r"[\w.]+\(.*\)(\s*(->|=>|[-=:]).*)?\.?$")
CODE = re.compile(r"->|=|::|<|\[|\*\*|^:")
WORD = re.compile(r"[A-Za-z]{2,}")
FEWEST_SUMMARY_WORDS = 4
MOST_SUMMARY_CHARACTERS = 240
FEWEST_BODY_WORDS = 8
MOST_RELEVANT = 3
LICENCE = "Python Software Foundation License (PSF-2.0)"
SPLITS = (("test", 0.2), ("dev", 0.3), ("train", 1.0))
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Documentation:
    """The collection: passages, queries (with field ``split``), judgements (query id, passage id)."""

    passages: list[Record]
    queries: list[Query]
    judgements: list[tuple[str, str]]


def library_files() -> list[tuple[str, Path]]:
    """Return ``(module name, file)`` of the library's own modules, sorted by name.

    Tests, bundled installers, third-party packages and demonstrations are left out.

    Raises:
        PreconditionError: this Python comes without sources (a zipped or stripped library).
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        folders, name = parts[:-1], ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if SKIPPED_FOLDERS.isdisjoint(folders) and all(part.isidentifier() for part in parts) and name:
            if parts[0] not in SKIPPED_MODULES and not parts[-1].startswith("_sysconfigdata"):
                found.append((name, path))
    if not found:
        raise PreconditionError(
            f"{root} holds no library sources; run with a Python that has them, or prepare beir:NAME"
        )
    return sorted(found)


def library_sha256(files: list[tuple[str, Path]]) -> str:
    """Return the hash over names and bytes of the files."""
    digest = hashlib.sha256()
    for name, path in files:
        digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def docstrings(files: list[tuple[str, Path]]) -> Iterator[tuple[str, str]]:
    """Yield ``(qualified name, docstring)`` of modules and public definitions, in source order."""
    for module, path in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):
                continue
        yield from _of_node(tree, module)


def _of_node(node: Documented, name: str) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node)
    if text:
        yield name, text
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in _definitions(node.body):
            yield from _of_node(child, f"{name}.{child.name}")


def _definitions(body: list[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the public definitions of a body, those under ``if`` and ``try`` too."""
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if _is_public(statement.name):
                yield statement
        elif isinstance(statement, ast.If | ast.Try):
            yield from _definitions(statement.body)
            for handler in statement.handlers if isinstance(statement, ast.Try) else ():
                yield from _definitions(handler.body)
            yield from _definitions(statement.orelse)


def _is_public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def split_docstring(text: str) -> tuple[str, str] | None:
    """Return summary (one line) and body, or None where the docstring lacks one of them."""
    paragraph, _, rest = text.partition("\n\n")
    summary, body = " ".join(paragraph.split()), rest.strip("\n").rstrip()
    if not 0 < len(summary) <= MOST_SUMMARY_CHARACTERS or len(WORD.findall(body)) < FEWEST_BODY_WORDS:
        return None
    return summary, body


def is_question(summary: str) -> bool:
    """Return whether the summary says enough to be searched for: words, no signature, no grammar rule."""
    words = WORD.findall(summary)
    if CODE.search(summary) or len(summary.split()) < FEWEST_SUMMARY_WORDS:
        return False
    wordy = sum(map(len, words)) >= 0.6 * len(summary.replace(" ", ""))
    return len(words) >= FEWEST_SUMMARY_WORDS and wordy and not SIGNATURE.match(summary)


def documentation(files: list[tuple[str, Path]]) -> Documentation:
    """Return passages, queries and judgements made from the files' docstrings."""
    passages: dict[str, Record] = {}
    relevant: defaultdict[str, list[str]] = defaultdict(list)
    names: set[str] = set()
    for name, text in docstrings(files):
        parts = split_docstring(text)
        if parts is None:
            continue
        summary, body = parts
        key = " ".join(body.split())
        if key not in passages:
            if name in names:
                name = f"{name}#{hashlib.sha256(key.encode()).hexdigest()[:6]}"
            names.add(name)
            passages[key] = Record(name, name, body)
        if is_question(summary) and passages[key].id not in relevant[summary]:
            relevant[summary].append(passages[key].id)
    queries: list[Query] = []
    judgements: list[tuple[str, str]] = []
    for summary, ids in relevant.items():
        if len(ids) <= MOST_RELEVANT:
            query_id = f"q.{ids[0]}" if f"q.{ids[0]}" not in names else f"q.{ids[0]}#{len(queries)}"
            names.add(query_id)
            queries.append(Query(query_id, summary, fields={"split": split_of(ids[0])}))
            judgements += [(query_id, passage_id) for passage_id in ids]
    return Documentation(list(passages.values()), queries, judgements)


def write(files: list[tuple[str, Path]], writer: CollectionWriter, tick: Callable[[], None]) -> None:
    """Write the `documentation` of the files; ``tick`` is called for every passage."""
    found = documentation(files)
    for record in found.passages:
        tick()
        writer.passage(record)
    splits = {query.id: str(query.fields["split"]) for query in found.queries}
    for query in found.queries:
        writer.query(query)
    for query_id, passage_id in found.judgements:
        writer.judge(splits[query_id], query_id, passage_id)


def split_of(passage_id: str) -> str:
    """Return the split of the queries about that passage: a fixed fifth test, a tenth dev, the rest train.

    Going by the passage keeps queries about the same passage together.
    """
    share = int.from_bytes(hashlib.sha256(passage_id.encode()).digest()[:4]) / 2**32
    return next(name for name, upper in SPLITS if share < upper)
