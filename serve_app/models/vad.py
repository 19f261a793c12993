"""Speech in audio, by the silero model that ships inside faster-whisper: neither torch nor network."""

from collections.abc import Sequence

from serve_app.config import VadArgs
from serve_app.stages import Audio
from serve_app.windows import Window, pack


class SpeechWindows:
    """Finds the windows of a file that hold speech."""

    def __init__(self, args: VadArgs) -> None:
        from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model

        get_vad_model()
        self._args = args
        self._find = get_speech_timestamps
        self._options = VadOptions(
            threshold=args.threshold,
            min_speech_duration_ms=args.min_speech_ms,
            min_silence_duration_ms=args.min_silence_ms,
            speech_pad_ms=args.pad_ms,
            max_speech_duration_s=args.window_s,
        )

    def __call__(self, audio: Audio) -> Sequence[Window]:
        """Return windows in the order of time; none for silence and noise."""
        speech = self._find(audio, self._options)
        stretches = (Window(stretch["start"], stretch["end"]) for stretch in speech)
        return list(pack(stretches, self._args.window_s, self._args.pause_s))
