"""Publishing: a source's files into the store, the manifest after them, the refs last."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from model_store.errors import ManifestError, NotPublished, SourceCorrupt, StoreUnreachable, UsageError
from model_store.hashing import hash_all
from model_store.manifest import FileEntry, Manifest, check_path
from model_store.progress import Progress, ignore_progress
from model_store.publishing.pickles import is_pickle
from model_store.publishing.upload import Upload
from model_store.references import DEFAULT_TAG, check_name, check_tag
from model_store.sources import Collected, Source
from model_store.stores import Store


@dataclass(frozen=True)
class ModelInfo:
    """What a manifest says of a model beside its files."""

    kind: str
    licence: str = ""
    languages: tuple[str, ...] = ()
    compute_type: str = ""
    memory_mb: int = 0
    gated: bool = False
    tools: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """A manifest in the store. `reused`: it was there already; `uploaded_bytes`: what had to be written."""

    digest: str
    manifest: Manifest
    reused: bool
    uploaded_bytes: int


@dataclass(frozen=True)
class Extra:
    """A further source, merged into the snapshot below `at`."""

    source: Source
    at: str


def publish(
    source: Source,
    name: str,
    store: Store,
    revision: str,
    info: ModelInfo,
    *,
    extra: tuple[Extra, ...] = (),
    progress: Progress = ignore_progress,
    deep: bool = False,
) -> Published:
    """Publish a source as `name@revision` and `name@latest`.

    The same content and info again change nothing but mend what is damaged in the store: blobs that are there are
    hashed, missing and wrong ones written. A bucket's blobs that were checked when they were uploaded are believed, but
    with `deep` read back.
    """
    check_name(name)
    check_tag(revision)
    # Extras first: they are small and near, and may be missing; the model may be gigabytes away.
    further = [(part.at, part.source.collect()) for part in extra]
    collected = source.collect()
    files = _merged(collected, further)
    fresh = _manifest(name, revision, info, collected, further, files)
    manifest = _already_there(fresh, store) or fresh
    upload = Upload(manifest, files, store, progress, deep=deep)
    upload.run()
    store.write_manifest(manifest)
    for tag in dict.fromkeys((revision, DEFAULT_TAG)):
        if store.read_ref(name, tag) != manifest.digest:
            store.write_ref(name, tag, manifest.digest)
    # Before the refs nothing kept the blobs from being pruned.
    upload.settle()
    for part in (collected, *(part for _, part in further)):
        part.discard()
    return Published(manifest.digest, manifest, manifest is not fresh, upload.uploaded_bytes)


def _merged(collected: Collected, further: list[tuple[str, Collected]]) -> dict[str, Path]:
    """All files by their path in the snapshot."""
    files = dict(collected.files)
    for at, part in further:
        for path, file in part.files.items():
            target = check_path(f"{at}/{path}" if at else path)
            if target in files and file != files[target]:
                raise UsageError(f"Two sources bring {target}.", "Give the extra another `at`.")
            files[target] = file
    return dict(sorted(files.items()))


def _manifest(
    name: str,
    revision: str,
    info: ModelInfo,
    collected: Collected,
    further: list[tuple[str, Collected]],
    files: dict[str, Path],
) -> Manifest:
    return Manifest(
        name=name,
        revision=revision,
        kind=info.kind,
        source=collected.origin,
        extra=tuple(part.origin for _, part in further),
        licence=info.licence,
        languages=info.languages,
        compute_type=info.compute_type,
        memory_mb=info.memory_mb,
        gated=info.gated or collected.gated,
        pickle=any(is_pickle(file, path) for path, file in files.items()),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tools=dict(info.tools),
        files=tuple(_entry(path, file, collected.sha256.get(path)) for path, file in files.items()),
    )


def _entry(path: str, file: Path, promised: str | None) -> FileEntry:
    hashes = hash_all(file)
    if promised is not None and hashes.sha256 != promised:
        raise SourceCorrupt(
            f"{path} is damaged: the source promises sha256 {promised}, {file} has {hashes.sha256}.",
            f"Delete {file} and publish again.",
            path=path,
            expected=promised,
            got=hashes.sha256,
        )
    return FileEntry(path=path, **asdict(hashes))


def _already_there(fresh: Manifest, store: Store) -> Manifest | None:
    """A manifest of this name in the store that says the same, so that publishing again gives the same digest."""
    try:
        digests = {ref.digest for ref in store.list_refs() if ref.name == fresh.name}
    except StoreUnreachable:
        return None
    for digest in sorted(digests):
        try:
            there = store.read_manifest(digest)
        except (ManifestError, NotPublished):
            continue
        if there.same_but_created(fresh):
            return there
    return None
