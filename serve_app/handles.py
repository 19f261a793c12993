"""Deployment handles behind the plain protocol of the stages, as a pipeline sees them."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import ray
from ray import serve

from serve_app.blocks import Block
from serve_app.config import PresetArgs
from serve_app.facts import StageFacts
from serve_app.options import AlignOptions, DecodeOptions, SpeakerOptions
from serve_app.ray_errors import answer
from serve_app.routing import replicas_of
from serve_app.stages import Audio, Stage, WindowText
from serve_app.transcript import Segment
from serve_app.voices import Speakers, Voices
from serve_app.windows import Window

Value = TypeVar("Value")


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
        for stage in self._all().values():
            stage.wake.remote()

    async def facts(self) -> dict[str, StageFacts]:
        """Ask every stage what it has loaded."""
        asked = {name: self._ask(name, stage.facts.remote()) for name, stage in self._all().items()}
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    def _all(self) -> dict[str, Any]:
        stages = {
            "transcription": self._transcription,
            "alignment": self._alignment,
            "diarization": self._diarization,
        }
        return {name: stage for name, stage in stages.items() if stage is not None}

    def replicas(self, stage: Stage) -> int:
        """Return how many replicas a stage has just now; 0 while nobody knows."""
        return replicas_of(self._all()[stage])

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
    """Return the handle of another application's stage; calls wait for one that is deployed later."""
    if not (args and args.app):
        return None
    return serve.get_deployment_handle(deployment, app_name=args.app, _check_exists=False)
