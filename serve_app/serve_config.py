"""Whole Serve configs, checked strictly: Ray ignores unknown keys, and finds much else only when replicas start.

`python -m serve_app.serve_config configs/*.yaml` prints a line per file, or a line per problem:
`FILE:LINE: applications[high].deployments[Transcription].num_replica: unknown key; did you mean 'num_replicas'?`
With `--gpu 24GB` it also prints what every stage needs of such a GPU, and what it has.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from model_store import UsageError, parse_size
from model_store.errors import ModelStoreError
from model_store.publishing.catalog import Catalog
from serve_app.config import GatewayArgs, PresetArgs, StoreArgs
from serve_app.config_rules import RULES, App, Apps, Rule
from serve_app.gpu_memory import BadGpuMemory
from serve_app.gpu_rules import GPU_RULES, gpu_share, replicas, shares_of
from serve_app.gpu_table import table
from serve_app.schema_check import SchemaCheck
from serve_app.strict import did_you_mean
from serve_app.yaml_source import Place, Problem, Source

CATALOG = "models.yaml"
"""The catalog beside a config; without one, snapshots are not looked up."""

BUILDERS: dict[str, type[PresetArgs | GatewayArgs]] = {
    "serve_app.app:build_preset": PresetArgs,
    "serve_app.app:build_gateway": GatewayArgs,
}


class ConfigError(Exception):
    """A config that must not be deployed: one line per problem, in the order of the file."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines)
        self.lines = tuple(lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class CheckedConfig:
    """A config without a problem. `document` is what Serve is given; `serve` is Ray's ServeDeploySchema of it."""

    document: dict[str, Any]
    serve: Any
    apps: Apps
    catalog: Catalog | None

    @property
    def presets(self) -> dict[str, PresetArgs]:
        """Return every preset's args, by its name."""
        return self.apps.presets

    @property
    def gateways(self) -> dict[str, GatewayArgs]:
        """Return every gateway's args, by the name of its application."""
        return {app.name: app.args for app in self.apps.all if isinstance(app.args, GatewayArgs)}

    def snapshots(self) -> list[tuple[str, StoreArgs]]:
        """Return each snapshot that the presets name, once, and the store that it comes from."""
        found: dict[tuple[str, str], tuple[str, StoreArgs]] = {}
        for args in self.presets.values():
            store = args.store.resolved()
            found |= {(name, store.url): (name, store) for name in args.models() if (name, store.url) not in found}
        return list(found.values())

    def gpus(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Return the GPUs that (application, deployment) reserves: with its fewest replicas, and with its most."""
        reserved = {}
        for app in self.serve.applications:
            for deployment in app.deployments:
                fewest, most = replicas(deployment)
                share = gpu_share(deployment)
                reserved[app.name, deployment.name] = (fewest * share, most * share)
        return reserved


def load_serve_config(
    path: Path, gpu_gb: float | None = None, rules: Sequence[Rule] = (*RULES, *GPU_RULES)
) -> CheckedConfig:
    """Read and check a config file, with the catalog beside it; raises ConfigError with every problem.

    `gpu_gb` is the memory of a GPU, whatever the config says.
    """
    try:
        text = path.read_text("utf-8")
        beside = path.parent / CATALOG
        catalog = Catalog.load(beside) if beside.is_file() else None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except ModelStoreError as error:
        raise ConfigError([str(error)]) from None
    return check_serve_config(text, str(path), catalog, gpu_gb, rules)


def check_serve_config(
    text: str,
    name: str,
    catalog: Catalog | None = None,
    gpu_gb: float | None = None,
    rules: Sequence[Rule] = (*RULES, *GPU_RULES),
) -> CheckedConfig:
    """Check a config given as text, such as a RayService's serveConfigV2; `name` stands before every problem."""
    try:
        source = Source.parse(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError([f"{name}{line}: not YAML: {getattr(error, 'problem', None) or error}"]) from None
    try:
        checked, problems = _check(source, catalog, gpu_gb, rules)
    except BadGpuMemory as error:
        raise ConfigError([f"{name}: {error}"]) from None
    if checked is None or problems:
        ordered = sorted(problems, key=lambda problem: source.line(problem.place))
        raise ConfigError([_write(name, source, problem) for problem in ordered])
    return checked


def _write(name: str, source: Source, problem: Problem) -> str:
    place = source.name(problem.place)
    return f"{name}:{source.line(problem.place)}: {place}{': ' if place else ''}{problem.message}"


def _check(
    source: Source, catalog: Catalog | None, gpu_gb: float | None, rules: Sequence[Rule]
) -> tuple[CheckedConfig | None, list[Problem]]:
    from ray.serve.schema import ServeDeploySchema

    check = SchemaCheck(list(source.problems))
    known = check.known(ServeDeploySchema, source.value, ())
    if not check.sound:
        return None, check.problems
    serve = check.validate(ServeDeploySchema, known, ())
    items = known.get("applications") or []
    apps = Apps([_app(check, item, ("applications", index)) for index, item in enumerate(items)], gpu_gb)
    check.problems.extend(chain.from_iterable(rule(apps, catalog) for rule in rules))
    if serve is None or check.problems:
        return None, check.problems
    return CheckedConfig(source.value, serve, apps, catalog), []


def _app(check: SchemaCheck, item: dict[str, Any], place: Place) -> App:
    """Read one application; its parts that were refused are left out."""
    from ray.serve.schema import DeploymentSchema

    quiet = SchemaCheck()  # the whole config's validation reports these
    deployments = [quiet.validate(DeploymentSchema, part, place) for part in item.get("deployments") or []]
    make = partial(App, place, str(item.get("name", "default")), item.get("route_prefix", "/"), deployments)
    builder = str(item.get("import_path", ""))
    dotted = builder if ":" in builder else ":".join(builder.rsplit(".", 1))
    if dotted not in BUILDERS:
        _report_misspelt(check, builder, place)
        return make(None, None)
    args = _args(check, BUILDERS[dotted], item.get("args", {}), (*place, "args"))
    return make(BUILDERS[dotted], args, item.get("autoscaling_policy"))


def _report_misspelt(check: SchemaCheck, builder: str, place: Place) -> None:
    """Report a builder that looks like ours; applications of other people may stand beside ours, unchecked."""
    near = did_you_mean(builder, list(BUILDERS))
    if builder.startswith("serve_app") or "did you mean" in near:
        check.problems.append(Problem((*place, "import_path"), f"no builder is named '{builder}'{near}"))


def _args(
    check: SchemaCheck, model: type[PresetArgs | GatewayArgs], value: Any, place: Place
) -> PresetArgs | GatewayArgs | None:
    own = SchemaCheck(check.problems)
    known = own.known(model, value, place)
    return own.validate(model, known, place) if own.sound else None


def main(arguments: Sequence[str]) -> int:
    """Check files and print what is found; returns the exit status: 0, or 1 if there is a problem."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.serve_config", description="Check Serve configs.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--gpu", type=_size_gb, metavar="24GB", help="the memory of one GPU: print what fits into it")
    asked = parser.parse_args(arguments)
    return max([_report(path, asked.gpu) for path in asked.files])


def _size_gb(text: str) -> float:
    try:
        return parse_size(text) / 1e9
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _report(path: Path, gpu_gb: float | None) -> int:
    try:
        if gpu_gb and path.name != CATALOG:
            print(_table(path, gpu_gb), end="")
        print(f"{path}: ok ({_summary(path, gpu_gb)})")
    except (ConfigError, ModelStoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _table(path: Path, gpu_gb: float) -> str:
    """Return what stages need and have, also where they do not fit."""
    config = load_serve_config(path, gpu_gb, RULES)
    return table(shares_of(config.apps), config.catalog)


def _summary(path: Path, gpu_gb: float | None) -> str:
    if path.name == CATALOG:
        return f"{len(Catalog.load(path).entries)} models"
    config = load_serve_config(path, gpu_gb)
    fewest, most = (sum(column) for column in zip((0, 0), *config.gpus().values(), strict=True))
    unchecked = [share for share in shares_of(config.apps) if not share.device_gb]
    gpus = f"; GPUs: {fewest:g} awake, {most:g} at most" if most else ""
    note = "; their memory is not checked: give args.gpu.memory_gb, or --gpu 24GB" if unchecked else ""
    if most and config.catalog is None:
        note += f"; memory not checked: no {CATALOG} beside it"
    return f"{len(config.document['applications'])} applications, presets {', '.join(config.presets)}{gpus}{note}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
