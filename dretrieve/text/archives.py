"""Zip files: opened with a limit to what they unpack to; a BEIR archive unpacked into a folder."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dretrieve.errors import DataError
from dretrieve.store.atomic import make_folder, replacing
from dretrieve.store.fingerprint import sha256_file
from dretrieve.text.cache import cache_folder
from dretrieve.text.compression import Damaged
from dretrieve.text.files import is_stream
from dretrieve.types import Progress

MOST_UNPACKED, MOST_SWELLING, LEAST_BOMB = 1 << 36, 200, 1 << 28  # bytes of an archive's members


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file; reading a member gives no more bytes than it declares.

    Raises:
        Damaged: no zip file, or a damaged member.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            yield bundle
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise Damaged(path, f"it is no intact zip file ({error})") from error


def refuse_swelling(bundle: zipfile.ZipFile, members: list[str]) -> None:
    """Refuse members of an archive that swell beyond all measure.

    Raises:
        DataError: names what they would unpack to.
    """
    found = [bundle.getinfo(name) for name in members]
    size, packed = sum(item.file_size for item in found), sum(item.compress_size for item in found)
    if size > MOST_UNPACKED or (size > LEAST_BOMB and size > MOST_SWELLING * packed):
        raise DataError(
            f"{bundle.filename} would unpack to {size:,} bytes from {packed:,}; at most "
            f"{MOST_UNPACKED >> 30} GB and {MOST_SWELLING} times are taken: unpack it yourself if it is sound"
        )


def unpack(archive: Path, name: str, folder: Path, progress: Progress) -> None:
    """Write corpus, queries and qrels of the archive's folder ``name`` to ``folder``, nothing else.

    Member names are never used as paths, only compared with those that we know.

    Raises:
        Damaged: as `open_archive`.
        DataError: no collection of that name; names those inside.
    """
    inside = f"{name}/" if name else ""
    with open_archive(archive) as bundle:
        wanted = {}
        for member in bundle.namelist():
            head, _, file = member.rpartition("/")
            if member in (f"{inside}corpus.jsonl", f"{inside}queries.jsonl"):
                wanted[member] = folder / file
            if f"{head}/" == f"{inside}qrels/" and file.endswith(".tsv"):
                wanted[member] = folder / "qrels" / file
        if f"{inside}corpus.jsonl" not in wanted:
            found = ", ".join(_collections(bundle)) or "none"
            raise DataError(f"{archive} holds no collection '{name}'; it holds: {found}")
        refuse_swelling(bundle, list(wanted))
        progress.start(f"unpacking {archive.name}", len(wanted), "files")
        for member, path in wanted.items():
            make_folder(path.parent)
            with bundle.open(member) as source, replacing(path) as target:
                shutil.copyfileobj(source, target, 1 << 20)
            progress.advance(1)
        progress.finish()


def _collections(bundle: zipfile.ZipFile) -> list[str]:
    """Return the folders of an archive that hold a corpus; '' stands for its root."""
    names = (name.rpartition("/") for name in bundle.namelist())
    return sorted({folder for folder, _, file in names if file == "corpus.jsonl"})


def unzipped(path: Path, progress: Progress) -> Path:
    """Return the folder of a local zip file's collection, unpacked into the cache; other paths as they are.

    Raises:
        Damaged: as `open_archive`.
        DataError: no collection in it, or several.
    """
    if is_stream(path) or not path.is_file() or not zipfile.is_zipfile(path):
        return path
    with open_archive(path) as bundle:
        found = _collections(bundle)
    if len(found) != 1:
        raise DataError(
            f"{path} holds {', '.join(found) or 'no corpus.jsonl beside its queries.jsonl'}; "
            "one collection is read at a time: unpack it and name the folder"
        )
    folder = cache_folder() / "unpacked" / f"{path.stem}-{sha256_file(path)[:16]}"
    unpack(path, found[0], folder, progress)
    return folder
