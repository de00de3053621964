"""``inspect``: what is this file or folder, what is in it, and what was it made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join, quote
from typing import Any

import numpy as np

from dretrieve.errors import DataError, DretrieveError
from dretrieve.jobs.inspect_text import Facts, describe_text
from dretrieve.jobs.validate_parts import form_of, is_model, whole_model
from dretrieve.store.card import ModelCard
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import Manifest, manifest_path, provenance_path, read_manifest, verify_files
from dretrieve.store.state import read_state
from dretrieve.text.collection import Collection, parse_spec
from dretrieve.text.files import is_file, is_stream, open_stored
from dretrieve.types import Progress, Silent

TEXT_STAGES = ("prepare", "search", "merge", "fuse-bm25", "convert-run", "mine-negatives")


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectConfig:
    """What to look at.

    Attributes:
        path: a file or folder; a split after the last colon is ignored.
        verify: hash every file that a manifest names, whatever its time says.
        run_format: of a run; ``auto`` to tell what stands there.
    """

    path: str
    verify: bool = False
    run_format: str = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectResult:
    """What it is.

    Attributes:
        path: what was looked at.
        kind: in a few words.
        facts: name to value, in the order of showing.
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


def run(config: InspectConfig, progress: Progress | None = None) -> InspectResult:
    """Say what stands at the path. A broken artefact is described as far as it can be, with its problem.

    Raises:
        PreconditionError: nothing stands there.
        DataError: a file that has none of the known forms.
    """
    path, _ = parse_spec(config.path)
    problems: list[DretrieveError] = []

    def careful(describe: Callable[[], tuple[str, Facts]], kind: str) -> tuple[str, Facts]:
        try:
            return describe()
        except DretrieveError as error:
            problems.append(error)
            return kind, {}

    manifest, origin = _origin(path, config.verify, problems)
    form = config.run_format if config.run_format != "auto" else form_of(manifest)
    kind, facts = _described(path, manifest, form, careful, progress or Silent(), config.verify)
    return InspectResult(
        path=path,
        kind=kind,
        facts=facts,
        origin=origin,
        problems=tuple(dict.fromkeys(str(problem) for problem in problems)),
        exit_code=problems[0].exit_code if problems else 0,
    )


def _described(
    path: Path,
    manifest: Manifest | None,
    run_format: str,
    careful: Callable[[Callable[[], tuple[str, Facts]], str], tuple[str, Facts]],
    progress: Progress,
    full: bool,
) -> tuple[str, Facts]:
    if is_model(path):
        return careful(lambda: _model(path, full), "model folder")
    if path.is_dir() and any(path.glob("shard-*-of-*.manifest.json")):
        return careful(lambda: ("embeddings", embeddings_facts(path, full=full)), "embeddings, not complete")
    if manifest is not None and manifest.stage not in TEXT_STAGES:
        return manifest.stage.replace("index-", "index: "), _manifest_facts(manifest)
    state = read_state(manifest_path(path)) or _shard_state(path)
    if manifest is None and state is not None:
        return _unfinished(state)
    name = manifest.stage if manifest else "file"
    return careful(lambda: _text(path, progress, run_format, full), name)


def _origin(path: Path, verify: bool, problems: list[DretrieveError]) -> tuple[Manifest | None, Facts]:
    file = manifest_path(path)
    if not file.exists() and path.is_dir():
        file = min(path.glob("shard-*-of-*.manifest.json"), default=file)
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
    return manifest, origin | _provenance(file)


def _provenance(manifest: Path) -> Facts:
    try:
        value = json.loads(provenance_path(manifest).read_bytes())
    except (OSError, ValueError):
        return {}
    arguments = value.get("arguments") or []
    names = {
        "finished": value.get("finished"),
        "host": value.get("host"),
        "dretrieve": value.get("dretrieve"),
    }
    return {"command": join(["dretrieve", *map(str, arguments[1:])]), **names}


def _shard_state(path: Path) -> dict[str, Any] | None:
    """Return the state of a folder of which no shard is finished, but some were begun."""
    file = min(path.glob("shard-*-of-*.state.json"), default=None) if path.is_dir() else None
    return read_state(file.with_name(file.name.replace("state.json", "manifest.json"))) if file else None


def _manifest_facts(manifest: Manifest) -> Facts:
    size = sum(int(entry["bytes"]) for entry in manifest.files.values())
    return {**manifest.counts, "files": len(manifest.files), "bytes": size, **manifest.extra}


def _unfinished(state: Mapping[str, Any]) -> tuple[str, Facts]:
    facts = {
        name: state[name]
        for name in ("state", "stage", "exit_code", "message")
        if state.get(name) is not None
    }
    return f"unfinished output of {state.get('stage')}", facts | {"next": "run the same command again"}


def _card_facts(card: ModelCard) -> Facts:
    facts: Facts = {
        "method": card.method,
        "vectors": f"{card.vectors.kind} of {card.vectors.dim} numbers, score {card.vectors.score}",
    }
    for name, side in (("query", card.query), ("passage", card.passage)):
        normal = ", length 1" if side.normalize else ""
        pair = ", as a pair" if side.pair else ""
        facts[f"{name} side"] = (
            f"{side.template!r}{pair}, {side.max_tokens} tokens, pooling {side.pooling}{normal}, "
            f"padding {side.padding_side}"
        )
        facts[f"{name} fingerprint"] = card.fingerprint("query" if name == "query" else "passage")
    facts |= {f"choice {name}": value for name, value in card.inference.items()}
    facts |= {f"config {name}": value for name, value in card.method_config.items()}
    return facts | {f"source {name}": value for name, value in card.source.items()}


def _text(path: Path, progress: Progress, run_format: str, full: bool) -> tuple[str, Facts]:
    if path.is_dir():
        Collection(path).verify(full=full)
    return (is_file(path) and _foreign(path)) or describe_text(path, progress, run_format)


def _model(path: Path, full: bool) -> tuple[str, Facts]:
    card, note = whole_model(path, full=full)
    if note is None:
        return "model", _card_facts(card)
    return "model (plain folder, used as it is)", {"read": note, **_card_facts(card)}


def embeddings_facts(path: Path, *, full: bool = False) -> Facts:
    """Return the counts and fingerprints of embeddings.

    Raises:
        PreconditionError: shards are missing; the message names them.
        VerificationError: shards that do not belong together.
    """
    found = Embeddings.open(path, full=full)
    counts = {
        name: sum(entry.manifest.counts.get(name, 0) for entry in found.shards)
        for name in ("tokens", "truncated", "empty")
    }
    first = found.shards[0].manifest
    return {
        "side": found.side,
        "rows": found.rows,
        "vectors": f"{found.vectors.kind} of {found.vectors.dim} numbers, {found.dtype}, score {found.score}",
        "shards": len(found.shards),
        **counts,
        "collection": found.collection_sha256,
        "passage model": found.passage_fingerprint,
        **({"query model": found.query_fingerprint} if found.query_fingerprint else {}),
        "fingerprint": found.fingerprint,
        **{
            f"option {name}": first.options[name]
            for name in ("precision", "inference")
            if name in first.options
        },
        **{name: value for name, value in found.extra.items() if value is not None},
    }


def _foreign(path: Path) -> tuple[str, Facts] | None:
    """Return what a binary file of another tool is, or None for text."""
    with open_stored(path) as file:
        head = file.read(8)
    if head[:6] == b"\x93NUMPY":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise DataError(
                f"{path} is a numpy file of Python objects, which is never opened: {error}"
            ) from error
        return "numpy array", {"shape": list(array.shape), "dtype": str(array.dtype)}
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        how = "have the tool that wrote it write .npy or safetensors"
        return "Python pickle (not opened: a pickle can run any program)", {"next": how}
    if head[:4] == b"PAR1":
        return "Parquet file", {"next": f"dretrieve prepare {quote(f'hf:{path}')} --output DIR"}
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip archive (or torch checkpoint)", {
            "next": "unpack it; for a checkpoint of another tool see dretrieve convert --help"
        }
    if len(head) == 8 and int.from_bytes(head, "little") < 1 << 28 and path.name.endswith(".safetensors"):
        return _safetensors(path, int.from_bytes(head, "little"))
    return None


def _safetensors(path: Path, length: int) -> tuple[str, Facts]:
    with open(path, "rb") as file:
        file.seek(8)
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise DataError(f"{path} is damaged: its header is no JSON; fetch or save it again") from error
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    numbers = sum(int(np.prod(entry["shape"], dtype=np.int64)) for entry in tensors.values())
    types = ", ".join(sorted({entry["dtype"] for entry in tensors.values()}))
    return "weights (safetensors)", {"tensors": len(tensors), "numbers": numbers, "types": types}


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
