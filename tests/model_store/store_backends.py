"""Every kind of store for the tests: in a directory, in a bucket, behind a web server."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.store import LocalStore, MemoryStore
from s3_stand_in import S3, ask, serving_s3
from web_stand_in import Web, serving_web

from model_store import DirectoryStore, ObjectStore, Store, open_store
from model_store.stores.object_errors import Place

WRITABLE = ["directory", "memory", "local", "s3"] + (["real-s3"] if os.environ.get("RAYSCRIBE_TEST_S3") else [])
READABLE = [*WRITABLE, "web", "web-without-ranges"]
"""RAYSCRIBE_TEST_S3 is the endpoint of a real S3 server; its keys are in the AWS variables."""


@dataclass(frozen=True)
class Backend:
    """A store to write to, the same one to read from, and how to spoil or look at what it holds behind its back."""

    writer: Store
    reader: Store
    spoil: Callable[[str, bytes], None]
    keys: Callable[[], set[str]]


@contextmanager
def backend(kind: str, root: Path) -> Iterator[Backend]:
    """An empty store of a kind."""
    with ExitStack() as stack:
        if kind == "directory":
            yield _directory(root / "store")
        elif kind == "memory":
            yield _objects(ObjectStore(MemoryStore(), Place("memory://", "memory")))
        elif kind == "local":
            local = LocalStore(str(root / "store"), mkdir=True)
            yield _objects(ObjectStore(local, Place("local://", "local"), checksums=False))
        elif kind == "s3":
            stack.enter_context(s3_environment(stack.enter_context(serving_s3(S3()))))
            yield _objects(_bucket("s3://models/some/prefix"))
        elif kind == "real-s3":
            yield _objects(_bucket(stack.enter_context(real_bucket())))
        else:
            served = _directory(root / "store")
            web = stack.enter_context(serving_web(Web(root=root / "store", ranges=kind == "web")))
            yield Backend(served.writer, open_store(web.url), served.spoil, served.keys)


@contextmanager
def real_bucket() -> Iterator[str]:
    """The URL of a new bucket of the real server."""
    endpoint, name = os.environ["RAYSCRIBE_TEST_S3"], f"rayscribe-{uuid.uuid4().hex[:12]}"
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    with environment(AWS_ENDPOINT_URL=endpoint):
        ask("PUT", f"{endpoint}/{name}", key, secret)
        try:
            yield f"s3://{name}/some/prefix"
        finally:
            whole = _bucket(f"s3://{name}")
            obstore.delete(whole.backend, [found["path"] for page in obstore.list(whole.backend) for found in page])
            ask("DELETE", f"{endpoint}/{name}", key, secret)


@contextmanager
def s3_environment(s3: S3) -> Iterator[None]:
    """The environment of a user of the stand-in."""
    with environment(AWS_ENDPOINT_URL=s3.url, AWS_ACCESS_KEY_ID=s3.key, AWS_SECRET_ACCESS_KEY=s3.secret):
        yield


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _bucket(url: str) -> ObjectStore:
    store = open_store(url)
    assert isinstance(store, ObjectStore)
    return store


def _objects(store: ObjectStore) -> Backend:
    def spoil(path: str, content: bytes) -> None:
        obstore.put(store.backend, path, content)

    def keys() -> set[str]:
        return {found["path"] for page in obstore.list(store.backend) for found in page}

    return Backend(store, store, spoil, keys)


def _directory(root: Path) -> Backend:
    root.mkdir()
    store = DirectoryStore(root)

    def spoil(path: str, content: bytes) -> None:
        (root / path).chmod(0o644)
        (root / path).write_bytes(content)

    def keys() -> set[str]:
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}

    return Backend(store, store, spoil, keys)
