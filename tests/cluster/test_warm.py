"""`warm` on a real cluster of several nodes: every node gets the snapshot, the store is read once."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from model_store import Manifest, NodeCache, open_store, verify
from tests.conftest import ROOT

pytestmark = pytest.mark.cluster
NAME = "demo-whisper"


class WebStore:
    """A store behind a web server that counts the bytes of blobs that it sends."""

    def __init__(self, store: Path) -> None:
        self.blob_bytes = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        application = web.Application()
        application.router.add_static("/", store)
        application.on_response_prepare.append(self._count)
        self._runner = web.AppRunner(application)
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()

    async def _count(self, request: web.Request, response: web.StreamResponse) -> None:
        if "/blobs/" in request.path and request.method == "GET":
            self.blob_bytes += response.content_length or 0

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)


@pytest.fixture
def web_store(store: Path) -> Iterator[WebStore]:
    served = WebStore(store)
    yield served
    served.close()


def test_all_nodes_at_once_read_the_store_once(web_store: WebStore, store: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYSCRIBE_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.three_nodes", web_store.url, str(tmp_path), NAME],
        cwd=ROOT,
        env={**environment, "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"},
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, again, late = json.loads(done.stdout.splitlines()[-1])
    size = _manifest(store).size
    assert [one["error"] for one in first + again + late] == [""] * 9
    assert [one["fetched_bytes"] for one in first] == [size] * 3
    assert [one["fetched_bytes"] for one in again] == [0] * 3
    assert sorted(one["fetched_bytes"] for one in late) == [0, 0, size]
    assert web_store.blob_bytes == size
    for cache in ("cache0", "cache1", "cache2", "late"):
        assert verify(NodeCache(tmp_path / cache)) == []
        assert len(NodeCache(tmp_path / cache).complete()) == 1


def _manifest(store: Path) -> Manifest:
    place = open_store(store)
    digest = place.read_ref(NAME, "latest")
    assert digest is not None
    return place.read_manifest(digest)
