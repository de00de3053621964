"""Collections with a public address: files of BEIR, DPR, EntityQuestions, Multi-Domain Benchmark; the hub.

Checksums stand here only where they are published: BEIR's table of data sets and ir_datasets' list of
downloads. Data keep their makers' licences; a line about it is shown before anything is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, UsageError
from dretrieve.store.interrupt import Signals
from dretrieve.text.archives import open_archive, unpack, unzipped
from dretrieve.text.cache import cache_folder
from dretrieve.text.compression import Damaged
from dretrieve.text.download import Download, base_address, check, fetch
from dretrieve.text.entity_questions import SPLITS, write_questions
from dretrieve.text.hub import HubDataset
from dretrieve.types import Progress

BASES = {
    "beir": "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets",
    "dpr": "https://dl.fbaipublicfiles.com/dpr",
    "entityquestions": "https://nlp.cs.princeton.edu/projects/entity-questions",
    "mdb": "https://zenodo.org/records/6606557/files",
}
KINDS = (*BASES, "hf")
LICENCES = {
    "beir": "BEIR archive; the licence is that of the data set's makers, "
    "see https://github.com/beir-cellar/beir/wiki/Datasets-available",
    "dpr": "DPR's data are under CC BY-NC 4.0 (https://github.com/facebookresearch/DPR), Natural Questions "
    "under https://dl.fbaipublicfiles.com/dpr/nq_license/LICENSE",
    "entityquestions": "EntityQuestions is under the MIT licence "
    "(https://github.com/princeton-nlp/EntityQuestions); it is made from T-REx (MIT) and Wikidata (CC0)",
    "mdb": "Multi-Domain Benchmark (Bassani et al., CIKM 2022); the licence stands on its page, "
    "https://doi.org/10.5281/zenodo.6606557",
}
BEIR_MD5: dict[str, tuple[str, ...]] = {
    "arguana": ("8ad3e3c2a5867cdced806d6503f29b99",),
    "climate-fever": ("8b66f0a9126c521bae2bde127b4dc99d",),
    "cqadupstack": ("4e41456d7df8ee7760a7f866133bda78",),
    "dbpedia-entity": ("c2a39eb420a3164af735795df012ac2c",),
    "fever": ("5a818580227bfb4b35bb6fa46d9b6c03",),
    "fiqa": ("17918ed23cd04fb15047f73e6c3bd9d9",),
    "hotpotqa": ("f412724f78b0d91183a0e86805e16114",),
    # The table says 444…, a later listing of the files themselves says 244…: two releases.
    "msmarco": ("444067daf65d982533ea17ebd59501e4", "244067daf65d982533ea17ebd59501e4"),
    "nfcorpus": ("a89dba18a62ef92f7d323ec890a0d38d",),
    "nq-train": (),  # its sums are not published
    "nq": ("d4d3d2e48787a744b6f6e691ff534307",),
    "quora": ("18fb154900ba42a600f84b839c173167",),
    "scidocs": ("38121350fc3a4d2f48850f6aff52e4a9",),
    "scifact": ("5f7d1de60b170fc8027bb7898e2efca1",),
    "trec-covid": ("ce62140cb23feb9becf6270d0d1fe6d1",),
    "webis-touche2020": ("46f650ba5a527fc69e0a6521c5a23563",),
}
DPR_MD5: dict[str, tuple[str, ...]] = {
    "psgs_w100": ("612fe66e0b6b41ee28f806140226c563",),
    "biencoder-nq-train": ("a1c927b5adae71388eb064329387709f",),
    "biencoder-nq-dev": ("2640483dbe0df7ae29c6da419c551a80",),
    "biencoder-trivia-train": ("5aa4d3577c91425cd20e239ed89a252b",),
    "biencoder-trivia-dev": ("d559dffe09acfe5a6370adea55b8abf2",),
}
DOMAINS = ("computer_science", "physics", "political_science", "psychology")
TRAINING = (
    "nq-train nq-dev nq-adv-hn-train trivia-train trivia-dev squad1-train squad1-dev webquestions-train "
    "webquestions-dev curatedtrec-train curatedtrec-dev"
)
QUESTIONS = (
    "nq-train nq-dev nq-test trivia-train trivia-dev trivia-test squad1-test "
    "webquestions-test curatedtrec-test"
)
DPR_FILES = {
    "psgs_w100": "wikipedia_split/psgs_w100.tsv.gz",
    **{f"biencoder-{name}": f"data/retriever/biencoder-{name}.json.gz" for name in TRAINING.split()},
    **{
        f"{name}.qa": f"data/retriever/{name}.qa.csv{'.gz' if name.startswith('trivia') else ''}"
        for name in QUESTIONS.split()
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A published file, and what is made of it before it is read.

    Attributes:
        split: of its queries, where it has one only.
        answers_are_regex: whether its answers are patterns and not words.
        unpack: returns the file or folder to read; None for a file that is read as it is.
    """

    name: str
    download: Download
    licence: str
    split: str | None = None
    answers_are_regex: bool = False
    unpack: Callable[[Path, Progress], Path] | None = None

    def plan(self) -> str:
        """Return what would be fetched."""
        return (
            f"fetch {self.download.url} into {self.download.target}, "
            f"{'unpack it, ' if self.unpack else ''}then read it"
        )

    def check(self) -> None:
        """Refuse a local mirror's file that is missing or not the published one."""
        check(self.download)

    def fetch(self, progress: Progress, signals: Signals) -> Path:
        """Return the file, or what it was unpacked to.

        Raises:
            DataError: a damaged archive; it is removed, so that the next run fetches it again.
            PreconditionError, VerificationError, Interrupted: as `dretrieve.text.download.fetch`.
        """
        if not self.download.md5:
            progress.note(f"{self.name}: no checksum is known; only the compressed form's own is checked")
        path = fetch(self.download, progress, signals)
        try:
            return self.unpack(path, progress) if self.unpack else path
        except Damaged as error:
            path.unlink(missing_ok=True)
            raise DataError(f"{error}; it is removed: run the command again, or give --mirror URL") from error


def find(
    kind: str, name: str, mirror: str | None = None, *, unchecked: bool = False
) -> RemoteFile | HubDataset:
    """Return the source named ``kind:name``, of the mirror (an address or a folder) where one is given.

    ``name`` is BEIR's (``cqadupstack/android`` is one of the twelve inside that one), DPR's key, a split of
    EntityQuestions or ``all``, a domain of the Multi-Domain Benchmark, or a data set of the hub.
    ``unchecked``: the mirror's files need not be those whose checksums are published.

    Raises:
        UsageError: there is no such name (the message lists them); no address that the source could be
            fetched from.
        PreconditionError: the mirror is a folder that is not there.
    """
    base = None if mirror is None else base_address(mirror)
    if kind == "hf":
        if base is not None and not base.startswith("http"):
            raise UsageError(f"hf:{name}: --mirror {mirror} is no hub; give http://HOST or https://HOST")
        return HubDataset(name, base)
    base = base or BASES[kind]

    def source(path: str, md5: tuple[str, ...] = (), **more: Any) -> RemoteFile:
        # unchecked ones never stand where checked ones would
        place = f"unchecked/{sha256(base.encode()).hexdigest()[:12]}" if unchecked else "downloads"
        target = cache_folder() / place / kind / Path(path).name
        download = Download(url=f"{base}/{path}", target=target, md5=() if unchecked else md5)
        return RemoteFile(name=f"{kind}:{name}", download=download, licence=LICENCES[kind], **more)

    if kind == "dpr":
        _refuse_unknown(kind, name, name, DPR_FILES)
        split = re.search(r"-(train|dev|test)(\.qa)?$", name)
        # DPR and TASER tell patterns by the name of the set, too.
        return source(
            DPR_FILES[name],
            DPR_MD5.get(name, ()),
            split=split and split[1],
            answers_are_regex="curatedtrec" in name,
        )
    if kind == "entityquestions":
        _refuse_unknown(kind, name, name, (*SPLITS, "all"))
        splits = SPLITS if name == "all" else (name,)
        return source(
            "dataset.zip", split=None if name == "all" else name, unpack=partial(_questions, splits, name)
        )
    if kind == "mdb":
        _refuse_unknown(kind, name, name, DOMAINS)
        return source(f"{name}.zip", unpack=_only)
    archive, _, inner = name.partition("/")
    if not mirror:
        _refuse_unknown(kind, name, archive, BEIR_MD5)
    return source(f"{archive}.zip", BEIR_MD5.get(archive, ()), unpack=partial(_beir, name, inner))


def _beir(name: str, inner: str, archive: Path, progress: Progress) -> Path:
    folder = archive.with_suffix("") / inner
    unpack(archive, name, folder, progress)
    return folder


def _only(archive: Path, progress: Progress) -> Path:
    with open_archive(archive):  # what is no zip file would be read as it is
        return unzipped(archive, progress)


def _questions(splits: tuple[str, ...], name: str, archive: Path, progress: Progress) -> Path:
    return write_questions(archive, splits, archive.with_name(f"{name}.queries.jsonl"))


def _refuse_unknown(kind: str, name: str, part: str, known: Collection[str]) -> None:
    if part in known:
        return
    near = get_close_matches(name, list(known), n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise UsageError(f"{kind}:{name} is not known{meant}; there are: {', '.join(known)}")
