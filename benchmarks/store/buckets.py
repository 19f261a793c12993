"""A model in a bucket of its own on a real S3 server, gone at the end."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.store.bench import Bench
from benchmarks.store.models import REVISION, Model
from model_store import open_store
from model_store.upkeep.copying import copy_models

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@dataclass(frozen=True)
class Bucket:
    """Where a model is: `store` as `open_store` takes it, `keys` of its files by their names there."""

    name: str
    endpoint: str
    keys: dict[str, str]

    @property
    def store(self) -> str:
        """The bucket as a store."""
        return f"s3://{self.name}"

    def environment(self, endpoint: str = "") -> dict[str, str]:
        """What a child needs to reach the server, or a proxy before it."""
        return dict.fromkeys(ENDPOINTS, endpoint or self.endpoint)


@contextmanager
def bucket(bench: Bench, model: Model) -> Iterator[Bucket | str]:
    """A bucket that holds the model, or the reason why there is none."""
    if not bench.s3:
        yield "RAYSCRIBE_BENCH_S3 is not set"
        return
    try:
        import boto3
    except ImportError:
        yield "boto3 is not installed: pip install 'rayscribe[bench]'"
        return
    name = f"rayscribe-bench-{uuid.uuid4().hex[:12]}"
    os.environ.update(dict.fromkeys(ENDPOINTS, bench.s3))
    client = boto3.client("s3", endpoint_url=bench.s3)
    client.create_bucket(Bucket=name)
    try:
        copy_models(f"bench@{REVISION}", model.store, open_store(f"s3://{name}"))
        keys = {path: blob.relative_to(model.root).as_posix() for path, blob in model.blobs().items()}
        yield Bucket(name, bench.s3, keys)
    finally:
        _remove(client, name)


def _remove(client: Any, name: str) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for found in page.get("Contents", ()):
            client.delete_object(Bucket=name, Key=found["Key"])
    client.delete_bucket(Bucket=name)
