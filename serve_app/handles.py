"""Deployment handles behind the plain protocols: the stages as a pipeline sees them, the presets as the API does.

Ray's own exceptions end here: a dead replica becomes `ReplicaLost`, and the work is sent again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import ray
from ray import serve
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from serve_app.blocks import Block
from serve_app.config import PresetArgs
from serve_app.errors import PresetUnavailable, RayscribeError, ReplicaLost, StageFailed, UnknownPreset
from serve_app.options import AlignOptions, DecodeOptions, RequestOptions, SpeakerOptions
from serve_app.presets import PresetStatus
from serve_app.retry import again
from serve_app.stages import Audio, WindowText
from serve_app.strict import did_you_mean
from serve_app.transcript import Segment, Transcript
from serve_app.voices import Speakers, Voices
from serve_app.windows import Window

HOSTED_MODELS = ("whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")
"""OpenAI's own names, which unchanged clients send; under a preset's own path they mean that preset."""

logger = logging.getLogger("ray.serve.rayscribe")
Value = TypeVar("Value")


async def answer(response: Awaitable[Value], what: str) -> Value:
    """Await a handle's response and raise our errors for Ray's."""
    try:
        return await response
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, RayscribeError):
            raise cause from error
        raise StageFailed(f"{what} failed: {type(cause).__name__}: {cause}") from error
    except (RayActorError, ReplicaUnavailableError, ObjectLostError) as error:
        raise ReplicaLost(f"{what} lost its replica in mid-work") from error
    except BackPressureError as error:
        raise PresetUnavailable(f"{what} has too much waiting; try again later") from error
    except DeploymentUnavailableError as error:
        raise PresetUnavailable(f"{what} failed to start; see `serve status`") from error


class RayStages:
    """The stages of one preset: its own by bound handles, borrowed ones by the name of their application."""

    def __init__(self, args: PresetArgs, own: dict[str, Any]) -> None:
        self._preset = args.preset
        self._transcription = own["transcription"]
        self._alignment = own.get("alignment") or _borrowed("Alignment", args.alignment)
        self._diarization = own.get("diarization") or _borrowed("Diarization", args.diarization)
        self.has_alignment = self._alignment is not None
        self.has_diarization = self._diarization is not None

    def wake(self) -> None:
        """Call every stage once, so that sleeping ones start side by side, not one behind another."""
        for stage in filter(None, (self._transcription, self._alignment, self._diarization)):
            stage.wake.remote()

    def share(self, samples: Audio) -> object:
        """Put samples into the object store once; stages read them there without a copy."""
        return ray.put(samples)

    async def detect(self, shared: object, owner: str) -> dict[str, float]:
        """Tell the probability of each language in one window."""
        return await self._ask("transcription", self._transcription.detect.remote(shared, owner))

    async def transcribe(self, shared: object, options: DecodeOptions, owner: str) -> WindowText:
        """Decode one window."""
        return await self._ask("transcription", self._transcription.transcribe.remote(shared, options, owner))

    async def align(
        self, shared: object, window: Window, text: WindowText, options: AlignOptions, owner: str
    ) -> Sequence[Segment] | None:
        """Place a window's words in time."""
        return await self._ask("alignment", self._alignment.align.remote(shared, window, text, options, owner))

    async def embed(self, shared: object, owner: str) -> tuple[float, ...]:
        """Return the voice in a reference clip."""
        return await self._ask("diarization", self._diarization.embed.remote(shared, owner))

    async def hear(self, shared: object, block: Block, owner: str) -> Voices:
        """Find who is heard in one block."""
        return await self._ask("diarization", self._diarization.hear.remote(shared, block, owner))

    async def speakers(self, voices: Sequence[Voices], options: SpeakerOptions, owner: str) -> Speakers:
        """Tell who speaks when."""
        return await self._ask("diarization", self._diarization.speakers.remote(voices, options, owner))

    async def _ask(self, stage: str, response: Awaitable[Value]) -> Value:
        return await answer(response, f"{stage} of preset '{self._preset}'")


def _borrowed(deployment: str, args: Any) -> Any:
    return serve.get_deployment_handle(deployment, app_name=args.app) if args and args.app else None


class RayPresets:
    """Presets as applications of the same name, reached by their handles."""

    def __init__(self, names: Sequence[str], aliases: dict[str, str], wake_s: float = 300) -> None:
        self.names = list(names)
        self._aliases = aliases
        self._wake_s = wake_s
        self._asking: asyncio.Task[Any] | None = None
        self._local: Callable[[bytes, RequestOptions], Coroutine[Any, Any, Transcript]] | None = None

    @classmethod
    def of_one(
        cls, args: PresetArgs, transcribe: Callable[[bytes, RequestOptions], Coroutine[Any, Any, Transcript]]
    ) -> "RayPresets":
        """Return the one preset of its own ingress, called in place; OpenAI's model names mean it too."""
        presets = cls([args.preset], dict.fromkeys(HOSTED_MODELS, args.preset), args.limits.wake_s)
        presets._local = transcribe
        return presets

    def resolve(self, model: str | None) -> str:
        """Return the preset of a `model` field; without one, the only preset there is."""
        if model is None and len(self.names) == 1:
            return self.names[0]
        preset = self._aliases.get(model or "", model or "")
        if preset not in self.names:
            known = [*self.names, *self._aliases]
            wrong = "'model' is required" if model is None else f"no preset is named '{model}'"
            raise UnknownPreset(f"{wrong}{did_you_mean(model or '', known)}", "model")
        return preset

    async def transcribe(self, preset: str, upload: bytes, options: RequestOptions) -> Transcript:
        """Transcribe one uploaded file; raises `PresetUnavailable` when the preset finds no replica in time."""
        if self._local is not None:
            return await self._unless_stuck(preset, self._local(upload, options))
        pipeline = serve.get_app_handle(preset)
        return await self._unless_stuck(
            preset, again(lambda: answer(pipeline.transcribe.remote(upload, options), f"preset '{preset}'"))
        )

    async def _unless_stuck(self, preset: str, work: Coroutine[Any, Any, Transcript]) -> Transcript:
        """Await the work, however long it takes, but give up when a stage lacks a replica for `wake_s` on end."""
        task = asyncio.create_task(work)
        try:
            stuck_since = None
            while not (await asyncio.wait({task}, timeout=min(5.0, self._wake_s)))[0]:
                status = await self._looked_at(preset)
                now = time.monotonic()
                stuck_since = (stuck_since or now) if status.state in ("starting", "asleep") else None
                if stuck_since is not None and now - stuck_since >= self._wake_s:
                    raise no_room(preset, self._wake_s, status)
            return task.result()
        finally:
            task.cancel()

    async def _looked_at(self, preset: str) -> PresetStatus:
        """Return a preset's state; a controller that does not answer is no reason to give work up."""
        try:
            return (await self.status())[preset]
        except Exception as error:  # noqa: BLE001 - it is Ray's, of any kind
            logger.warning("the state of preset '%s' is not known just now: %s", preset, error)
            return PresetStatus("ready")

    async def status(self) -> dict[str, PresetStatus]:
        """Ask Serve's controller for the replicas of every preset; those who ask at once share an answer."""
        if self._asking is None or self._asking.done():
            # serve.status() in two threads at once fails: they undo each other's registration for pickling
            self._asking = asyncio.create_task(asyncio.to_thread(serve.status))
        applications = (await asyncio.shield(self._asking)).applications
        return {name: preset_status(applications.get(name)) for name in self.names}


def no_room(preset: str, waited_s: float, status: PresetStatus) -> PresetUnavailable:
    """Return the error of a preset that lacked a replica for too long."""
    return PresetUnavailable(
        f"preset '{preset}' found no room to start in {waited_s:.0f} s ({status.message or status.state}); "
        "it needs more CPUs or GPUs than are free: see `serve status` and `ray status`"
    )


def preset_status(application: Any) -> PresetStatus:
    """Read a preset's state off Serve's overview of its application; None where there is none."""
    if application is None:
        return PresetStatus("starting", "no application of this name is deployed yet")
    if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
        return PresetStatus("unhealthy", _reason(application))
    running = {name: stage.replica_states.get("RUNNING", 0) for name, stage in application.deployments.items()}
    if running and all(running.values()):
        return PresetStatus("ready")
    if application.status == "RUNNING" and not running.get("Pipeline"):
        return PresetStatus("asleep")
    waiting = [name for name, count in running.items() if not count]
    return PresetStatus("starting", f"waiting for {', '.join(waiting) or 'replicas'}")


def _reason(application: Any) -> str:
    """Return the application's message and, for each deployment in trouble, the last line of its traceback."""
    troubled = {
        name: stage.message.strip().splitlines()[-1]
        for name, stage in application.deployments.items()
        if stage.status in ("DEPLOY_FAILED", "UNHEALTHY") and stage.message.strip()
    }
    return " ".join([application.message, *(f"{name}: {line}" for name, line in troubled.items())])
