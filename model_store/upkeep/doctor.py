"""The doctor: everything about this machine that decides whether fetching and publishing will work."""

import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from model_store.cache.eviction import free_space
from model_store.cache.node_cache import NodeCache
from model_store.cache.usage import measure
from model_store.console import human_size
from model_store.errors import ModelStoreError, NotListable
from model_store.stores import DirectoryStore, Store, open_store

LITTLE_SPACE = 5_000_000_000
NETWORK_FILE_SYSTEMS = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "ceph",
    "glusterfs",
    "lustre",
    "efs",
)
HUB_VARIABLES = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN")
PACKAGES = ("rayscribe", "huggingface-hub", "filelock", "pydantic", "blake3", "obstore")
State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `mend` says what to do unless it is ok."""

    name: str
    state: State
    text: str
    mend: str = ""


def examine(store_url: str, cache: NodeCache) -> list[Finding]:
    """Look at the store, the node cache, the file system and the environment; removes every file that it writes."""
    return [*_store(store_url), *_cache(cache), *_environment()]


def _store(url: str) -> Iterator[Finding]:
    try:
        store = open_store(url)
        refs = store.list_refs()
    except NotListable as error:
        yield Finding("store", "warn", error.problem, "Fetching by name works; to list models, use another URL of it.")
        return
    except ModelStoreError as error:
        yield Finding("store", "fail", error.problem, error.mend)
        return
    yield Finding("store", "ok", f"{store.url} is reachable and holds {len({ref.name for ref in refs})} models")
    yield _readable(store, [ref.digest for ref in refs])
    yield _writable_store(store)


def _readable(store: Store, digests: list[str]) -> Finding:
    """Read the first manifest and the first byte of its first file."""
    if not digests:
        return Finding("store contents", "warn", "nothing is published", "model-store publish 'demo-*'")
    try:
        entry = next(entry for entry in store.read_manifest(digests[0]).files if entry.size)
        store.read_blob(entry.sha256, 0, 1)
    except ModelStoreError as error:
        return Finding("store contents", "fail", error.problem, error.mend)
    return Finding("store contents", "ok", "a manifest and a blob can be read")


def _writable_store(store: Store) -> Finding:
    """Write a ref that no model has, and remove it."""
    name = f"doctor-{uuid.uuid4().hex}"
    try:
        store.write_ref(name, "probe", "0" * 64)
        store.delete_ref(name, "probe")
        if isinstance(store, DirectoryStore):
            with suppress(OSError):
                (store.root / "refs" / name).rmdir()
    except ModelStoreError as error:
        return Finding("store writing", "warn", f"{error.problem} Fetching needs no more.", "To publish: give access.")
    return Finding("store writing", "ok", "this user may publish")


def _cache(cache: NodeCache) -> Iterator[Finding]:
    who = f"uid {os.getuid()}, groups {os.getgroups()}"
    try:
        with cache.staging() as probe:
            (probe / "file").write_bytes(b"x")
            yield Finding("cache", "ok", f"{cache.root} can be written by {who}")
            yield from _abilities(probe)
    except OSError as error:
        mend = "Give this user the directory (fsGroup in Kubernetes), or set RAYSCRIBE_CACHE to one it may write."
        yield Finding("cache", "fail", f"{cache.root} cannot be written by {who}: {error.strerror}", mend)
        return
    yield _space(cache)
    yield _quota(cache)


def _abilities(probe: Path) -> Iterator[Finding]:
    """What the cache's file system can do; the cache works without, more slowly."""
    kind = file_system(probe)
    if kind in NETWORK_FILE_SYSTEMS:
        mend = "Set RAYSCRIBE_CACHE to a disk of this machine: models load from it many times faster."
        yield Finding("file system", "warn", f"the cache is on {kind}, over the network", mend)
    else:
        yield Finding("file system", "ok", f"the cache is on {kind or 'an unknown file system'}")
    yield _links(probe)
    yield _locks(probe)


def _links(probe: Path) -> Finding:
    try:
        os.link(probe / "file", probe / "second")
    except OSError as error:
        text = f"no hard links ({error.strerror}): each snapshot takes its space twice"
        return Finding("hard links", "warn", text, "Use a file system with hard links for the cache.")
    return Finding("hard links", "ok", "snapshots share files")


def _locks(probe: Path) -> Finding:
    """Whether a lock that this process holds keeps another one out."""
    import fcntl

    code = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    mend = "Nothing breaks, but processes that start together download the same; use a disk of this machine."
    try:
        with (probe / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            other = subprocess.run([sys.executable, "-c", code, lock.name], capture_output=True, text=True, timeout=60)
    except OSError as error:
        return Finding("locks", "warn", f"flock does not work here: {error.strerror}", mend)
    if "BlockingIOError" in other.stderr:
        return Finding("locks", "ok", "flock keeps other processes out")
    return Finding("locks", "warn", "flock does not keep another process out", mend)


def _space(cache: NodeCache) -> Finding:
    free = free_space(cache.root)
    if free < LITTLE_SPACE:
        mend = "Free some (model-store du, gc --cached), or set RAYSCRIBE_CACHE to a larger disk."
        return Finding("free space", "warn", f"{human_size(free)} are free for the cache", mend)
    return Finding("free space", "ok", f"{human_size(free)} are free for the cache")


def _quota(cache: NodeCache) -> Finding:
    used = measure(cache).used_bytes
    if cache.quota_bytes is None:
        return Finding("quota", "ok", f"{human_size(used)} are used, none is set")
    if used > cache.quota_bytes:
        text = f"{human_size(used)} are used of {human_size(cache.quota_bytes)}"
        return Finding("quota", "warn", text, "The next fetch evicts; or raise RAYSCRIBE_CACHE_QUOTA.")
    return Finding("quota", "ok", f"{human_size(used)} are used of {human_size(cache.quota_bytes)}")


def _environment() -> Iterator[Finding]:
    for name in HUB_VARIABLES:
        if name in os.environ:
            yield Finding(name, "ok", "is set" if name == "HF_TOKEN" else os.environ[name])
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        text = "publishing from hub: cannot work while HF_HUB_OFFLINE is set"
        yield Finding("hub", "warn", text, "Unset it where models are published; fetching does not need the hub.")
    yield Finding("versions", "ok", ", ".join([f"Python {platform.python_version()}", *_versions()]))


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


def file_system(path: Path, mounts: Callable[[], str] | None = None) -> str:
    """The kind of file system that holds `path`, by the longest mount point; empty where it cannot be told."""
    try:
        text = mounts() if mounts else Path("/proc/self/mounts").read_text()
    except OSError:
        return ""
    real, longest, kind = path.resolve(), -1, ""
    for line in text.splitlines():
        fields = line.split()
        point = Path(fields[1].replace("\\040", " ")) if len(fields) > 2 else None
        # A later mount on the same place hides the earlier one.
        if point is not None and real.is_relative_to(point) and len(point.parts) >= longest:
            longest, kind = len(point.parts), fields[2]
    return kind
