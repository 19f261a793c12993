"""Publishing from a Hugging Face hub: our stand-in, huggingface_hub's own code."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_stand_in import COMMIT, Hub, serving
from store_helpers import INFO, CountingStore, content, in_child

from model_store import (
    NodeCache,
    Published,
    SourceCorrupt,
    SourceError,
    SourceGated,
    SourceNotFound,
    SourceUnreachable,
    fetch,
    parse_source,
    publish,
)

FILES = {"config.json": b"{}", "model.bin": bytes(range(256)) * 8000, "tf_model.h5": b"tf", ".gitattributes": b"x"}
WANTED = {path: FILES[path] for path in ("config.json", "model.bin")}
CHILD = """
import sys
from store_helpers import INFO, CountingStore
from model_store import parse_source, publish
publish(parse_source(sys.argv[1], allow=("*.json", "*.bin")), "m", CountingStore(sys.argv[2]), "v1", INFO)
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 5)
    with serving(Hub(files=dict(FILES), large={"model.bin"})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
        yield hub


def publish_from(spec: str, store: CountingStore) -> Published:
    return publish(parse_source(spec, allow=("*.json", "*.bin")), "m", store, "v1", INFO)


def test_repository_is_published_with_its_commit(hub: Hub, store: CountingStore, cache: NodeCache) -> None:
    done = publish_from("hub:org/model@main", store)
    assert content(fetch("m", store, cache).path) == WANTED
    assert (done.manifest.source.url, done.manifest.source.commit) == ("hub:org/model", COMMIT)
    assert not any("tf_model" in request for request in hub.requests)
    assert publish_from(f"hub:org/model@{COMMIT}", store).digest == done.digest


def test_fetching_asks_no_hub(hub: Hub, store: CountingStore, cache: NodeCache) -> None:
    publish_from("hub:org/model", store)
    asked = len(hub.requests)
    fetch("m", store, cache)
    assert len(hub.requests) == asked


def test_gated_repository_names_the_page_and_the_token(
    hub: Hub, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated = True
    with pytest.raises(SourceGated, match=rf"HF_TOKEN is not set.*{hub.url}/org/model"):
        publish_from("hub:org/model", store)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(SourceGated, match="not allowed in"):
        publish_from("hub:org/model", store)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert publish_from("hub:org/model", store).manifest.gated is True


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        ("hub:org/nothing", SourceNotFound, "Check the name"),
        ("hub:org/model@v9", SourceNotFound, "no revision v9"),
        ("hub:a/b/c", SourceNotFound, "hub:owner/name@commit"),
    ],
)
def test_what_is_not_there_is_named(
    hub: Hub, store: CountingStore, spec: str, kind: type[SourceError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        publish_from(spec, store)


@pytest.mark.parametrize("status", [429, 500])
def test_failing_hub(hub: Hub, store: CountingStore, status: int) -> None:
    hub.fail_with = status
    with pytest.raises(SourceUnreachable, match=rf"{status}.*--from directory"):
        publish_from("hub:org/model", store)


def test_absent_hub(hub: Hub, store: CountingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1:9: .*Connection refused\. Check.*HF_ENDPOINT"):
        publish_from("hub:org/model", store)


def test_truncated_file_in_the_hugging_face_cache_is_downloaded_again(
    hub: Hub, store: CountingStore, tmp_path: Path
) -> None:
    publish_from("hub:org/model", store)
    blob = next(tmp_path.glob("hf/**/snapshots/*/model.bin")).resolve()
    os.truncate(blob, 1000)
    again = publish_from("hub:org/model", store)
    assert (again.reused, again.uploaded_bytes) == (True, 0)
    assert blob.stat().st_size == len(FILES["model.bin"])


def test_bytes_that_are_not_the_promised_ones_are_refused(hub: Hub, store: CountingStore) -> None:
    hub.wrong_bytes = {"model.bin"}
    with pytest.raises(SourceCorrupt, match=r"model\.bin is damaged"):
        publish_from("hub:org/model", store)
    assert not (store.root / "refs").exists()


def test_killed_download_publishes_nothing_and_resumes(hub: Hub, store: CountingStore, cache: NodeCache) -> None:
    hub.files["model.bin"] = bytes(range(256)) * 90_000  # huggingface_hub writes 10 MiB at a time
    hub.cut_after = {"model.bin": 22_000_000}
    child = in_child(CHILD, "hub:org/model", store.root)
    _wait_for(lambda: not hub.cut_after, child)
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not store.root.exists()
    publish_from("hub:org/model", store)
    assert [start > 0 for start in hub.resumed_at] == [True]
    assert content(fetch("m", store, cache).path)["model.bin"] == hub.files["model.bin"]


def _wait_for(done: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
