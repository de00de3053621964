"""``doctor``: is this machine able, and what cures what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dretrieve.errors import PreconditionError
from dretrieve.jobs.libraries import OPTIONAL, REQUIRED, look_at_faiss, look_at_library
from dretrieve.jobs.machine import (
    Finding,
    look_at_disk,
    look_at_java,
    look_at_memory,
    look_at_python,
    look_at_slurm,
    look_at_threads,
    look_at_torch,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorConfig:
    """What `run` needs: the folder whose disk is looked at."""

    folder: Path = Path()


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
        names = Finding.__slots__
        return {
            "able": self.exit_code == 0,
            "findings": [{name: getattr(finding, name) for name in names} for finding in self.findings],
        }

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


def run(config: DoctorConfig) -> DoctorResult:
    """Look at everything; a look that fails is itself a finding."""
    looks: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("python", look_at_python),
        ("required libraries", lambda: [look_at_library(library, "missing") for library in REQUIRED]),
        ("threads", look_at_threads),
        ("memory", look_at_memory),
        ("disk", lambda: look_at_disk(config.folder)),
        ("torch", look_at_torch),
        ("optional libraries", lambda: [look_at_library(library, "absent") for library in OPTIONAL]),
        ("faiss", look_at_faiss),
        ("java", look_at_java),
        ("slurm", look_at_slurm),
    ]
    findings: list[Finding] = []
    for name, look in looks:
        try:
            findings += look()
        except Exception as error:  # a broken installation fails in any way it likes
            findings.append(Finding(name=name, state="note", found=f"{type(error).__name__}: {error}"))
    return DoctorResult(findings=findings)
