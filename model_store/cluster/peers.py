"""Peers: the nodes of a cluster as each other's stores; each serves its node cache over HTTP, read-only."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from model_store.cache.node_cache import NodeCache
from model_store.manifest import Manifest
from model_store.references import is_digest
from model_store.stores.base import Ref, Store
from model_store.stores.chain import StoreChain

if TYPE_CHECKING:
    from aiohttp import web

T = TypeVar("T")


class PeerFirst(StoreChain):
    """A store whose blobs are read from peers where these have them; names and manifests are the store's own.

    What a peer lacks or has damaged comes from the next one, at last from the store.
    """

    def __init__(self, peers: Sequence[Store], store: Store) -> None:
        super().__init__([*peers, store])
        self._store = store

    @property
    def url(self) -> str:
        """The store's own: peers come and go."""
        return self._store.url

    def read_ref(self, name: str, tag: str) -> str | None:
        """The manifest digest that `name@tag` stands for in the store."""
        return self._store.read_ref(name, tag)

    def list_refs(self) -> list[Ref]:
        """All refs of the store."""
        return self._store.list_refs()

    def read_manifest(self, digest: str) -> Manifest:
        """A manifest of the store."""
        return self._store.read_manifest(digest)

    def read_signature(self, digest: str) -> bytes | None:
        """The signature in the store."""
        return self._store.read_signature(digest)

    def local_path(self, digest: str) -> Path | None:
        """The blob as a file of this machine, if the store is a directory."""
        return self._store.local_path(digest)


class PeerServer:
    """Serves the finished blobs and manifests of a node cache; anything else is not found. `close` ends it.

    aiohttp sends files by the kernel's sendfile, ranges too.
    """

    def __init__(self, cache: NodeCache, host: str = "127.0.0.1", port: int = 0) -> None:
        self._cache = cache
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="peer-server", daemon=True)
        self._thread.start()
        self._runner, self.port = self._wait(self._start(host, port))

    async def _start(self, host: str, port: int) -> "tuple[web.AppRunner, int]":
        from aiohttp import web

        application = web.Application()
        application.router.add_get("/blobs/sha256/{start}/{digest}", self._blob)
        application.router.add_get("/manifests/{digest}.json", self._manifest)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        return runner, int(runner.addresses[0][1])

    async def _blob(self, request: "web.Request") -> "web.StreamResponse":
        return self._file(request, self._cache.blob_path(_checked(request.match_info["digest"])))

    async def _manifest(self, request: "web.Request") -> "web.StreamResponse":
        return self._file(request, self._cache.root / "manifests" / f"{_checked(request.match_info['digest'])}.json")

    def _file(self, request: "web.Request", path: Path) -> "web.StreamResponse":
        from aiohttp import web

        if not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        """Stop serving."""
        self._wait(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)


def _checked(digest: str) -> str:
    """A digest out of a URL; nothing else can name a file."""
    from aiohttp import web

    if not is_digest(digest):
        raise web.HTTPNotFound
    return digest
