"""`model-store pull`: from the catalog's source through the store into this machine's cache."""

from typing import Annotated

import typer

from model_store.cache.node_cache import NodeCache
from model_store.cli.common import CACHE, STORE, CacheOption, CatalogOption, JsonOption, StoreOption, app
from model_store.console import print_json, progress_bar
from model_store.fetching.fetch import FetchOptions
from model_store.publishing.catalog import DEFAULT_CATALOG
from model_store.publishing.pulling import pull
from model_store.stores import open_store


@app.command("pull")
def pull_command(
    names: Annotated[list[str], typer.Argument(help="NAME[@TAG] …, of the catalog.")],
    store: StoreOption = STORE,
    cache: CacheOption = CACHE,
    catalog: CatalogOption = DEFAULT_CATALOG,
    as_json: JsonOption = False,
) -> None:
    """Fetch NAMES, and publish first what the store lacks; print their paths."""
    paths = {}
    for name in names:
        with progress_bar(name, quiet=as_json) as progress:
            options = FetchOptions(progress=progress)
            paths[name] = str(pull(name, open_store(store), NodeCache(cache), options, catalog=catalog).path)
        if not as_json:
            print(paths[name])
    if as_json:
        print_json(paths)
