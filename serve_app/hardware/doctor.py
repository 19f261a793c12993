"""The doctor: this machine, its libraries, the model store and a config, in one list of findings."""

from collections.abc import Iterator
from pathlib import Path

from model_store import ModelStoreError, NodeCache, Reference, open_store
from model_store.fetching.fetch import resolve
from model_store.upkeep.doctor import Finding
from model_store.upkeep.doctor import examine as examine_store
from serve_app.config import StoreArgs
from serve_app.hardware.checks import examine_machine, run_python
from serve_app.hardware.machine import Machine, this_machine
from serve_app.hardware.machine_config import base_for
from serve_app.hardware.recommend import TooSmall, recommend
from serve_app.serve_config import ConfigError, load_serve_config


def examine(
    store: str, cache: NodeCache, config: Path | None = None, *, refresh: bool = False
) -> tuple[Machine, list[Finding]]:
    """Look at everything; removes every file that it writes but the figures of the machine."""
    machine = this_machine(cache.root, refresh=refresh)
    findings = [*examine_machine(machine, run_python), _presets(machine), *examine_store(store, cache)]
    return machine, findings + (list(_config(config, machine)) if config else [])


def _presets(machine: Machine) -> Finding:
    try:
        plan = recommend(machine, base_for(machine))
    except TooSmall as error:
        return Finding(
            "presets", "warn", str(error), "The demo models fit: rayscribe config --for-this-machine --demo."
        )
    return Finding("presets", "ok", f"{plan}; rayscribe config --for-this-machine writes the Serve config")


def _config(path: Path, machine: Machine) -> Iterator[Finding]:
    try:
        config = load_serve_config(path, machine.gpu_gb or None)
    except ConfigError as error:
        yield Finding("config", "fail", str(error), "Mend the file.")
        return
    yield Finding("config", "ok", f"{path} has {len(config.presets)} presets: {', '.join(config.presets)}")
    gpus = sum(fewest for fewest, _ in config.gpus().values())
    if gpus and not machine.gpus:
        yield Finding(
            "config", "warn", f"{path} asks for GPUs and there is none", "rayscribe config --for-this-machine"
        )
    yield from (_snapshot(name, args) for name, args in config.snapshots())


def _snapshot(name: str, args: StoreArgs) -> Finding:
    """Whether a snapshot can be fetched, or lies in the node cache already."""
    try:
        digest, told = resolve(Reference.parse(name), open_store(args.url), NodeCache(args.cache))
    except ModelStoreError as error:
        return Finding("model", "fail", f"{name}: {error.problem}", error.mend)
    where = args.url if told else "the store does not answer, the node cache has it"
    return Finding("model", "ok", f"{name} is {digest[:19]}: {where}")
