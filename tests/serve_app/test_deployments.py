"""The deployments' plain classes over hand-written models: windows are cut out, languages loaded on demand."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import segment, window

from serve_app.alignment import Placing
from serve_app.blocks import Block
from serve_app.config import AlignmentArgs, DiarizationArgs, GatewayArgs, StoreArgs, TranscriptionArgs
from serve_app.deployments import Alignment, Diarization, Gateway, Transcription
from serve_app.options import AlignOptions, DecodeOptions, SpeakerOptions
from serve_app.stages import Audio, WindowText
from serve_app.transcript import Segment, SpeakerTurn
from serve_app.voices import Speakers, Voices
from serve_app.windows import SAMPLE_RATE

STORE = StoreArgs(url="nowhere", cache="nowhere")
EVERYBODY = "one request"
ENGLISH = DecodeOptions("en")


def sound(second: float, length: float = 3) -> Audio:
    """Samples that are the second at which they begin."""
    return np.full(round(length * SAMPLE_RATE), second, np.float32)


class FirstSample:
    """A transcriber that hears the first sample of a clip; at temperatures below `fails_below` it is not sure."""

    def __init__(self, batch_size: int = 4, fails_below: float = 0) -> None:
        self.batch_size, self.fails_below = batch_size, fails_below
        self.batches: list[tuple[DecodeOptions, float, int]] = []

    def transcribe(self, clips: Sequence[Audio], options: DecodeOptions, temperature: float) -> list[WindowText]:
        self.batches.append((options, temperature, len(clips)))
        sure = -0.1 if temperature >= self.fails_below else -3.0
        return [
            WindowText(f"{clip[0]:g}", options.language or "en", temperature=temperature, avg_logprob=sure)
            for clip in clips
        ]

    def detect(self, clips: Sequence[Audio]) -> list[dict[str, float]]:
        return [{"en": 0.2, "de": float(clip[0])} for clip in clips]


class Aligner:
    """An aligner that returns a window as one segment, marked with its language and options."""

    batch_size = 3

    def __init__(self, language: str, batches: list[int]) -> None:
        self._language, self._batches = language, batches

    def align(self, batch: Sequence[Placing], options: AlignOptions) -> list[list[Segment]]:
        self._batches.append(len(batch))
        return [
            [segment(f"{self._language} {each.clip[0]:g} {each.text.text} {options.chars}", 0, 1)] for each in batch
        ]

    def close(self) -> None:
        self._batches.append(-1)


class Diarizer:
    """A diarizer that hears one speaker, named after what was asked."""

    def hear(self, block: Block, audio: Audio) -> Voices:
        return Voices(block.start, audio[:1].reshape(1, 1, 1), np.zeros((1, 1, 1), np.float32))

    def embed(self, audio: Audio) -> Audio:
        return audio[:2]

    def turns(self, voices: Sequence[Voices], options: SpeakerOptions) -> Speakers:
        return Speakers((SpeakerTurn(0, float(len(voices)), f"of {options.num_speakers}"),))


def transcription(model: FirstSample) -> Transcription:
    return Transcription(TranscriptionArgs(model="m"), STORE, lambda args, store: model)


@pytest.mark.parametrize("device", [None, "cpu"])
async def test_every_stage_tells_where_it_runs_else_where_it_should(device: str | None) -> None:
    def placed(model: Any) -> Any:
        if device:
            model.device = device
        return model

    stages: list[Any] = [
        Transcription(TranscriptionArgs(model="m", device="cuda"), STORE, lambda args, store: placed(FirstSample())),
        Alignment(
            AlignmentArgs(models={"en": "m"}, device="cuda"),
            STORE,
            lambda args, store, language: placed(Aligner("", [])),
        ),
        Diarization(DiarizationArgs(model="m", device="cuda"), STORE, lambda args, store: placed(Diarizer())),
    ]
    assert {(await stage.facts()).device for stage in stages} == {device or "cuda"}


async def test_transcription_decodes_windows_in_shared_batches_of_the_models_size() -> None:
    model = FirstSample()
    stage = transcription(model)
    texts = await asyncio.gather(*(stage.transcribe(sound(i), ENGLISH, EVERYBODY) for i in range(9)))
    assert [text.text for text in texts] == [f"{i}" for i in range(9)]
    assert [count for *_, count in model.batches] == [4, 4, 1]
    assert all(text.queue_s >= 0 and text.model_s > 0 for text in texts)
    assert [text.batch_full for text in texts] == [True] * 8 + [False]


async def test_the_tuner_knows_what_is_at_work_and_its_batch_size_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    in_use: list[int] = []

    class Tuner:
        def __init__(self, calibration: object, apply: Callable[[int], None]) -> None:
            self.calibration, self.apply, self.at_work = calibration, apply, 0

        @contextmanager
        def in_use(self) -> Iterator[None]:
            self.at_work += 1
            yield
            in_use.append(self.at_work)

    monkeypatch.setattr("serve_app.deployments.Tuner", Tuner)
    monkeypatch.setattr("serve_app.deployments.pending", lambda model: ("to be measured", model))
    model = FirstSample()
    stage = transcription(model)
    tuner: Any = stage._tuner
    assert tuner.calibration == ("to be measured", model)
    tuner.apply(2)
    await asyncio.gather(*(stage.transcribe(sound(i), ENGLISH, EVERYBODY) for i in range(4)))
    assert [count for *_, count in model.batches] == [2, 2]
    await stage.detect(sound(1), EVERYBODY)
    assert in_use == [4, 4, 4, 4, 5]


@pytest.mark.parametrize(("device", "beside"), [("cuda", 4), ("cpu", None)])
def test_a_batch_beside_another_is_a_quarter_on_a_gpu_also_after_a_change(device: str, beside: int | None) -> None:
    args = TranscriptionArgs(model="m", device="cuda")
    model: Any = FirstSample(batch_size=8)
    model.device = device
    stage = Transcription(args, STORE, lambda args, store: model)
    assert stage._batcher.beside == (beside and 2)
    stage._resize(16)
    assert stage._batcher.beside == beside


@pytest.mark.parametrize(("device", "lanes"), [("cuda", 1), ("cpu", 2)])
def test_diarization_has_one_lane_on_a_gpu(device: str, lanes: int) -> None:
    model: Any = Diarizer()
    model.device = device
    stage = Diarization(DiarizationArgs(model="m", device="cuda"), STORE, lambda args, store: model)
    assert len(stage._batcher._lanes) == lanes


async def test_transcription_never_mixes_options() -> None:
    model = FirstSample()
    stage = transcription(model)
    options = [DecodeOptions("en"), DecodeOptions("de"), DecodeOptions("en", hotwords="Ray")]
    texts = await asyncio.gather(*(stage.transcribe(sound(0), each, EVERYBODY) for each in options * 2))
    assert [text.language for text in texts] == ["en", "de", "en"] * 2
    assert sorted(count for *_, count in model.batches) == [2, 2, 2]


@pytest.mark.parametrize(("beam", "together"), [(5, [8]), (10, [4, 4]), (16, [2, 2, 2, 2]), (1, [8])])
async def test_a_wider_beam_than_the_presets_is_decoded_in_smaller_parts(beam: int, together: list[int]) -> None:
    model = FirstSample(batch_size=8)
    stage = transcription(model)
    options = DecodeOptions("en", beam_size=beam)
    texts = await asyncio.gather(*(stage.transcribe(sound(i), options, EVERYBODY) for i in range(8)))
    assert [count for *_, count in model.batches] == together
    assert [text.text for text in texts] == [f"{i}" for i in range(8)]


async def test_the_widest_beam_still_has_a_window_at_a_time() -> None:
    model = FirstSample(batch_size=1)
    await transcription(model).transcribe(sound(1), DecodeOptions("en", beam_size=16), EVERYBODY)
    assert [count for *_, count in model.batches] == [1]


class Unsure(FirstSample):
    """A transcriber that is sure of a clip from a temperature on, by the clip's first sample; of others at once."""

    def __init__(self, sure_from: dict[int, float]) -> None:
        super().__init__(batch_size=8)
        self.sure_from = sure_from
        self.heard: list[tuple[float, list[int]]] = []

    def transcribe(self, clips: Sequence[Audio], options: DecodeOptions, temperature: float) -> list[WindowText]:
        seconds = [int(clip[0]) for clip in clips]
        self.heard.append((temperature, seconds))
        return [
            WindowText("", "en", temperature=temperature, avg_logprob=-0.1 if sure else -3.0)
            for sure in (temperature >= self.sure_from.get(second, 0) for second in seconds)
        ]


async def test_what_fails_the_gate_is_decoded_again_together_at_the_next_temperature() -> None:
    model = Unsure({1: 0.4, 3: 0.2, 4: 0.4})
    stage = transcription(model)
    texts = await asyncio.gather(*(stage.transcribe(sound(i), ENGLISH, EVERYBODY) for i in range(5)))
    assert model.heard == [(0.0, [0, 1, 2, 3, 4]), (0.2, [1, 3, 4]), (0.4, [1, 4])]
    assert [text.temperature for text in texts] == [0.0, 0.4, 0.0, 0.2, 0.4]
    assert [text.suspect for text in texts] == [False] * 5


async def transcription_of(model: FirstSample, second: int) -> WindowText:
    return await transcription(model).transcribe(sound(second), ENGLISH, EVERYBODY)


async def test_what_fails_at_every_temperature_comes_back_suspect() -> None:
    text = await transcription_of(FirstSample(fails_below=2), 1)
    assert text.suspect
    assert text.text == "1"


async def test_languages_are_heard_window_by_window() -> None:
    stage = transcription(FirstSample())
    assert await stage.detect(sound(0.5), EVERYBODY) == {"en": 0.2, "de": 0.5}


def alignment(loaded: list[str], batches: list[int], **args: Any) -> Alignment:
    def load(args: AlignmentArgs, store: StoreArgs, language: str) -> Aligner:
        loaded.append(language)
        return Aligner(language, batches)

    return Alignment(AlignmentArgs(models={"en": "a@1", "de": "b@1", "fr": "c@1"}, **args), STORE, load)


async def test_alignment_loads_its_first_language_at_once_and_others_when_they_are_heard() -> None:
    loaded: list[str] = []
    batches: list[int] = []
    stage = alignment(loaded, batches)
    assert loaded == ["en"]
    ja, plain = WindowText("ja", "de"), AlignOptions()
    german = await asyncio.gather(*(stage.align(sound(i), window(i, 9), ja, plain, EVERYBODY) for i in (2, 3)))
    assert [each[0].text for each in german if each] == ["de 2 ja False", "de 3 ja False"]
    english = await stage.align(sound(4), window(4, 9), WindowText("yes", "en"), AlignOptions(chars=True), EVERYBODY)
    assert english == [segment("en 4 yes True", 0, 1)]
    assert loaded == ["en", "de"]
    assert batches == [2, 1]


async def test_alignment_keeps_as_many_languages_as_told() -> None:
    loaded: list[str] = []
    batches: list[int] = []
    stage = alignment(loaded, batches, keep_loaded=1)
    for language in ("en", "de", "en"):
        await stage.align(sound(1), window(0, 1), WindowText("x", language), AlignOptions(), EVERYBODY)
    assert loaded == ["en", "de", "en"]
    assert batches == [1, 1, -1, 1, -1] or batches == [1, -1, 1, -1, 1]


async def test_alignment_says_when_it_does_not_know_a_language() -> None:
    stage = alignment([], [])
    assert await stage.align(sound(0), window(0, 1), WindowText("ei", "fi"), AlignOptions(), EVERYBODY) is None


async def test_diarization_hears_blocks_and_voices_and_tells_speakers_at_last() -> None:
    stage = Diarization(DiarizationArgs(model="m"), STORE, lambda args, store: Diarizer())
    blocks = [Block(i * 60, i * 60 + 70, False) for i in range(3)]
    voices = await asyncio.gather(*(stage.hear(sound(i), block, EVERYBODY) for i, block in enumerate(blocks)))
    assert [(each.first, each.scores.item()) for each in voices] == [(0, 0), (60, 1), (120, 2)]
    assert await stage.embed(sound(7), EVERYBODY) == (7.0, 7.0)
    found = await stage.speakers(voices, SpeakerOptions(2), EVERYBODY)
    assert found.turns == (SpeakerTurn(0, 3.0, "of 2"),)


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


@pytest.mark.parametrize(("workers", "warned"), [(1, False), (2, True)])
def test_nodes_are_those_that_can_hold_a_gateway(
    workers: int, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """KubeRay's head has no CPUs, and a pod that is gone is not alive."""
    head, gone = {"Alive": True, "Resources": {"node:__internal_head__": 1.0}}, {"Alive": False, "Resources": {}}
    worker = {"Alive": True, "Resources": {"CPU": 16.0}}
    monkeypatch.setattr("ray.nodes", lambda: [head, gone, *[worker] * workers])
    args = GatewayArgs.model_validate({"presets": ["fast"], "jobs": {"folder": str(tmp_path)}})
    Gateway(args).__serve_build_asgi_app__()
    assert ("the cluster has" in caplog.text) == warned
