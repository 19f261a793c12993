"""The ways to get a model, each in a process of its own: `python -m benchmarks.store.ways ORDER`.

A way imports what it needs and returns what is to be timed. The process prints `ready`, waits for a line, and prints
seconds, processor seconds and the peak of its memory as JSON.
"""

import fcntl
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

Order = dict[str, Any]
Run = Callable[[], dict[str, Any] | None]
BLOCK = 16 * 1024 * 1024


def ours(order: Order) -> Run:
    """`fetch`: pieces over several connections, each hashed; files fsynced and renamed."""
    from model_store import FetchOptions, NodeCache, fetch, open_store

    def run() -> dict[str, Any]:
        options = FetchOptions(
            link=order.get("link", False), deep=order.get("deep", False), connections=order.get("connections", 8)
        )
        snapshot = fetch(order["name"], open_store(order["store"]), NodeCache(order["cache"]), options)
        return {"timings": snapshot.timings.as_dict(), "fetched_bytes": snapshot.fetched_bytes}

    return run


def hub(order: Order) -> Run:
    """`snapshot_download` with its defaults: files in parallel, each on one connection, unverified."""
    from huggingface_hub import snapshot_download

    from benchmarks.store.server import COMMIT, REPO

    def run() -> None:
        snapshot_download(REPO, revision=COMMIT, endpoint=order["hub"], cache_dir=order["cache"])

    return run


def s3_transfer(order: Order) -> Run:
    """boto3's `download_file` with its defaults: ranges of 8 MiB on ten threads, unverified."""
    import boto3

    def run() -> None:
        client = boto3.client("s3")
        for name, key in order["keys"].items():
            client.download_file(order["bucket"], key, f"{order['cache']}/{name}")

    return run


def plain_get(order: Order) -> Run:
    """obstore's `get`: one stream into a file, unverified."""
    import obstore
    from obstore.store import HTTPStore, S3Store

    def run() -> None:
        options = {"allow_http": True}
        store: Any
        if order.get("bucket"):
            config = {"endpoint": os.environ["AWS_ENDPOINT_URL"]}
            store = S3Store(order["bucket"], config=config, client_options=options)  # type: ignore[arg-type]
        else:
            store = HTTPStore(order["url"], client_options=options)  # type: ignore[arg-type]
        for name, key in order["keys"].items():
            with open(f"{order['cache']}/{name}", "wb") as file:
                for chunk in obstore.get(store, key):
                    file.write(chunk)

    return run


def copy(order: Order) -> Run:
    """`cp`, then fsync; unverified."""
    import subprocess

    def run() -> None:
        for name, path in order["files"].items():
            subprocess.run(["cp", path, f"{order['cache']}/{name}"], check=True)
        _sync(order["cache"])

    return run


def write(order: Order) -> Run:
    """The disk's limit: as many bytes from memory into one file, and fsync."""
    block = os.urandom(BLOCK)

    def run() -> None:
        with open(f"{order['cache']}/written", "wb", buffering=0) as file:
            for start in range(0, order["size"], BLOCK):
                file.write(block[: order["size"] - start])
            os.fsync(file.fileno())

    return run


def digest(order: Order) -> Run:
    """One core's limit: sha256 of the same bytes in the page cache."""

    def run() -> None:
        for path in order["files"].values():
            _hash(Path(path))

    return run


def load_whisper(order: Order) -> Run:
    """CTranslate2's Whisper on the processor, computing in int8."""
    import ctranslate2

    def run() -> None:
        ctranslate2.models.Whisper(order["path"], device="cpu", compute_type="int8")

    return run


def load_wav2vec2(order: Order) -> Run:
    """Transformers' wav2vec2, from whichever weights are there."""
    from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2ForCTC

    safe = Path(order["path"], "model.safetensors").is_file()

    def run() -> None:
        Wav2Vec2ForCTC.from_pretrained(order["path"], use_safetensors=safe)

    return run


def _hash(path: Path) -> None:
    hasher, buffer = sha256(), bytearray(1024 * 1024)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(memoryview(buffer)[:count])


def _sync(root: str) -> None:
    for path in Path(root).rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _check(root: str) -> float:
    """Seconds that hashing and fsync take, for ways that do neither."""
    began = time.perf_counter()
    for path in Path(root).rglob("*"):
        if path.is_file() and not path.is_symlink():
            _hash(path)
    _sync(root)
    return time.perf_counter() - began


WAYS: dict[str, Callable[[Order], Run]] = {
    way.__name__: way for way in (ours, hub, s3_transfer, plain_get, copy, write, digest, load_whisper, load_wav2vec2)
}


def main(order: Order) -> None:
    """Carry out one order and print its figures."""
    if order.get("no_flock"):
        fcntl.flock = lambda descriptor, operation: None
    try:
        run = WAYS[order["way"]](order)
    except ImportError as error:
        print(json.dumps({"absent": f"{error.name} is not installed: pip install 'rayscribe[bench]'"}))
        return
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(_timed(run, order)))


def _timed(run: Run, order: Order) -> dict[str, Any]:
    before, began = _cpu_s(), time.perf_counter()
    try:
        extra = run() or {}
    except Exception as error:  # noqa: BLE001 - the figure is that it failed
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    seconds = time.perf_counter() - began
    figures = {"seconds": seconds, "cpu_s": _cpu_s() - before, "peak_mb": peak_mb(), **extra}
    if order.get("check"):
        figures["checked_s"] = seconds + _check(order["cache"])
    if order.get("discard"):
        shutil.rmtree(order["cache"], ignore_errors=True)
    return figures


def _cpu_s() -> float:
    """Processor seconds of this process and of what it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mb() -> float:
    """The most memory this process has had, in MB (ru_maxrss would count its parent's)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1000 for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
