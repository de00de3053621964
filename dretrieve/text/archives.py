"""Zip files: opened with a limit to what they unpack to; an archived collection unpacked into a folder."""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dretrieve.errors import DataError
from dretrieve.store.atomic import make_folder, replacing
from dretrieve.store.fingerprint import sha256_file
from dretrieve.text.beir import COLLECTION, QRELS, QUERY_FOLDERS
from dretrieve.text.cache import cache_folder
from dretrieve.text.compression import OFFICE, Damaged
from dretrieve.text.files import is_stream, open_stored
from dretrieve.types import Progress

# What is unpacked: BEIR's files and those of the Multi-Domain Benchmark, whatever stands beside them.
KNOWN = re.compile(
    rf"(corpus|queries)\.jsonl|qrels/(?=[^/]*$){QRELS.pattern}|{COLLECTION}|"
    rf"({'|'.join(QUERY_FOLDERS)})/queries\.jsonl"
)
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
    """Write the collection in the archive's folder ``name`` to ``folder``, nothing else.

    Member names are never used as paths, only compared with those that we know.

    Raises:
        Damaged: as `open_archive`.
        DataError: no collection of that name; names those inside.
    """
    inside = f"{name}/" if name else ""
    with open_archive(archive) as bundle:
        members = (member for member in bundle.namelist() if member.startswith(inside))
        wanted = {of: folder / of[len(inside) :] for of in members if KNOWN.fullmatch(of[len(inside) :])}
        if name not in _collections(bundle):
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
    """Return the folders of an archive that hold a collection; '' stands for its root."""
    names = set(bundle.namelist())

    def holds(folder: str) -> bool:
        inside = f"{folder}/" if folder else ""
        judged = any(f"{inside}{of}/queries.jsonl" in names for of in QUERY_FOLDERS)
        return f"{inside}corpus.jsonl" in names or (judged and f"{inside}{COLLECTION}" in names)

    return sorted(filter(holds, {name.rpartition("/")[0] for name in names}))


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
    with open_stored(path) as file:
        if not found and OFFICE.match(file.peek(1)):
            return path  # whose reader says what it is
    if len(found) != 1:
        raise DataError(
            f"{path} holds {', '.join(found) or f'no corpus.jsonl or {COLLECTION} beside its queries'}; "
            "one collection is read at a time: unpack it and name the folder"
        )
    folder = cache_folder() / "unpacked" / f"{path.stem}-{sha256_file(path)[:16]}"
    unpack(path, found[0], folder, progress)
    return folder
