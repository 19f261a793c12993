"""nltk's data packages as a source: the sentence tables that whisperx asks for, without importing nltk."""

import hashlib
import os
import stat
from pathlib import Path
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile, ZipInfo

from model_store.errors import SourceCorrupt, SourceNotFound, UnsafePath
from model_store.files import make_directory
from model_store.manifest import Origin, check_path
from model_store.sources.base import Collected, allowed
from model_store.sources.downloads import Downloads
from model_store.sources.objects import collect
from model_store.stores.object_errors import Place
from model_store.stores.object_opening import PATIENCE, check_web, web_backend

URL = "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages"
VARIABLE = "RAYSCRIBE_NLTK_URL"
INDEX = "index.xml"
MOST_BYTES = 500_000_000
"""More than any package of nltk unpacks to."""


class NltkSource:
    """A package such as `punkt_tab`, unpacked as nltk wants it below a directory of NLTK_DATA.

    `allow`: names of folders (`english`) or patterns of paths; RAYSCRIBE_NLTK_URL names a mirror of the same layout.
    """

    def __init__(self, package: str, allow: tuple[str, ...] = ()) -> None:
        self.package, self.allow = check_path(package), allow
        self.url = check_web(os.environ.get(VARIABLE) or URL)

    def collect(self) -> Collected:
        """Download the package, check it against the index, unpack what is wanted; raises SourceError."""
        unpacked: dict[str, Path] = {}
        backend = web_backend(self.url, PATIENCE)

        def fetch(downloads: Downloads) -> list[str]:
            entry = self._entry(downloads.get(INDEX))
            path = f"packages/{check_path(entry['subdir'])}/{self.package}.zip"
            archive = downloads.get(path)
            _check(archive, entry, f"{self.url}/{path}")
            unpacked.update(self._unpack(archive, entry["subdir"], downloads.scratch / "unpacked"))
            return []

        _, scratch = collect(backend, Place(self.url, self.url, what="source"), fetch)
        return Collected(Origin(url=f"nltk:{self.package}"), unpacked, discard=scratch.discard)

    def _entry(self, index: Path) -> dict[str, str]:
        """What the index says of the package."""
        text = index.read_bytes()
        index.unlink()  # next time it may be another
        try:
            if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
                raise ValueError("an index declares no entities")
            found = [dict(entry.attrib) for entry in ElementTree.fromstring(text).iter("package")]
        except (ElementTree.ParseError, ValueError) as error:
            raise SourceCorrupt(f"{self.url}/{INDEX} is not nltk's index: {error}.", f"Check {VARIABLE}.") from None
        matching = [entry for entry in found if entry.get("id") == self.package and entry.get("subdir")]
        if not matching:
            raise SourceNotFound(f"{self.url}/{INDEX} has no package {self.package}.", "Check the name.")
        return matching[0]

    def _unpack(self, archive: Path, subdir: str, root: Path) -> dict[str, Path]:
        try:
            with ZipFile(archive) as opened:
                members = {f"{subdir}/{_safe(member)}": member for member in opened.infolist() if not member.is_dir()}
                wanted = {path: member for path, member in members.items() if self._wanted(path)}
                if sum(member.file_size for member in wanted.values()) > MOST_BYTES:
                    raise SourceCorrupt(f"{archive.name} unpacks to more than {MOST_BYTES} bytes.", "Check the mirror.")
                files = {path: _extract(opened, member, root / path) for path, member in sorted(wanted.items())}
        except (BadZipFile, RuntimeError, NotImplementedError) as error:
            raise SourceCorrupt(f"{archive.name} of {self.url} cannot be unpacked: {error}.", "Try again.") from None
        if not files:
            raise SourceNotFound(f"nltk:{self.package} holds nothing of {', '.join(self.allow)}.", "Check `allow`.")
        return files

    def _wanted(self, path: str) -> bool:
        folders = path.split("/")[2:-1]
        names = {name for name in self.allow if "/" not in name}
        return not names.isdisjoint(folders) or allowed(path, self.allow)


def _check(archive: Path, entry: dict[str, str], url: str) -> None:
    """Compare size and checksum with the index; old indexes know md5 only."""
    content = archive.read_bytes()
    promised = entry.get("sha256_checksum", "")
    got = hashlib.sha256(content).hexdigest()
    if not promised:
        promised, got = entry.get("checksum", ""), hashlib.md5(content, usedforsecurity=False).hexdigest()
    if got != promised or len(content) != int(entry.get("size") or len(content)):
        archive.unlink()
        raise SourceCorrupt(
            f"{url} is damaged: the index promises {entry.get('size')} bytes and checksum {promised or '(none)'}, "
            f"got {len(content)} and {got}.",
            "Try again; if it stays so, the mirror is at fault.",
            expected=promised,
            got=got,
        )


def _safe(member: ZipInfo) -> str:
    """A member's path, if it is a plain file inside; raises UnsafePath."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or member.orig_filename != member.filename:
        raise UnsafePath(f"{member.filename!r} in the package is not a regular file.", "Use another mirror.")
    return check_path(member.filename)


def _extract(archive: ZipFile, member: ZipInfo, target: Path) -> Path:
    """Unpack one file, no more of it than it says it is."""
    make_directory(target.parent)
    with archive.open(member) as packed, target.open("wb") as file:
        content = packed.read(member.file_size + 1)
        if len(content) != member.file_size:
            raise BadZipFile(f"{member.filename} has another size than it says")
        file.write(content)
    return target
