"""Reading runs: TREC, MS MARCO, Tevatron and ColBERT lines, plain or compressed, and the JSON forms.

`read_run` tells a file's form by its beginning (`dretrieve.runs.lines.sniff`) and hands it to one of three
readers: `dretrieve.runs.json_forms`, `dretrieve.runs.scan` (compiled, for large files), or plain Python that
needs no numba. The rank column is ignored (BEIR writes 0 everywhere, others leave gaps): hits are sorted by
`dretrieve.order`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dretrieve.errors import DataError, PreconditionError, VerificationError
from dretrieve.runs.build import Column, HitColumns, build_run, holds_ranks
from dretrieve.runs.lines import RANKS_TAG, WHOLE, Sniffed, parse_line, repeated_hit, sniff
from dretrieve.store.manifest import Manifest, manifest_path
from dretrieve.store.stage import open_artefact
from dretrieve.text.files import is_stream, sha256_of
from dretrieve.types import Run

# The way out of a refusal: passages in another order, expanded, or more of them may well have the same ids.
WAY_OUT = "if its ids mean the same there, a copy of the run without its manifest is taken as it is"


def read_run(path: Path, form: str = "auto") -> Run:
    """Return the run at ``path``; a file without hits is a run without queries.

    ``auto`` tells lines by their columns and JSON by its shape; three columns hold scores when one is no
    whole number, ranks when they rise from 1 in every query.

    Raises:
        DataError: a line that breaks the form, a score that is not finite, a passage twice for a query,
            bytes that are not UTF-8, cut or damaged compression, three columns of which ``auto`` cannot tell
            whether they hold ranks or scores; names the line.
        PreconditionError: no such file.
    """
    seen = sniff(path, form)
    if seen.is_json:
        from dretrieve.runs.json_forms import read_json_run

        return read_json_run(path, form)
    if seen.form is None:
        return build_run(HitColumns.of([], [], []))
    if seen.is_large:
        from dretrieve.runs.scan import scan_run

        run = scan_run(path, seen)
    else:
        run = _read_plain(path, seen)
    return replace(run, by_rank=run.by_rank or run.tag == RANKS_TAG)


@dataclass(frozen=True, slots=True)
class RunFile:
    """A run's file and the form that it is read in."""

    path: Path
    form: str = "auto"

    def read(self) -> Run:
        """Return the run; errors as `read_run`."""
        return read_run(self.path, self.form)


def run_fingerprint(path: Path, *, full: bool = False, corpus: str | None = None) -> str:
    """Return the fingerprint of a run of ours (verified), or the SHA-256 of a file made elsewhere.

    ``corpus`` is the hash of the passages that it is used with; None asks nothing.

    Raises:
        PreconditionError: it is missing, or one part of a sharded stage: its numbers would be too low.
        VerificationError: its bytes changed, or it says that other passages were searched.
    """
    if is_stream(path):
        return sha256_of(path)
    if not path.is_file():
        reason = "is a folder; name the file in it" if path.is_dir() else "does not exist; correct the path"
        raise PreconditionError(f"{path} {reason}")
    if manifest_path(path).exists():
        manifest = open_artefact(path, full=full)
        if "shard" in manifest.options:
            cure = (
                "join all parts with `dretrieve merge`"
                if manifest.stage == "search"
                else "run the same command without --shard"
            )
            raise PreconditionError(f"{path} is only one part of a sharded {manifest.stage}; {cure}")
        if corpus is not None and manifest.extra.get("corpus") not in (None, corpus):
            raise VerificationError(
                f"{path} was found in other passages than those that are given, or they have changed since; "
                f"give the collection that was searched, or search again ({WAY_OUT})"
            )
        return manifest.fingerprint
    return sha256_of(path)


def searched(*paths: Path) -> dict[str, str]:
    """Return what all of these runs say of the passages that were searched; what they become says it, too.

    Raises:
        VerificationError: they were found in different passages.
    """
    known = {path: _corpus_of(path) for path in paths}
    found = {corpus for corpus in known.values() if corpus is not None}
    if len(found) > 1:
        raise VerificationError(
            f"{' and '.join(map(str, known))} were found in different passages; give runs over one "
            f"collection ({WAY_OUT})"
        )
    return {"corpus": found.pop()} if found and None not in known.values() else {}


def _corpus_of(path: Path) -> str | None:
    made = _made(path)
    return made.extra.get("corpus") if made else None


def of_vectors(path: Path) -> bool | None:
    """Return whether vectors were searched (False: BM25); None where no search of ours says so."""
    made = _made(path)
    return "passages" in made.inputs if made and made.stage == "search" else None


def _made(path: Path) -> Manifest | None:
    return None if is_stream(path) or not manifest_path(path).exists() else open_artefact(path)


def refuse_ranks(run: Run, path: Path, why: str, cure: str) -> Run:
    """Return the run if it holds scores.

    Raises:
        DataError: it holds ranks; the sentence says ``why`` they do not do, and the ``cure``.
    """
    if run.by_rank:
        raise DataError.at(
            path, None, f"the run holds ranks and no scores, and {why}; {cure}, or give a run with scores"
        )
    return run


def _read_plain(path: Path, seen: Sniffed) -> Run:
    form = seen.form
    assert form is not None
    queries: dict[bytes, int] = {}
    passages: dict[bytes, int] = {}
    rows: list[tuple[int, int, float]] = []
    fractions = 0
    for number, line in enumerate(seen.first.split(b"\n"), 1):
        if (parsed := parse_line(line, form, path, number)) is not None:
            query, passage, score = parsed
            row = (queries.setdefault(query, len(queries)), passages.setdefault(passage, len(passages)))
            rows.append((*row, float(score)))
            fractions += WHOLE.fullmatch(score) is None
    if not rows:
        return build_run(HitColumns.of([], [], []))
    hits = HitColumns.of(
        [query.decode() for query in queries], [passage.decode() for passage in passages], rows, seen.tag
    )
    by_query = np.argsort(hits.queries, kind="stable")
    column = Column(hits.offsets(), hits.scores[by_query], fractions)
    return build_run(
        hits,
        ranks=holds_ranks(path, seen, column, list(queries)),
        repeated=lambda hit: repeated_hit(path, form, *(name.encode() for name in hits.names(hit))),
    )
