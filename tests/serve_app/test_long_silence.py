"""Long silence and endless audio, from the file to the words: the real decoder, VAD, models and pipeline."""

import asyncio
from collections.abc import Sequence
from io import SEEK_END, SEEK_SET, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeStages, silence
from sounds import wav

from serve_app.alignment import Placing
from serve_app.config import AlignmentArgs, TranscriptionArgs, VadArgs
from serve_app.errors import AudioTooLong
from serve_app.listening import Listener
from serve_app.local_stages import LocalStages
from serve_app.models.aligner import Aligner
from serve_app.models.audio import decode, pieces, stated_length
from serve_app.models.transcribers.on_ctranslate2 import FasterWhisper
from serve_app.models.vad import SpeechFinder
from serve_app.options import AlignOptions, DecodeOptions, RequestOptions
from serve_app.pipeline import PresetPipeline
from serve_app.stages import Audio, Stages, WindowText
from serve_app.transcript import Segment
from serve_app.windows import Window

ENGLISH = RequestOptions(DecodeOptions(language="en"))
PAUSE_S = 600
TOLERANCE_S = 0.1


class AligningStages(LocalStages):
    """The demo transcriber and aligner in this process; `shared` windows were transcribed, `aligned` ones aligned."""

    has_alignment = True

    def __init__(self, models: Path) -> None:
        transcriber = TranscriptionArgs(model="demo-whisper", device="cpu", compute_type="int8", batch_size=4)
        super().__init__(FasterWhisper(models / "whisper", transcriber, ["en"], 1))
        self._aligner = Aligner(models / "align", AlignmentArgs(models={"en": "demo-align"}, device="cpu"), "en", 1)
        self.shared: list[Audio] = []
        self.aligned: list[Window] = []

    def share(self, samples: Audio) -> object:
        self.shared.append(samples)
        return samples

    async def align(
        self, shared: object, window: Window, text: WindowText, options: AlignOptions, owner: str
    ) -> Sequence[Segment]:
        assert isinstance(shared, np.ndarray)
        self.aligned.append(window)
        return self._aligner.align([Placing(shared, window, text)], options)[0]


@pytest.fixture(scope="module")
def stages(demo_models: Path) -> AligningStages:
    return AligningStages(demo_models)


def pipeline(stages: Stages, longest_s: float = float("inf")) -> PresetPipeline:
    finder = SpeechFinder(VadArgs())
    listener = Listener(
        lambda upload, options: pieces(upload, longest_s, options.clips),
        lambda options: finder.stream(),
        stated_length,
    )
    return PresetPipeline(stages, listener.listen, decode)


async def test_ten_minutes_of_silence_between_two_sentences_cost_no_word_and_make_none(
    stages: AligningStages, sample: Any
) -> None:
    said = sample("one_sentence")
    speech = decode(said.path.read_bytes())
    transcript = await pipeline(stages).run(wav(np.concatenate([speech, silence(PAUSE_S), speech])), ENGLISH)
    later_s = said.reference["duration"] + PAUSE_S
    assert [word.text for word in transcript.words] == said.words * 2
    starts = [word["start"] for word in said.reference["words"]]
    expected = [*starts, *(later_s + start for start in starts)]
    assert [word.start for word in transcript.words] == pytest.approx(expected, abs=TOLERANCE_S)
    assert len(stages.shared) == len(stages.aligned) == 2
    assert stages.aligned[0].stop_s < said.reference["duration"] + 1
    assert stages.aligned[1].start_s > later_s - 1
    assert transcript.duration == pytest.approx(later_s + said.reference["duration"], abs=0.01)
    assert transcript.warnings == ()


class Endless(BytesIO):
    """A wav file that says it has no end, as what comes from a live source does, and has none: silence for ever."""

    HEADER = wav(silence(0))[:-4] + b"\xff" * 4
    MOST = 10_000_000
    """Bytes, five minutes: whoever reads on will never stop."""

    def __init__(self) -> None:
        super().__init__(self.HEADER)

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        at = self.tell()
        assert at < self.MOST, "what has no end is read on and on"
        found = self.HEADER[at : at + size].ljust(size, b"\0")
        self.seek(at + size)
        return found

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        return super().seek(1 << 40) if whence == SEEK_END else super().seek(offset, whence)


async def test_what_never_ends_is_cut_by_the_limit_that_the_error_names() -> None:
    stages = FakeStages()
    with pytest.raises(AudioTooLong, match=r"longer than the 60 s .* raise limits\.max_duration_s") as caught:
        await asyncio.wait_for(pipeline(stages, 60).run(Endless(), ENGLISH), 20)
    assert (caught.value.param, stages.begun) == ("file", [])
