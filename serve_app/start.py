"""Start a whole service as a container does: `python -m serve_app.start [CONFIG]`.

The config is checked, every snapshot that it names is fetched into the node cache and verified, and only then
Ray and Serve start. Told to stop (SIGTERM or SIGINT), the service takes nothing new and answers what it has.
From the environment:

- RAYSCRIBE_CONFIG: the Serve config, where none is given; default `configs/local.yaml`.
- RAYSCRIBE_MODELS: other transcription models, by preset: `fast=whisper-base,high=whisper-small`.
- RAYSCRIBE_HOST, RAYSCRIBE_PORT: where HTTP is listened to, instead of what the config says.
- RAYSCRIBE_METRICS_PORT: where Ray's metrics can be read; a port of Ray's choice without it.
- RAYSCRIBE_DASHBOARD: 1 for Ray's dashboard, on 127.0.0.1:8265, which `serve status` and `serve deploy` need.
- RAYSCRIBE_STORE, RAYSCRIBE_CACHE: where snapshots come from and where they are kept.
- AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: of a store that is a bucket.
- RAYSCRIBE_JOBS_BROKER: the Redis that keeps the jobs, where several nodes share them.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from model_store import ModelStoreError, NotPublished
from serve_app.config import StoreArgs
from serve_app.serve_config import CATALOG, CheckedConfig, ConfigError, load_serve_config
from serve_app.serving import serve_until_told
from serve_app.strict import did_you_mean

DEFAULT = "configs/local.yaml"
BAD_CONFIG, NO_MODELS = 2, 4
"""Exit codes, as those of model-store."""


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Check, fetch and serve; returns the exit code."""
    path = Path(arguments[0] if arguments else environment.get("RAYSCRIBE_CONFIG") or DEFAULT)
    try:
        with tempfile.TemporaryDirectory(prefix="rayscribe-") as folder:
            written = adapted(path, environment, Path(folder))
            metrics = _number("METRICS_PORT", environment.get("RAYSCRIBE_METRICS_PORT"))
            dashboard = _yes("DASHBOARD", environment.get("RAYSCRIBE_DASHBOARD"))
            config = load_serve_config(written)
            preflight()
            fetch_all(config)
            return serve_until_told(config, metrics, dashboard=dashboard)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    except ModelStoreError as error:
        print(error.problem, error.mend, sep="\n", file=sys.stderr)
        return NO_MODELS


def preflight() -> None:
    """Tell what of this machine will make the service slow, or keep it off a GPU; `rayscribe doctor` tells all."""
    from serve_app.hardware.checks import examine_machine
    from serve_app.hardware.machine import this_machine

    for each in examine_machine(this_machine(Path(StoreArgs().cache))):
        if each.state != "ok":
            print(f"{each.state}: {each.name}: {each.text} {each.mend}", file=sys.stderr, flush=True)


def adapted(path: Path, environment: Mapping[str, str], folder: Path) -> Path:
    """Return the config, or a copy in `folder` that differs by what the environment says; raises ConfigError."""
    models, host, port = (environment.get(f"RAYSCRIBE_{name}") for name in ("MODELS", "HOST", "PORT"))
    if not (models or host or port):
        return path
    number = _number("PORT", port)
    load_serve_config(path)  # what is wrong with the file is told of the file
    config = yaml.safe_load(path.read_text("utf-8"))
    if host or port:
        config.setdefault("http_options", {}).update(
            {"host": host} if host else {}, **({"port": number} if number else {})
        )
    for preset, model in _models(models or ""):
        _transcription(config, preset)["model"] = model
    (folder / path.name).write_text(yaml.safe_dump(config))
    if (path.parent / CATALOG).is_file():
        (folder / CATALOG).symlink_to((path.parent / CATALOG).resolve())
    return folder / path.name


def _number(name: str, text: str | None) -> int | None:
    if text and not text.isdecimal():
        raise ConfigError([f"RAYSCRIBE_{name}: {text!r} is no number"])
    return int(text) if text else None


def _yes(name: str, text: str | None) -> bool:
    if text not in (None, "", "0", "1"):
        raise ConfigError([f"RAYSCRIBE_{name}: {text!r} is neither 0 nor 1"])
    return text == "1"


def _models(pairs: str) -> Iterator[tuple[str, str]]:
    for pair in filter(None, pairs.replace(",", " ").split()):
        preset, equals, model = pair.partition("=")
        if not (preset and equals and model):
            raise ConfigError([f"RAYSCRIBE_MODELS: {pair!r} is no PRESET=MODEL, such as fast=whisper-base"])
        yield preset, model


def _transcription(config: dict[str, Any], preset: str) -> dict[str, Any]:
    stages: dict[str, dict[str, Any]] = {
        app["args"]["preset"]: app["args"]["transcription"]
        for app in config["applications"]
        if "preset" in app.get("args", {})
    }
    if preset not in stages:
        raise ConfigError([f"RAYSCRIBE_MODELS: the config has no preset '{preset}'{did_you_mean(preset, [*stages])}"])
    return stages[preset]


def fetch_all(config: CheckedConfig) -> None:
    """Fetch and verify each snapshot that the presets name; raises NotPublished for all that are missing at once."""
    from serve_app.loading import get_snapshot

    missing: list[tuple[str, str, NotPublished]] = []
    for name, store in config.snapshots():
        try:
            snapshot, lease = get_snapshot(name, store)
        except NotPublished as error:
            missing.append((name, store.url, error))
        else:
            lease.release()
            print(f"{name}: {snapshot.digest[:19]} in {snapshot.path}", flush=True)
    if missing:
        raise NotPublished("\n".join(str(error) for *_, error in missing), _by_bundle(missing))


def _by_bundle(missing: Sequence[tuple[str, str, NotPublished]]) -> str:
    """How to mend it where nothing can be published: a bundle goes round all stores that lack something."""
    names = " ".join(dict.fromkeys(name for name, *_ in missing))
    stores = dict.fromkeys(url for _, url, _ in missing)
    there = f"model-store bundle export {names} --out models.bundle"
    here = (f"model-store bundle import models.bundle --store {url}" for url in stores)
    return "\n  ".join(["Where no network reaches, there and then here:", there, *here])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
