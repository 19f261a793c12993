"""Whole Serve configs, checked strictly: Ray ignores unknown keys, and finds much else only when replicas start.

`python -m serve_app.serve_config configs/*.yaml` prints a line per file, or a line per problem:
`FILE:LINE: applications[high].deployments[Transcription].num_replica: unknown key; did you mean 'num_replicas'?`
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from model_store.errors import ModelStoreError
from model_store.publishing.catalog import Catalog
from serve_app.config import GatewayArgs, PresetArgs
from serve_app.config_rules import RULES, App, Apps, gpu_share
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
    presets: dict[str, PresetArgs]
    gateways: dict[str, GatewayArgs]

    def gpus(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Return the GPUs that (application, deployment) reserves: with its fewest replicas, and with its most."""
        reserved = {}
        for app in self.serve.applications:
            for deployment in app.deployments:
                fewest, most = replicas(deployment)
                share = gpu_share(deployment)
                reserved[app.name, deployment.name] = (fewest * share, most * share)
        return reserved


def replicas(deployment: Any) -> tuple[int, int]:
    """Return the fewest and the most replicas of a DeploymentSchema."""
    scaling = deployment.autoscaling_config
    if not isinstance(scaling, dict):
        fixed = deployment.num_replicas
        return (1, 100) if fixed == "auto" else (fixed, fixed) if isinstance(fixed, int) else (1, 1)
    fewest = scaling.get("min_replicas", 1)
    return fewest, scaling.get("max_replicas", 100 if deployment.num_replicas == "auto" else max(1, fewest))


def load_serve_config(path: Path) -> CheckedConfig:
    """Read and check a config file, with the catalog beside it; raises ConfigError with every problem."""
    try:
        text = path.read_text("utf-8")
        beside = path.parent / CATALOG
        catalog = Catalog.load(beside) if beside.is_file() else None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except ModelStoreError as error:
        raise ConfigError([str(error)]) from None
    return check_serve_config(text, str(path), catalog)


def check_serve_config(text: str, name: str, catalog: Catalog | None = None) -> CheckedConfig:
    """Check a config given as text, such as a RayService's serveConfigV2; `name` stands before every problem."""
    try:
        source = Source.parse(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError([f"{name}{line}: not YAML: {getattr(error, 'problem', None) or error}"]) from None
    checked, problems = _check(source, catalog)
    if checked is None or problems:
        ordered = sorted(problems, key=lambda problem: source.line(problem.place))
        raise ConfigError([_write(name, source, problem) for problem in ordered])
    return checked


def _write(name: str, source: Source, problem: Problem) -> str:
    place = source.name(problem.place)
    return f"{name}:{source.line(problem.place)}: {place}{': ' if place else ''}{problem.message}"


def _check(source: Source, catalog: Catalog | None) -> tuple[CheckedConfig | None, list[Problem]]:
    from ray.serve.schema import ServeDeploySchema

    check = SchemaCheck(list(source.problems))
    known = check.known(ServeDeploySchema, source.value, ())
    if not check.sound:
        return None, check.problems
    serve = check.validate(ServeDeploySchema, known, ())
    items = known.get("applications") or []
    apps = Apps([_app(check, item, ("applications", index)) for index, item in enumerate(items)])
    check.problems.extend(chain.from_iterable(rule(apps, catalog) for rule in RULES))
    if serve is None or check.problems:
        return None, check.problems
    gateways = {app.name: app.args for app in apps.all if isinstance(app.args, GatewayArgs)}
    return CheckedConfig(source.value, serve, apps.presets, gateways), []


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
    return make(BUILDERS[dotted], _args(check, BUILDERS[dotted], item.get("args", {}), (*place, "args")))


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


def main(paths: Sequence[str]) -> int:
    """Check files and print what is found; returns the exit status: 0, or 1 if there is a problem."""
    if not paths:
        print("usage: python -m serve_app.serve_config FILE…", file=sys.stderr)
        return 2
    return max([_report(Path(path)) for path in paths])


def _report(path: Path) -> int:
    try:
        print(f"{path}: ok ({_summary(path)})")
    except (ConfigError, ModelStoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _summary(path: Path) -> str:
    if path.name == CATALOG:
        return f"{len(Catalog.load(path).entries)} models"
    config = load_serve_config(path)
    awake, most = (sum(column) for column in zip((0, 0), *config.gpus().values(), strict=True))
    gpus = f"; GPUs: {awake:g} awake, {most:g} at most" if most else ""
    return f"{len(config.document['applications'])} applications, presets {', '.join(config.presets)}{gpus}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
