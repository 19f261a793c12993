"""How well the demo Whisper hears, in this process: `python -m training.evaluate_whisper [MODEL] --windows 8 10 12`.

The same voice activity detection, windows and decoding as in the service; `--whisperx` takes whisperx's own instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path

from training.heldout import Clip, clips, long_files, noisy, non_speech, unheard_synthesisers
from training.sounds import Audio
from training.whisper.decode import distance

Listener = Callable[[Audio], list[str]]
SEED = 4711


def main() -> None:
    """Print the word error rate of every test set."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate_whisper", description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=Path("demo/models/whisper"))
    parser.add_argument("--windows", nargs="+", type=float, default=[10.0], help="longest window in seconds")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--files", type=int, default=3)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--whisperx", action="store_true")
    options = parser.parse_args()
    make = through_whisperx if options.whisperx else through_service
    for seconds in options.windows:
        _evaluate(make(options.model, seconds), f"{seconds:g} s", options)


def _evaluate(listen: Listener, label: str, options: argparse.Namespace) -> None:
    sets = {
        "sentences": clips(options.seed, options.clips),
        "sentences at 15 dB": noisy(options.seed, options.clips // 2),
        "files of 2 to 5 minutes": long_files(options.seed, options.files),
        **_other_synthesisers(options.seed, options.clips // 2),
    }
    for name, samples in sets.items():
        print(f"windows of {label}, {name}: {_rate(samples, listen)}", flush=True)
    made_up = {clip.voice: heard for clip in non_speech(options.seed) if (heard := listen(clip.samples))}
    print(f"windows of {label}, no speech: {made_up or 'nothing heard'}")
    bare = through_model(options.model)
    made_up = {clip.voice: heard for clip in non_speech(options.seed) if (heard := bare(clip.samples))}
    print(f"no speech, without voice activity detection: {made_up or 'nothing heard'}")


def _other_synthesisers(seed: int, count: int) -> dict[str, Iterable[Clip]]:
    try:
        unheard = sorted(unheard_synthesisers(seed, count), key=lambda clip: clip.voice)
    except RuntimeError as error:
        print(error)
        return {}
    return {name: list(group) for name, group in groupby(unheard, key=lambda clip: clip.voice)}


def _rate(samples: Iterable[Clip], listen: Listener) -> str:
    """Word error rate, with the words and errors counted."""
    errors = words = 0
    for clip in samples:
        numbers: dict[str, int] = {}
        heard, said = (
            [numbers.setdefault(word, len(numbers)) for word in text]
            for text in (listen(clip.samples), clip.text.split())
        )
        errors, words = errors + distance(heard, said), words + len(said)
    return f"{100 * errors / max(words, 1):.1f} % ({errors} errors in {words} words)"


def through_model(path: Path) -> Listener:
    """The bare model: the whole clip, up to 30 s, as one window."""
    from serve_app.config import TranscriptionArgs
    from serve_app.models.transcribers.on_ctranslate2 import FasterWhisper as Transcriber
    from serve_app.options import DecodeOptions

    args = TranscriptionArgs(model=str(path), device="cpu", compute_type="int8", beam_size=5)
    model = Transcriber(path, args, ["en"], threads=1)
    return lambda samples: model.transcribe([samples], DecodeOptions(language="en"))[0].text.split()


def through_service(path: Path, window_s: float) -> Listener:
    """The service's own stages: silero, windows cut at silence, CTranslate2."""
    from serve_app.config import VadArgs
    from serve_app.models.vad import SpeechWindows

    find, listen = SpeechWindows(VadArgs(window_s=window_s)), through_model(path)
    return lambda samples: [word for part in find(samples) for word in listen(samples[part.start : part.stop])]


def through_whisperx(path: Path, window_s: float) -> Listener:
    """whisperx as it is, with its default voice activity detection (pyannote)."""
    import whisperx

    options = {"beam_size": 5}
    model = whisperx.load_model(str(path), "cpu", compute_type="int8", language="en", asr_options=options, threads=1)

    def listen(samples: Audio) -> list[str]:
        heard = model.transcribe(samples, batch_size=8, chunk_size=int(window_s))
        return [word for segment in heard["segments"] for word in segment["text"].split()]

    return listen


if __name__ == "__main__":
    main()
