"""Collections with a public address: BEIR's archives, DPR's files, EntityQuestions, the Hugging Face hub.

Checksums stand here only where they are published: BEIR's table of data sets and ir_datasets' list of
downloads. Data keep their makers' licences; a line about it is shown before anything is fetched.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from dretrieve.errors import DataError, UsageError
from dretrieve.store.atomic import make_folder, replacing
from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.interrupt import Signals
from dretrieve.text.cache import cache_folder, download_folder
from dretrieve.text.compression import check_zip
from dretrieve.text.download import Download, base_address, check, fetch
from dretrieve.text.entity_questions import BASE as ENTITY_QUESTIONS_BASE
from dretrieve.text.entity_questions import EntityQuestions
from dretrieve.text.files import is_stream
from dretrieve.types import Progress

KINDS = ("beir", "dpr", "entityquestions", "hf")
BEIR_BASE = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"
DPR_BASE = "https://dl.fbaipublicfiles.com/dpr"
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
    "nq": ("d4d3d2e48787a744b6f6e691ff534307",),
    "quora": ("18fb154900ba42a600f84b839c173167",),
    "scidocs": ("38121350fc3a4d2f48850f6aff52e4a9",),
    "scifact": ("5f7d1de60b170fc8027bb7898e2efca1",),
    "trec-covid": ("ce62140cb23feb9becf6270d0d1fe6d1",),
    "webis-touche2020": ("46f650ba5a527fc69e0a6521c5a23563",),
}
BEIR_LICENCE = (
    "BEIR archive; the licence is that of the data set's makers, "
    "see https://github.com/beir-cellar/beir/wiki/Datasets-available"
)
DPR_LICENCE = (
    "DPR's data are under CC BY-NC 4.0 (https://github.com/facebookresearch/DPR), Natural Questions under "
    "https://dl.fbaipublicfiles.com/dpr/nq_license/LICENSE"
)
# key -> (path below the base, split of its questions, published md5)
DPR_FILES: dict[str, tuple[str, str | None, tuple[str, ...]]] = {
    "psgs_w100": ("wikipedia_split/psgs_w100.tsv.gz", None, ("612fe66e0b6b41ee28f806140226c563",)),
    "biencoder-nq-train": (
        "data/retriever/biencoder-nq-train.json.gz",
        "train",
        ("a1c927b5adae71388eb064329387709f",),
    ),
    "biencoder-nq-dev": (
        "data/retriever/biencoder-nq-dev.json.gz",
        "dev",
        ("2640483dbe0df7ae29c6da419c551a80",),
    ),
    "biencoder-nq-adv-hn-train": ("data/retriever/biencoder-nq-adv-hn-train.json.gz", "train", ()),
    "biencoder-trivia-train": (
        "data/retriever/biencoder-trivia-train.json.gz",
        "train",
        ("5aa4d3577c91425cd20e239ed89a252b",),
    ),
    "biencoder-trivia-dev": (
        "data/retriever/biencoder-trivia-dev.json.gz",
        "dev",
        ("d559dffe09acfe5a6370adea55b8abf2",),
    ),
    **{
        f"biencoder-{name}-{split}": (f"data/retriever/biencoder-{name}-{split}.json.gz", split, ())
        for name in ("squad1", "webquestions", "curatedtrec")
        for split in ("train", "dev")
    },
    **{
        f"nq-{split}.qa": (f"data/retriever/nq-{split}.qa.csv", split, ())
        for split in ("train", "dev", "test")
    },
    **{
        f"trivia-{split}.qa": (f"data/retriever/trivia-{split}.qa.csv.gz", split, ())
        for split in ("train", "dev", "test")
    },
    **{
        f"{name}-test.qa": (f"data/retriever/{name}-test.qa.csv", "test", ())
        for name in ("squad1", "webquestions", "curatedtrec")
    },
}


class RemoteSource(Protocol):
    """A source with an address."""

    @property
    def licence(self) -> str:
        """Under what terms the data stand."""
        ...

    @property
    def split(self) -> str | None:
        """The split of its queries, where it has one only."""
        ...

    @property
    def answers_are_regex(self) -> bool:
        """Whether its answers are patterns (CuratedTREC) and not words."""
        ...

    def plan(self) -> str:
        """Return one line that says what would be fetched from where."""
        ...

    def check(self) -> None:
        """Refuse what can be seen to be missing before anything is fetched."""
        ...

    def fetch(self, progress: Progress, signals: Signals) -> Path:
        """Return a local file or folder in a known form."""
        ...


@dataclass(frozen=True, slots=True)
class DprFile:
    """One of DPR's published files."""

    key: str
    base: str
    licence: str = DPR_LICENCE
    unchecked: bool = False

    @property
    def split(self) -> str | None:
        """The split of its questions."""
        return DPR_FILES[self.key][1]

    @property
    def answers_are_regex(self) -> bool:
        """Whether its answers are patterns; DPR and TASER tell by the name of the set, too."""
        return "curatedtrec" in self.key

    def _download(self) -> Download:
        path, _, md5 = DPR_FILES[self.key]
        target = download_folder("dpr", self.base, unchecked=self.unchecked) / Path(path).name
        return Download(url=f"{self.base}/{path}", target=target, md5=() if self.unchecked else md5)

    def plan(self) -> str:
        """Return what would be fetched."""
        return f"fetch {self._download().url} into {self._download().target}, then read it"

    def check(self) -> None:
        """Refuse a local mirror's file that is missing or not the published one."""
        check(self._download())

    def fetch(self, progress: Progress, signals: Signals) -> Path:
        """Return the file."""
        download = self._download()
        if not download.md5:
            progress.note(f"{self.key}: no checksum is published; only the compressed form's own is checked")
        return fetch(download, progress, signals)


@dataclass(frozen=True, slots=True)
class BeirArchive:
    """One of BEIR's zip files; ``cqadupstack/android`` names one of the twelve inside that one."""

    name: str
    base: str
    licence: str = BEIR_LICENCE
    split: str | None = None
    unchecked: bool = False
    answers_are_regex: bool = False

    @property
    def archive(self) -> str:
        """The name of the zip file."""
        return self.name.split("/")[0]

    def _download(self) -> Download:
        target = download_folder("beir", self.base, unchecked=self.unchecked) / f"{self.archive}.zip"
        md5 = () if self.unchecked else BEIR_MD5.get(self.archive, ())
        return Download(url=f"{self.base}/{self.archive}.zip", target=target, md5=md5)

    def plan(self) -> str:
        """Return what would be fetched."""
        return f"fetch {self._download().url} into {self._download().target}, unpack, then read it"

    def check(self) -> None:
        """Refuse a local mirror's file that is missing or not the published one."""
        check(self._download())

    def fetch(self, progress: Progress, signals: Signals) -> Path:
        """Return the unpacked folder."""
        if not self._download().md5:
            progress.note(f"{self.archive}: no published checksum is known here")
        archive = fetch(self._download(), progress, signals)
        folder = archive.with_suffix("")
        target = folder / self.name.partition("/")[2] if "/" in self.name else folder
        unpack(archive, self.name, target, progress)
        return target


def unpack(archive: Path, name: str, folder: Path, progress: Progress) -> None:
    """Write corpus, queries and qrels of the archive's folder ``name`` to ``folder``, nothing else.

    Member names are never used as paths, only compared with the three that we know.

    Raises:
        DataError: no zip file, a damaged member, or no collection of that name; names those inside.
    """
    inside = f"{name}/" if name else ""
    try:
        with zipfile.ZipFile(archive) as bundle:
            wanted = {}
            for member in bundle.namelist():
                for kind in ("corpus.jsonl", "queries.jsonl"):
                    if member == f"{inside}{kind}":
                        wanted[member] = folder / kind
                head, _, file = member.rpartition("/")
                if f"{head}/" == f"{inside}qrels/" and file.endswith(".tsv"):
                    wanted[member] = folder / "qrels" / Path(file).name
            if f"{inside}corpus.jsonl" not in wanted:
                found = _collections(bundle)
                raise DataError(
                    f"{archive} holds no collection '{name}'; it holds: {', '.join(found) or 'none'}"
                )
            check_zip(bundle, wanted)
            progress.start(f"unpacking {archive.name}", len(wanted), "files")
            for member, path in wanted.items():
                make_folder(path.parent)
                with bundle.open(member) as source, replacing(path) as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                progress.advance(1)
            progress.finish()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(
            f"{archive} is no intact zip file ({error}); remove it and run the command again"
        ) from error


def _collections(bundle: zipfile.ZipFile) -> list[str]:
    """Return the folders of an archive that hold a corpus; '' stands for its root."""
    names = (name.rpartition("/") for name in bundle.namelist())
    return sorted({folder for folder, _, file in names if file == "corpus.jsonl"})


def unzipped(path: Path, progress: Progress) -> Path:
    """Return the folder of a local zip file's collection, unpacked into the cache; other paths as they are.

    Raises:
        DataError: a damaged file, no collection in it, or several.
    """
    if is_stream(path) or not path.is_file() or not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as bundle:
        found = _collections(bundle)
    if len(found) != 1:
        raise DataError(
            f"{path} holds {', '.join(found) or 'no corpus.jsonl beside its queries.jsonl'}; "
            "one collection is read at a time: unpack it and name the folder"
        )
    folder = cache_folder() / "unpacked" / f"{path.stem}-{sha256_file(path)[:16]}"
    unpack(path, found[0], folder, progress)
    return folder


def find(kind: str, name: str, mirror: str | None = None, *, unchecked: bool = False) -> RemoteSource:
    """Return the source named ``kind:name``.

    Args:
        kind: one of `KINDS`.
        name: BEIR's name, DPR's key, a split of EntityQuestions, or a data set of the hub.
        mirror: a base address, or a folder, in place of the published one.
        unchecked: the mirror's files need not be those whose checksums are published.

    Raises:
        UsageError: DPR has no such key, or BEIR's name cannot be one (the message lists the names); no
            address that the source could be fetched from.
        PreconditionError: the mirror is a folder that is not there.
    """
    base = None if mirror is None else base_address(mirror)
    if kind == "dpr":
        if name not in DPR_FILES:
            raise UsageError(
                f"dpr:{name} is not known{_near(name, DPR_FILES)}; there are: {', '.join(DPR_FILES)}"
            )
        return DprFile(name, base or DPR_BASE, unchecked=unchecked)
    if kind == "beir":
        if name.split("/")[0] not in BEIR_MD5 and not mirror:
            raise UsageError(
                f"beir:{name} is not known{_near(name, BEIR_MD5)}; there are: {', '.join(BEIR_MD5)}"
            )
        return BeirArchive(name, base or BEIR_BASE, unchecked=unchecked)
    if kind == "entityquestions":
        return EntityQuestions(name, base or ENTITY_QUESTIONS_BASE, unchecked=unchecked)
    from dretrieve.text.hub import HubDataset

    if base is not None and not base.startswith("http"):
        raise UsageError(f"hf:{name}: --mirror {mirror} is no hub; give http://HOST or https://HOST")
    return HubDataset(name, base)


def _near(
    name: str, known: dict[str, tuple[str, ...]] | dict[str, tuple[str, str | None, tuple[str, ...]]]
) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
