"""A preset's stages in this process: one transcriber, no alignment, no speakers, no Ray."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NoReturn, cast

from serve_app.batching import Batcher, threaded
from serve_app.errors import UnsupportedOption
from serve_app.models.transcribers.interface import Transcriber
from serve_app.options import AlignOptions, DecodeOptions, SpeakerOptions
from serve_app.quality import decode_until_good
from serve_app.stages import Audio, Stage, WindowText
from serve_app.windows import Window

if TYPE_CHECKING:
    from serve_app.blocks import Block
    from serve_app.voices import Speakers, Voices


class LocalStages:
    """`stages.Stages` over a loaded transcriber; windows are batched, and decoded until their text is good."""

    has_alignment = False
    has_diarization = False

    def __init__(self, model: Transcriber) -> None:
        self._model = model
        self._decoding: Batcher[Audio, WindowText] = Batcher(threaded(self._decode, 1), model.batch_size)
        self._detecting: Batcher[Audio, dict[str, float]] = Batcher(threaded(self._detect), model.batch_size)

    def _decode(self, key: Hashable, clips: Sequence[Audio]) -> list[WindowText]:
        options, temperature = cast(tuple[DecodeOptions, float], key)
        return self._model.transcribe(clips, options, temperature)

    def _detect(self, key: Hashable, clips: Sequence[Audio]) -> list[dict[str, float]]:
        return self._model.detect(clips)

    def replicas(self, stage: Stage) -> int:
        """Return 1: this process."""
        return 1

    def share(self, samples: Audio) -> object:
        """Return the samples: all stages are here."""
        return samples

    async def detect(self, shared: object, owner: str) -> dict[str, float]:
        """Tell the probability of each language in one window."""
        return (await self._detecting.submit(None, cast(Audio, shared), owner)).result

    async def transcribe(self, shared: object, options: DecodeOptions, owner: str) -> WindowText:
        """Decode one window."""

        async def decode(temperature: float) -> WindowText:
            timed = await self._decoding.submit((options, temperature), cast(Audio, shared), owner)
            return timed.result.run_in(timed.queue_s, timed.model_s, full=timed.full)

        return await decode_until_good(decode, options)

    async def align(self, shared: object, window: Window, text: WindowText, options: AlignOptions, owner: str) -> None:
        """Return None: there is no aligner."""

    async def embed(self, shared: object, owner: str) -> NoReturn:
        """Refuse: there is no diarizer."""
        raise _no_speakers()

    async def hear(self, shared: object, block: "Block", owner: str) -> "Voices":
        """Refuse: there is no diarizer."""
        raise _no_speakers()

    async def speakers(self, voices: "Sequence[Voices]", options: SpeakerOptions, owner: str) -> "Speakers":
        """Refuse: there is no diarizer."""
        raise _no_speakers()


def _no_speakers() -> UnsupportedOption:
    return UnsupportedOption("speakers are not told apart in this process; ask a service's preset that does")
