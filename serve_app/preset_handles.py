"""The presets as the API sees them, reached by Serve's handles."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from typing import Any, Protocol, TypeVar

from ray import serve

from serve_app.config import PresetArgs
from serve_app.errors import ReplicaLost, UnknownPreset
from serve_app.events import Event, Spoken
from serve_app.facts import PresetFacts
from serve_app.listening import Upload
from serve_app.options import RequestOptions
from serve_app.parcels import Parcel, pack
from serve_app.preset_status import no_room, preset_status
from serve_app.presets import PresetStatus
from serve_app.ray_errors import answer, translated
from serve_app.retry import after, again
from serve_app.strict import did_you_mean
from serve_app.transcript import Transcript

HOSTED_MODELS = ("whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")
"""OpenAI's own names, which unchanged clients send; under a preset's own path they mean that preset."""

logger = logging.getLogger("ray.serve.rayscribe")
Value = TypeVar("Value")


class Pipelines(Protocol):
    """A preset's pipeline: the one in this process, or one of those behind a handle."""

    async def transcribe(self, parcel: Parcel, options: RequestOptions) -> Transcript:
        """Transcribe one file."""

    def stream(self, parcel: Parcel, options: RequestOptions) -> AsyncGenerator[Event]:
        """Transcribe one file and tell of it as it goes."""

    async def facts(self) -> PresetFacts:
        """Tell what the preset is made of."""


class FarPipelines:
    """The pipelines of a preset's application; the same file with the same options goes to the same one of them."""

    def __init__(self, preset: str, handle: Any = None) -> None:
        self._what = f"preset '{preset}'"
        self._handle = handle or serve.get_app_handle(preset)

    async def transcribe(self, parcel: Parcel, options: RequestOptions) -> Transcript:
        """Transcribe one file; sent again when its replica dies."""
        handle = self._handle.options(session_id=parcel.key(options))
        return await again(lambda: answer(handle.transcribe.remote(parcel, options), self._what))

    async def stream(self, parcel: Parcel, options: RequestOptions) -> AsyncGenerator[Event]:
        """Transcribe one file; sent again when its replica dies, and what was told before is not told again."""
        handle = self._handle.options(session_id=parcel.key(options), stream=True)
        told: dict[str | None, float] = {}
        attempt = 0
        while True:
            attempt += 1
            try:
                async with aclosing(self._events(handle.stream.remote(parcel, options))) as events:
                    async for event in events:
                        if isinstance(event, Spoken):
                            event = _after(told, event)
                            told |= _ends(told, event)
                        yield event
                return
            except ReplicaLost as lost:
                await after(attempt, lost)

    async def facts(self) -> PresetFacts:
        """Ask any of them what the preset is made of."""
        return await answer(self._handle.facts.remote(), self._what)

    async def _events(self, response: Any) -> AsyncGenerator[Event]:
        try:
            with translated(self._what):
                async for event in response:
                    yield event
        finally:
            response.cancel()


def _ends(told: Mapping[str | None, float], event: Spoken) -> dict[str | None, float]:
    return {each.speaker: max(each.end, told.get(each.speaker, 0.0)) for each in event.segments}


def _after(told: Mapping[str | None, float], event: Spoken) -> Spoken:
    """Leave out the segments that end no later than those told of the same speaker, or of nobody."""
    new = (segment for segment in event.segments if segment.end > told.get(segment.speaker, 0.0))
    return Spoken(tuple(new), event.language)


class RayPresets:
    """Presets as applications of the same name, or the one of its own ingress (`of_one`)."""

    def __init__(
        self,
        names: Sequence[str],
        aliases: dict[str, str],
        wake_s: float = 300,
        pipelines: Callable[[str], Pipelines] = FarPipelines,
    ) -> None:
        self.names = list(names)
        self._aliases = aliases
        self._wake_s = wake_s
        self._pipelines = cache(pipelines)  # to find one asks the controller
        self._asking: asyncio.Task[Any] | None = None

    @classmethod
    def of_one(cls, args: PresetArgs, own: Pipelines) -> "RayPresets":
        """Return the one preset of its own ingress, called in place; OpenAI's model names mean it too."""
        return cls([args.preset], dict.fromkeys(HOSTED_MODELS, args.preset), args.limits.wake_s, lambda _: own)

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

    async def transcribe(self, preset: str, upload: Upload, options: RequestOptions) -> Transcript:
        """Transcribe one file; raises `PresetUnavailable` when the preset finds no replica in time."""
        parcel = await asyncio.to_thread(pack, upload)
        return await self._unless_stuck(preset, self._pipelines(preset).transcribe(parcel, options))

    async def stream(self, preset: str, upload: Upload, options: RequestOptions) -> AsyncGenerator[Event]:
        """Transcribe one file and tell of it as it goes; raises as `transcribe` does."""
        parcel = await asyncio.to_thread(pack, upload)
        async with aclosing(self._pipelines(preset).stream(parcel, options)) as events:
            while (event := await self._unless_stuck(preset, anext(events, None))) is not None:
                yield event

    async def _unless_stuck(self, preset: str, work: Awaitable[Value]) -> Value:
        """Await the work, however long it takes, but give up when a stage lacks a replica for `wake_s` on end.

        The work does not wait for a look: while Ray's head is away, none comes to an end.
        """
        task, stuck = asyncio.ensure_future(work), asyncio.create_task(self._stuck(preset))
        try:
            await asyncio.wait({task, stuck}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise no_room(preset, self._wake_s, stuck.result())
            return task.result()
        finally:
            task.cancel()
            stuck.cancel()
            await asyncio.wait({task, stuck})

    async def _stuck(self, preset: str) -> PresetStatus:
        """Return a preset's state once a stage has lacked a replica for `wake_s` on end."""
        since = None
        while True:
            await asyncio.sleep(min(5.0, self._wake_s))
            status = await self._looked_at(preset)
            now = time.monotonic()
            since = (since or now) if status.state in ("starting", "asleep") else None
            if since is not None and now - since >= self._wake_s:
                return status

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

    async def facts(self) -> dict[str, PresetFacts]:
        """Ask the presets that are ready what they are made of; one that does not answer is left out."""
        ready = [name for name, status in (await self.status()).items() if status.state == "ready"]
        told = await asyncio.gather(*(self._pipelines(name).facts() for name in ready), return_exceptions=True)
        return {name: facts for name, facts in zip(ready, told, strict=True) if isinstance(facts, PresetFacts)}
