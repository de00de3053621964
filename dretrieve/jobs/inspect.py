"""``inspect``: what is this file or folder, what is in it, and what was it made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join
from typing import Any

from dretrieve.errors import DretrieveError
from dretrieve.jobs.artefacts import SHARDS, Artefact, Facts
from dretrieve.jobs.configs.inspect import InspectConfig
from dretrieve.store.manifest import Manifest, manifest_path, provenance_path, read_manifest, verify_files
from dretrieve.text.collection import parse_spec
from dretrieve.text.files import is_stream
from dretrieve.types import SILENT, Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectResult:
    """What it is.

    Attributes:
        origin: stage, options, inputs, time; empty for what dretrieve did not make.
        problems: what keeps it from being used.
    """

    path: Path
    kind: str
    facts: Facts = field(default_factory=dict)
    origin: Facts = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "facts": self.facts,
            "origin": self.origin,
            "problems": list(self.problems),
        }

    def render(self) -> str:
        """Return lines for people."""
        lines = [f"{self.path}: {self.kind}", *_aligned(self.facts)]
        if self.origin:
            lines += ["", "made by", *_aligned(self.origin)]
        return "\n".join([*lines, *(f"\nproblem: {problem}" for problem in self.problems)])


def run(config: InspectConfig, progress: Progress = SILENT) -> InspectResult:
    """Say what stands at the path. A broken artefact is described as far as it can be, with its problem.

    Raises:
        PreconditionError: nothing stands there.
    """
    path, _ = parse_spec(config.path)
    problems: list[DretrieveError] = []
    manifest, origin = _origin(path, config.verify, problems)
    it = Artefact(path, None, config.run_format, config.verify, progress, manifest)
    kind, facts = manifest.stage if manifest else "file", Facts()
    try:
        kind = it.kind.broken or kind
        facts = it.facts
        kind = it.name
    except DretrieveError as error:
        problems.append(error)
    return InspectResult(
        path=path,
        kind=kind,
        facts=facts,
        origin=origin,
        problems=tuple(dict.fromkeys(str(problem) for problem in problems)),
        exit_code=problems[0].exit_code if problems else 0,
    )


def _origin(path: Path, verify: bool, problems: list[DretrieveError]) -> tuple[Manifest | None, Facts]:
    file = manifest_path(path)
    if not file.exists() and path.is_dir():
        file = min(path.glob(f"{SHARDS}manifest.json"), default=file)
    if is_stream(path) or not file.exists():
        return None, {}
    try:
        manifest = read_manifest(file)
    except DretrieveError as error:
        problems.append(error)
        return None, {}
    try:
        verify_files(file, manifest, full=verify)
    except DretrieveError as error:
        problems.append(error)
    origin: Facts = {
        "stage": f"{manifest.stage} (version {manifest.version})",
        "fingerprint": manifest.fingerprint,
    }
    origin |= {f"option {name}": value for name, value in sorted(manifest.options.items())}
    origin |= {f"input {name}": value for name, value in sorted(manifest.inputs.items())}
    try:
        provenance = json.loads(provenance_path(file).read_bytes())
    except (OSError, ValueError):
        return manifest, origin
    words = map(str, (provenance.get("arguments") or [])[1:])
    told = {name: provenance.get(name) for name in ("finished", "host", "dretrieve")}
    return manifest, origin | {"command": join(["dretrieve", *words]), **told}


def _aligned(facts: Mapping[str, Any]) -> list[str]:
    width = max((len(name) for name in facts), default=0)
    whole = ("command", "next")  # to be pasted
    return [
        f"  {name:<{width}}  {value if name in whole else _shown(value)}" for name, value in facts.items()
    ]


def _shown(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        return text if len(text) <= 160 else text[:157] + "..."
    return f"{value:,}"
