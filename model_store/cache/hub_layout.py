"""The Hugging Face cache: files of it that a fetch may take, and what we hold in its layout for other tools.

models--org--name/blobs/<etag>             big files by sha256, small ones by git's sha1
models--org--name/refs/<revision>          a commit, without a line end
models--org--name/snapshots/<commit>/…     links to blobs there, hard links to our files here
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from model_store.errors import UsageError
from model_store.files import FILE_MODE, fsync_directory, make_directory, write_atomically
from model_store.manifest import FileEntry, Manifest
from model_store.references import check_name

SMALL = 1024 * 1024


def default_hub_cache() -> Path:
    """Where huggingface_hub keeps its cache, told by HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME as it reads them."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


def hub_repository(manifest: Manifest) -> tuple[str, str]:
    """The repository and the commit that a manifest came from; empty if it did not come from a hub."""
    kind, _, repository = manifest.source.url.partition(":")
    return (repository, manifest.source.commit) if kind == "hub" and manifest.source.commit else ("", "")


class HubCache:
    """A Hugging Face cache as a place to find a manifest's files in. Nothing in it is believed: hash what it offers."""

    def __init__(self, manifest: Manifest, root: Path | None = None) -> None:
        self.root = root or default_hub_cache()
        self.repository, self.commit = hub_repository(manifest)

    def local_candidates(self, entry: FileEntry) -> Iterator[Path]:
        """Regular files of the right size that may be `entry`, the most likely first; empty if there is no cache."""
        seen = set()
        for path in self._places(entry):
            with suppress(OSError):
                real = path.resolve(strict=True)
                # A link may lead to any place; only what lies in this cache is offered.
                inside = real.is_relative_to(self.root.resolve())
                if inside and real not in seen and real.is_file() and real.stat().st_size == entry.size:
                    seen.add(real)
                    yield real

    def _places(self, entry: FileEntry) -> Iterator[Path]:
        if self.repository:
            yield self._folder() / "snapshots" / self.commit / entry.path
            yield self._folder() / "blobs" / entry.sha256
        with suppress(OSError):
            yield from sorted(self.root.glob(f"models--*/blobs/{entry.sha256}"))

    def _folder(self) -> Path:
        return self.root / folder_name(self.repository)


def folder_name(repository: str) -> str:
    """The directory of a repository in a Hugging Face cache."""
    return f"models--{check_name(repository).replace('/', '--')}"


def write_hub_view(snapshot: Path, manifest: Manifest, target: Path) -> Path:
    """Show a snapshot in the layout of a Hugging Face cache below `target`; returns its directory there.

    Hard links, or copies on another file system. What `target` holds already is kept, `refs/main` too. Raises
    UsageError for a model that did not come from a hub.
    """
    repository, commit = hub_repository(manifest)
    if not repository:
        raise UsageError(
            f"{manifest.name}@{manifest.revision} came from {manifest.source.url}, not from a hub, and so has no place "
            "in a Hugging Face cache.",
            "Use its own directory: model-store path NAME.",
        )
    folder = make_directory(target.expanduser().absolute() / folder_name(repository))
    shown = folder / "snapshots" / commit
    _merge(snapshot, manifest, folder, shown)
    for revision in dict.fromkeys(("main", manifest.revision)):
        if revision != commit and not (folder / "refs" / revision).exists():
            write_atomically(folder / "refs" / revision, commit.encode())
    return shown


def _merge(snapshot: Path, manifest: Manifest, folder: Path, shown: Path) -> None:
    """Put in place what is missing, each file in one step."""
    for entry in manifest.files:
        blob = folder / "blobs" / _etag(snapshot / entry.path, entry)
        for target in (blob, shown / entry.path):
            make_directory(target.parent)
            if not target.exists():
                _put(snapshot / entry.path, folder / f".{uuid.uuid4().hex}.tmp", target)
    for directory in (folder / "blobs", shown):
        make_directory(directory)
        fsync_directory(directory)


def _put(file: Path, temporary: Path, target: Path) -> None:
    """Give a file another name, or copy it where that is not possible; never over what is there."""
    try:
        try:
            os.link(file, temporary)
        except OSError:
            shutil.copyfile(file, temporary)
            temporary.chmod(FILE_MODE)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _etag(file: Path, entry: FileEntry) -> str:
    """The name that the hub gives a file: git's own hash if small, else sha256. Which it is cannot be told for sure."""
    if entry.size > SMALL:
        return entry.sha256
    return hashlib.sha1(b"blob %d\0" % entry.size + file.read_bytes(), usedforsecurity=False).hexdigest()
