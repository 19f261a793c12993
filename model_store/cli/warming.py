"""`model-store warm`: bring snapshots into the node caches of a whole Ray cluster."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from model_store.cli.common import STORE, JsonOption, StoreOption, app
from model_store.console import human_size, print_json, print_table
from model_store.errors import UsageError


@app.command()
def warm(
    names: Annotated[list[str], typer.Argument(help="NAME[@TAG|@sha256:DIGEST] …")],
    store: StoreOption = STORE,
    cache: Annotated[
        Path | None, typer.Option(help="The node cache on every node; default: what RAYSCRIBE_CACHE says there.")
    ] = None,
    address: Annotated[str, typer.Option(envvar="RAY_ADDRESS", help="The Ray cluster's address.")] = "auto",
    peers: Annotated[bool, typer.Option(help="Let one node read the store, the others from each other.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Fetch NAMES into the node cache of every node of a Ray cluster, all at once."""
    _connect(address)
    from model_store.cluster.on_ray import warm as warm_all

    warmed = warm_all(names, store, cache, peers=peers)
    if as_json:
        print_json([asdict(one) for one in warmed])
    else:
        rows = [
            [one.node[:12], one.name, one.error or one.source, human_size(one.fetched_bytes), f"{one.seconds:.1f} s"]
            for one in warmed
        ]
        print_table(["NODE", "MODEL", "FROM", "FETCHED", "TOOK"], rows)
    failed = sum(bool(one.error) for one in warmed)
    if failed:
        print(f"{failed} of {len(warmed)} fetches failed.", file=sys.stderr)
        raise typer.Exit(4)


def _connect(address: str) -> None:
    try:
        import ray
    except ImportError:
        raise UsageError("warm needs Ray, which is not installed here.", "pip install 'ray[serve]'") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        raise UsageError(
            f"No Ray cluster at {address}: {error}", "Give --address, or start one: ray start --head"
        ) from None
