"""Speech by pyannote's segmentation model, as whisperx finds it by default: the weights lie in whisperx itself."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from serve_app.config import VadArgs
from serve_app.models.environment import go_offline
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE, Window

LOOK_AHEAD_S = 5.0
"""The model hears 5 s at a time, and averages what it hears; before the end of the audio it has less to average."""
STEP = SAMPLE_RATE // 2
"""Samples from one such hearing to the next."""
OFFSET = 0.363
"""whisperx's default."""


def find_speech(audio: Audio, options: VadArgs) -> list[Window]:
    """Return stretches of speech, cut by whisperx's own `Binarize` where the model is least sure, and padded."""
    import torch
    from whisperx.vads.pyannote import Binarize

    longest_s = options.window_s - 2 * options.pad_ms / 1000
    offset = min(OFFSET, options.onset) if options.offset is None else options.offset
    scores = load()({"waveform": torch.from_numpy(audio[None].copy()), "sample_rate": SAMPLE_RATE})
    found = Binarize(options.onset, offset, max_duration=longest_s)(scores).get_timeline()
    speech = [Window(int(it.start * SAMPLE_RATE), min(int(it.end * SAMPLE_RATE), len(audio))) for it in found]
    joined = _joined(speech, options.min_silence_ms * SAMPLE_RATE // 1000, int(longest_s * SAMPLE_RATE))
    shortest = options.min_speech_ms * SAMPLE_RATE // 1000
    return _padded([it for it in joined if it.stop - it.start > shortest], options.pad_ms * 16, len(audio))


@cache
def load() -> Any:
    """Return whisperx's model, loaded once in a process, on the CPU; it is never fetched."""
    go_offline()
    from whisperx.vads.pyannote import load_vad_model

    return load_vad_model("cpu")


def _joined(speech: Sequence[Window], silence: int, longest: int) -> Iterator[Window]:
    """Join stretches with less than so many samples of silence between them, up to the longest."""
    before: Window | None = None
    for stretch in speech:
        if before and stretch.start - before.stop < silence and stretch.stop - before.start <= longest:
            stretch = Window(before.start, stretch.stop)
        elif before:
            yield before
        before = stretch
    if before:
        yield before


def _padded(speech: Sequence[Window], pad: int, length: int) -> list[Window]:
    """Widen stretches on both sides, neighbours at most to the middle between them."""
    if not speech:
        return []
    gaps = [after.start - before.stop for before, after in pairwise(speech)]
    room = [2 * speech[0].start, *gaps, 2 * (length - speech[-1].stop)]
    sides = [min(pad, gap // 2) for gap in room]
    return [
        Window(it.start - left, it.stop + right) for it, left, right in zip(speech, sides[:-1], sides[1:], strict=True)
    ]
