"""What Ray's schemas cannot know of a config: how applications, presets, stages, snapshots and GPUs fit together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from model_store.errors import BadReference
from model_store.publishing.catalog import Catalog
from model_store.references import Reference
from serve_app.config import AlignmentArgs, DiarizationArgs, GatewayArgs, PresetArgs, TranscriptionArgs
from serve_app.strict import did_you_mean
from serve_app.yaml_source import Place, Problem

Builder = type[PresetArgs | GatewayArgs]
StageArgs = TranscriptionArgs | AlignmentArgs | DiarizationArgs

STAGES = {"transcription": "Transcription", "alignment": "Alignment", "diarization": "Diarization"}
"""A preset's stages: the key in `args` → the deployment."""

KINDS = {"transcription": "whisper-ct2", "alignment": "wav2vec2-ctc", "diarization": "pyannote-pipeline"}
"""The kind of snapshot, as the catalog says it, that a stage's loader reads."""


@dataclass(frozen=True, slots=True)
class App:
    """One application of a config. `builder` and `args` are None for other people's; `args` also when refused."""

    place: Place
    name: str
    route: Any
    deployments: Sequence[Any]
    builder: Builder | None
    args: PresetArgs | GatewayArgs | None

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
    """All applications of a config."""

    all: Sequence[App]

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


def devices(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """GPUs are reserved by the stages that use them, and by no others."""
    for app in apps.all:
        if app.args is None:
            continue
        stages = {STAGES[stage]: (stage, args) for stage, args in app.stages() if not borrows(args)}
        for name in deployments_of(app.args):
            place, deployment = app.deployment(name)
            gpus = gpu_share(deployment)
            if name not in stages:
                if gpus:
                    yield Problem((*place, "ray_actor_options", "num_gpus"), f"{name} holds no model; leave it out")
                continue
            stage, args = stages[name]
            if args.device == "cuda" and not gpus:
                message = f"cuda, but no GPU is reserved; give deployments[{name}] ray_actor_options: {{num_gpus: …}}"
                yield Problem((*app.place, "args", stage, "device"), message)
            if args.device == "cpu" and gpus:
                message = f"reserves {gpus:g} GPU for a stage whose args.{stage}.device is cpu; make one fit the other"
                yield Problem((*place, "ray_actor_options", "num_gpus"), message)


def gpu_share(deployment: Any) -> float:
    """Return the GPUs that one replica of a DeploymentSchema reserves."""
    return float(getattr(getattr(deployment, "ray_actor_options", None), "num_gpus", None) or 0)


def snapshots(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """A stage's snapshots are of its kind, and for the languages they are used for."""
    for app in apps.all:
        for stage, args in app.stages():
            for keys, language, reference in _references(args):
                if message := _wrong_snapshot(reference, stage, language, catalog):
                    yield Problem((*app.place, "args", stage, *keys), message)


def _references(args: StageArgs) -> Iterator[tuple[Place, str | None, str]]:
    if isinstance(args, AlignmentArgs):
        for language, reference in args.models.items():
            yield ("models", language), language, reference
    elif args.model:
        yield ("model",), None, args.model


def _wrong_snapshot(reference: str, stage: str, language: str | None, catalog: Catalog | None) -> str | None:
    try:
        name = Reference.parse(reference).name
    except BadReference as error:
        return f"{error.problem} {error.mend}"
    if catalog is None:
        return None
    if name not in catalog.entries:
        return f"{catalog.path.name} has no model '{name}'{did_you_mean(name, list(catalog.entries))}"
    entry = catalog.entries[name]
    if entry.kind != KINDS[stage]:
        right = [other for other, model in catalog.entries.items() if model.kind == KINDS[stage]]
        return f"'{name}' is a {entry.kind}, {stage} needs a {KINDS[stage]}: {', '.join(right)}"
    if language and entry.languages and language not in entry.languages:
        return f"'{name}' is for {', '.join(entry.languages)}, not for '{language}'"
    return None


RULES: tuple[Rule, ...] = (names, deployments, borrowed, offered, devices, snapshots)
