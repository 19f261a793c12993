"""From settings to a desk; the library of Redis is imported where one is used."""

import logging
import os
from pathlib import Path

from serve_app.jobs.args import JobsArgs
from serve_app.jobs.desk import Desk
from serve_app.jobs.sqlite_store import SqliteStore
from serve_app.jobs.store import JobStore
from serve_app.jobs.uploads import Uploads
from serve_app.jobs.webhooks import key_of
from serve_app.presets import Presets

logger = logging.getLogger("ray.serve.rayscribe")


def open_desk(args: JobsArgs, presets: Presets, nodes: int = 1) -> Desk:
    """Return the desk; its store is opened when it is first asked. Raises BadSecret."""
    if nodes > 1 and not args.broker:
        logger.warning(
            "jobs lie on this node alone (%s), and the cluster has %d: keep the gateway to one replica on one node, or "
            "set jobs.broker to a Redis and jobs.folder to a place that all nodes share",
            *(args.folder, nodes),
        )
    secret = os.environ.get(args.webhook.secret_env)
    key = key_of(secret) if secret else None
    return Desk(open_store(args), Uploads(Path(args.folder)), presets, args, key)


def open_store(args: JobsArgs) -> JobStore:
    """Return the store that the settings name."""
    if args.broker:
        from serve_app.jobs.redis_store import RedisStore

        return RedisStore(args.broker, Path(args.folder))
    return SqliteStore(Path(args.folder) / "jobs.sqlite")
