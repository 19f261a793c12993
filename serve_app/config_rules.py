"""What Ray's schemas cannot know of a config: how applications, presets, stages and snapshots fit together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from model_store.errors import BadReference
from model_store.publishing.catalog import Catalog
from model_store.references import Reference
from serve_app.config import AlignmentArgs, DiarizationArgs, GatewayArgs, PresetArgs, TranscriptionArgs
from serve_app.draining import longest_work_s
from serve_app.models.transcribers.registry import backend
from serve_app.strict import did_you_mean
from serve_app.yaml_source import Place, Problem

Builder = type[PresetArgs | GatewayArgs]
StageArgs = TranscriptionArgs | AlignmentArgs | DiarizationArgs

STAGES = {"transcription": "Transcription", "alignment": "Alignment", "diarization": "Diarization"}
"""A preset's stages: the key in `args` → the deployment."""

POLICY = "serve_app.autoscaling:wake_together"
"""The policy that we ship."""

KINDS = {"alignment": ("wav2vec2-ctc",), "diarization": ("pyannote-pipeline",)}
"""The kinds of snapshot, as the catalog says them, that a stage's loader reads; transcription's are its back end's."""


@dataclass(frozen=True, slots=True)
class App:
    """One application of a config. `builder` and `args` are None for other people's; `args` also when refused."""

    place: Place
    name: str
    route: Any
    deployments: Sequence[Any]
    builder: Builder | None
    args: PresetArgs | GatewayArgs | None
    policy: Any = None

    def stages(self) -> Iterator[tuple[str, StageArgs]]:
        """Return the stages of a preset's args, its own and the borrowed ones."""
        for stage in STAGES:
            if (args := getattr(self.args, stage, None)) is not None:
                yield stage, args

    def deployment(self, name: str) -> tuple[Place, Any]:
        """Return a deployment's overrides, and where they stand; None when it has none."""
        for index, deployment in enumerate(self.deployments):
            if deployment is not None and deployment.name == name:
                return (*self.place, "deployments", index), deployment
        return (*self.place, "deployments"), None


@dataclass(frozen=True, slots=True)
class Apps:
    """All applications of a config; `gpu_gb` is the memory of their GPUs when the one who checks says it."""

    all: Sequence[App]
    gpu_gb: float | None = None

    @property
    def presets(self) -> dict[str, PresetArgs]:
        """Every preset whose args are right, by the name of its application."""
        return {app.name: app.args for app in self.all if isinstance(app.args, PresetArgs)}

    @property
    def preset_names(self) -> list[str]:
        """Every application that is a preset."""
        return [app.name for app in self.all if app.builder is PresetArgs]


Rule = Callable[[Apps, Catalog | None], Iterator[Problem]]


def borrows(args: StageArgs) -> str | None:
    """Return the application whose stage is borrowed; None for a stage of one's own."""
    return getattr(args, "app", None)


def deployments_of(args: PresetArgs | GatewayArgs) -> list[str]:
    """Return the names of the deployments that the builders of `app.py` make of these args."""
    if isinstance(args, GatewayArgs):
        return ["Gateway"]
    stages = ((name, getattr(args, stage)) for stage, name in STAGES.items())
    return ["Pipeline", *(name for name, stage in stages if stage is not None and not borrows(stage))]


def names(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """A preset's application has its name, and answers at `/<preset>`, or (null) through the gateway alone."""
    for app in apps.all:
        if not isinstance(app.args, PresetArgs):
            continue
        preset = app.args.preset
        if app.name != preset:
            yield Problem((*app.place, "name"), f"must be '{preset}', as args.preset: presets are found by it")
        if app.route not in (f"/{preset}", None):
            message = f"must be /{preset}, or null to answer through the gateway alone; it is {app.route}"
            yield Problem((*app.place, "route_prefix"), message)


def deployments(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """Overrides are for deployments that the application has, and each has one set of them."""
    for app in apps.all:
        if app.args is None:
            continue
        seen: set[str] = set()
        for index, deployment in enumerate(app.deployments):
            place = (*app.place, "deployments", index, "name")
            if deployment is None:
                continue
            if deployment.name not in deployments_of(app.args):
                yield Problem(place, _no_deployment(app.args, deployment.name))
            elif deployment.name in seen:
                yield Problem(place, f"'{deployment.name}' is given twice; put all its options into one entry")
            seen.add(deployment.name)


def _no_deployment(args: PresetArgs | GatewayArgs, name: str) -> str:
    for stage, deployment in STAGES.items():
        lender = borrows(getattr(args, stage)) if getattr(args, stage, None) else None
        if name == deployment and lender:
            return f"'{name}' is borrowed from application '{lender}'; set its options there"
    return f"this application has no deployment '{name}'{did_you_mean(name, deployments_of(args))}"


def borrowed(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """A borrowed stage is another application's own, and its options are set there."""
    for app in apps.all:
        for stage, args in app.stages():
            if (lender := borrows(args)) is None:
                continue
            place = (*app.place, "args", stage)
            if message := _cannot_lend(apps, app, stage, lender):
                yield Problem((*place, "app"), message)
            for key in sorted(args.model_fields_set - {"app"}):
                yield Problem((*place, key), f"has no effect on a borrowed stage; set it in application '{lender}'")


def _cannot_lend(apps: Apps, borrower: App, stage: str, lender: str) -> str | None:
    owners = [app.name for app in apps.all for kind, args in app.stages() if kind == stage and not borrows(args)]
    if lender in owners or (lender in apps.preset_names and lender not in apps.presets):
        return None
    if lender == borrower.name:
        return f"an application cannot borrow from itself{_one_of(owners)}"
    if lender not in apps.preset_names:
        return f"no preset of this file is named '{lender}'{did_you_mean(lender, owners) if owners else ''}"
    return f"'{lender}' has no {stage} of its own{_one_of(owners)}"


def _one_of(owners: Sequence[str]) -> str:
    return f"; those that have one are: {', '.join(owners)}" if owners else "; give this one its own model"


def offered(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """A gateway offers presets that are applications of the file."""
    for app in apps.all:
        for index, preset in enumerate(app.args.presets if isinstance(app.args, GatewayArgs) else ()):
            if preset not in apps.preset_names:
                message = f"no preset of this file is named '{preset}'{did_you_mean(preset, apps.preset_names)}"
                yield Problem((*app.place, "args", "presets", index), message)


def snapshots(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """A stage's snapshots are of its kind, and for the languages they are used for."""
    for app in apps.all:
        for stage, args in app.stages():
            for keys, language, reference in _references(args):
                if message := _wrong_snapshot(reference, stage, args, language, catalog):
                    yield Problem((*app.place, "args", stage, *keys), message)


def _references(args: StageArgs) -> Iterator[tuple[Place, str | None, str]]:
    if isinstance(args, AlignmentArgs):
        for language, reference in args.models.items():
            yield ("models", language), language, reference
    elif args.model:
        yield ("model",), None, args.model


def _wrong_snapshot(
    reference: str, stage: str, args: StageArgs, language: str | None, catalog: Catalog | None
) -> str | None:
    try:
        name = Reference.parse(reference).name
    except BadReference as error:
        return f"{error.problem} {error.mend}"
    if catalog is None:
        return None
    if name not in catalog.entries:
        return f"{catalog.path.name} has no model '{name}'{did_you_mean(name, list(catalog.entries))}"
    entry = catalog.entries[name]
    if entry.kind not in (kinds := _kinds(stage, args)):
        right = ", ".join(other for other, model in catalog.entries.items() if model.kind in kinds)
        needs = f"backend {args.backend}" if isinstance(args, TranscriptionArgs) else stage
        named = f": {right}" if right else f", and {catalog.path.name} has none; add one"
        return f"'{name}' is a {entry.kind}, {needs} needs a {' or '.join(kinds)}{named}"
    if language and entry.languages and language not in entry.languages:
        return f"'{name}' is for {', '.join(entry.languages)}, not for '{language}'"
    return None


def _kinds(stage: str, args: StageArgs) -> tuple[str, ...]:
    return backend(args.backend).kinds if isinstance(args, TranscriptionArgs) else KINDS[stage]


def policies(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """An application's `autoscaling_policy` has known keys, is found, and has deployments to scale."""
    from ray.serve.config import AutoscalingPolicy

    for app in apps.all:
        if not isinstance(app.policy, dict):
            continue
        place = (*app.place, "autoscaling_policy")
        for key in app.policy.keys() - AutoscalingPolicy.model_fields:
            yield Problem((*place, key), f"unknown key{did_you_mean(key, list(AutoscalingPolicy.model_fields))}")
        if message := _not_found(str(app.policy.get("policy_function", ""))):
            yield Problem((*place, "policy_function"), message)
        if not any(map(_scaled, app.deployments)):
            yield Problem(place, "scales nothing; give a deployment an autoscaling_config")


def _scaled(deployment: Any) -> bool:
    return deployment is not None and (
        isinstance(deployment.autoscaling_config, dict) or deployment.num_replicas == "auto"
    )


def _not_found(path: str) -> str | None:
    """Return why a policy of ours is not found; other people's may be missing where a config is checked."""
    near = did_you_mean(path, [POLICY])
    if not path:
        return f"is missing; name a function, such as {POLICY}"
    if path != POLICY and (path.startswith("serve_app") or "did you mean" in near):
        return f"no policy is named '{path}'{near}"
    return None


def drained(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """A replica that is told to stop has the time to finish what it took on."""
    for app in apps.all:
        for index, deployment in enumerate(app.deployments):
            if app.args is None or deployment is None or deployment.name not in deployments_of(app.args):
                continue
            if problem := _too_little_time(deployment, app.args):
                key, message = problem
                yield Problem((*app.place, "deployments", index, key), message)


def _too_little_time(deployment: Any, args: PresetArgs | GatewayArgs) -> tuple[str, str] | None:
    taken_on, given = (_given(deployment, key) for key in ("max_ongoing_requests", "graceful_shutdown_timeout_s"))
    needed = longest_work_s(deployment.name, args, None if taken_on is None else int(taken_on))
    key = "graceful_shutdown_timeout_s"
    if given is None:
        given, key = longest_work_s(deployment.name, args), "max_ongoing_requests"
    if given >= needed:
        return None
    return key, f"a replica told to stop would be killed after {given:g} s with work that may take {needed:g} s; " + (
        f"give at least {needed:g}, or leave it out: it ends as soon as its work does"
        if key == "graceful_shutdown_timeout_s"
        else f"give graceful_shutdown_timeout_s: {needed:g} too"
    )


def _given(deployment: Any, key: str) -> float | None:
    value = getattr(deployment, key, None)
    return value if isinstance(value, int | float) else None


RULES: tuple[Rule, ...] = (names, deployments, borrowed, offered, snapshots, policies, drained)
