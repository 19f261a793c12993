"""The deployments' plain classes over hand-written models: windows are cut out, languages loaded on demand."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from fakes import segment, window

from serve_app.config import AlignmentArgs, DiarizationArgs, StoreArgs, TranscriptionArgs
from serve_app.deployments import Alignment, Diarization, Transcription
from serve_app.options import DecodeOptions, SpeakerOptions
from serve_app.stages import Audio, WindowText
from serve_app.transcript import Segment, SpeakerTurn
from serve_app.windows import SAMPLE_RATE, Window

STORE = StoreArgs(url="nowhere", cache="nowhere")
AUDIO: Audio = np.repeat(np.arange(60, dtype=np.float32), SAMPLE_RATE)
"""A minute whose samples are their own second."""


class FirstSample:
    """A transcriber that hears the first and the last second of a clip."""

    def __init__(self) -> None:
        self.batches: list[tuple[DecodeOptions, int]] = []

    def transcribe(self, clips: Sequence[Audio], options: DecodeOptions) -> list[WindowText]:
        self.batches.append((options, len(clips)))
        return [WindowText(f"{clip[0]:g} {clip[-1]:g}", options.language or "en") for clip in clips]


class Aligner:
    """An aligner that returns a window as one segment, marked with its language."""

    def __init__(self, language: str) -> None:
        self._language = language

    def align(self, clip: Audio, window: Window, text: WindowText) -> list[Segment]:
        return [segment(f"{self._language} {clip[0]:g} {text.text}", window.start_s, window.stop_s)]


class Diarizer:
    """A diarizer that hears one speaker, named after what was asked."""

    def diarize(self, audio: Audio, options: SpeakerOptions) -> list[SpeakerTurn]:
        return [SpeakerTurn(0.0, len(audio) / SAMPLE_RATE, f"of {options.num_speakers}")]


async def test_transcription_decodes_the_windows_samples_in_shared_batches() -> None:
    model = FirstSample()
    stage = Transcription(TranscriptionArgs(model="m", batch_size=4), STORE, lambda args, store: model)
    english = DecodeOptions("en")
    texts = await asyncio.gather(*(stage.transcribe(AUDIO, window(i, i + 3), english) for i in range(9)))
    assert [text.text for text in texts] == [f"{i} {i + 2}" for i in range(9)]
    assert [count for _, count in model.batches] == [4, 4, 1]
    assert all(text.queue_s >= 0 and text.model_s > 0 for text in texts)


async def test_transcription_never_mixes_options() -> None:
    model = FirstSample()
    stage = Transcription(TranscriptionArgs(model="m"), STORE, lambda args, store: model)
    options = [DecodeOptions("en"), DecodeOptions("de"), DecodeOptions("en", hotwords="Ray")]
    texts = await asyncio.gather(*(stage.transcribe(AUDIO, window(0, 1), each) for each in options * 2))
    assert [text.language for text in texts] == ["en", "de", "en"] * 2
    assert sorted(count for _, count in model.batches) == [2, 2, 2]


async def test_alignment_loads_its_first_language_at_once_and_others_when_they_are_heard() -> None:
    loaded: list[str] = []

    def load(args: AlignmentArgs, store: StoreArgs, language: str) -> Aligner:
        loaded.append(language)
        return Aligner(language)

    stage = Alignment(AlignmentArgs(models={"en": "a@1", "de": "b@1"}), STORE, load)
    assert loaded == ["en"]
    german = await asyncio.gather(*(stage.align(AUDIO, window(i, 9), WindowText("ja", "de")) for i in (2, 3)))
    assert [each[0].text for each in german if each] == ["de 2 ja", "de 3 ja"]
    english = await stage.align(AUDIO, window(4, 9), WindowText("yes", "en"))
    assert english == [segment("en 4 yes", 4, 9)]
    assert loaded == ["en", "de"]


async def test_alignment_says_when_it_does_not_know_a_language() -> None:
    stage = Alignment(AlignmentArgs(models={"en": "a@1"}), STORE, lambda args, store, language: Aligner(language))
    assert await stage.align(AUDIO, window(0, 1), WindowText("ei", "fi")) is None


async def test_diarization_hears_the_whole_file() -> None:
    stage = Diarization(DiarizationArgs(model="m"), STORE, lambda args, store: Diarizer())
    assert await stage.diarize(AUDIO, SpeakerOptions(2)) == [SpeakerTurn(0.0, 60.0, "of 2")]


@pytest.mark.parametrize("stage", [Transcription, Alignment, Diarization])
def test_a_model_that_cannot_be_loaded_fails_the_replica(stage: type) -> None:
    args = {
        Transcription: TranscriptionArgs(model="m"),
        Alignment: AlignmentArgs(models={"en": "m"}),
        Diarization: DiarizationArgs(model="m"),
    }[stage]

    def load(*given: object) -> object:
        raise FileNotFoundError("no such snapshot")

    with pytest.raises(FileNotFoundError, match="no such snapshot"):
        stage(args, STORE, load)
