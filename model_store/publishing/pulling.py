"""Pulling: a snapshot that the store lacks is published from its catalog's source first; this may go online.

The publishing runs in a process of its own: replicas have told the Hugging Face libraries to stay offline, for good.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from model_store.cache.node_cache import NodeCache
from model_store.errors import NotPublished, SourceError, SourceUnreachable
from model_store.fetching.fetch import FetchOptions, Snapshot, fetch
from model_store.references import DEFAULT_TAG, Reference
from model_store.stores import Store

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def pull(
    name: str,
    store: Store,
    cache: NodeCache,
    options: FetchOptions | None = None,
    *,
    catalog: Path,
    fetching: Callable[[str, Store, NodeCache, FetchOptions | None], Snapshot] = fetch,
) -> Snapshot:
    """Fetch `name`; if the store lacks it, publish it there from the catalog's source and fetch it then.

    Raises what `fetch` raises, and SourceError if it cannot be published. Of several processes of a machine one
    publishes, the others wait for it.
    """
    try:
        return fetching(name, store, cache, options)
    except NotPublished:
        with cache.single_flight(f"pull-{name.replace('/', '-')}", 3600.0):
            reference = Reference.parse(name)
            if reference.digest or store.read_ref(reference.name, reference.tag) is None:
                publish_apart(reference, store.url, catalog)
        return fetching(name, store, cache, options)


def publish_apart(reference: Reference, store_url: str, catalog: Path) -> None:
    """Publish a model of a catalog in another process, which may go online; raises SourceError with its words."""
    revision = [] if reference.digest or reference.tag == DEFAULT_TAG else ["--revision", reference.tag]
    command = ["publish", reference.name, "--store", store_url, "--catalog", str(catalog), "--json", *revision]
    done = subprocess.run(
        [sys.executable, "-m", "model_store", *command],
        env={name: value for name, value in os.environ.items() if name not in OFFLINE},
        stdin=subprocess.DEVNULL,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise _explained(reference, done)


def _explained(reference: Reference, done: "subprocess.CompletedProcess[str]") -> SourceError:
    """The child's own error, which it printed as JSON."""
    try:
        said = json.loads(done.stdout)
        problem, mend = str(said["problem"]), str(said["mend"])
    except (ValueError, KeyError, TypeError):
        problem, mend = done.stderr.strip()[-1000:], "Publish it by hand: model-store publish NAME"
    return SourceUnreachable(f"{reference} is not in the store and cannot be pulled: {problem}", mend)
