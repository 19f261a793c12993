"""Speech in audio as it comes: silero, which ships inside faster-whisper (no torch), or pyannote, inside whisperx."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from serve_app.config import VadArgs
from serve_app.models.environment import go_offline, import_part
from serve_app.stages import Audio
from serve_app.tape import Piece, Tape
from serve_app.windows import SAMPLE_RATE, Packer, Window

FIRST = 30 * SAMPLE_RATE
"""The first chunk is short, so that the first text comes early …"""
LONGEST = 120 * SAMPLE_RATE
"""… and later ones grow to this."""
CONTEXT = 5 * SAMPLE_RATE
"""Heard again before each later chunk: silero remembers, and comes to the same opinion only after a while."""


@dataclass(frozen=True, slots=True)
class Detector:
    """How a model is to be asked: the speech of some audio, padded, in order; its frame and how far it looks ahead."""

    find: Callable[[Audio], list[Window]]
    frame: int
    look_ahead: int


class SpeechFinder:
    """The model that tells speech from all else, loaded; several streams may use it at once."""

    def __init__(self, args: VadArgs) -> None:
        self._args = args
        self.stream()

    def stream(self, options: VadArgs | None = None) -> "SpeechStream":
        """Begin a file, with options of its own or those of the preset."""
        options = options or self._args
        return SpeechStream(silero(options) if options.method == "silero" else pyannote(options), options)


def silero(options: VadArgs) -> Detector:
    """Return faster-whisper's `get_speech_timestamps` with these options."""
    go_offline()
    vad = import_part("faster_whisper.vad")  # a pipeline may be where there is no CTranslate2
    vad.get_vad_model()
    settings = vad.VadOptions(
        threshold=options.onset,
        neg_threshold=options.offset,
        min_speech_duration_ms=options.min_speech_ms,
        min_silence_duration_ms=options.min_silence_ms,
        speech_pad_ms=options.pad_ms,
        max_speech_duration_s=options.window_s,
    )

    def find(audio: Audio) -> list[Window]:
        return [Window(stretch["start"], stretch["end"]) for stretch in vad.get_speech_timestamps(audio, settings)]

    return Detector(find, frame=512, look_ahead=1600)


def pyannote(options: VadArgs) -> Detector:
    """Return whisperx's voice activity detection with these options; imports torch."""
    from serve_app.models import vad_pyannote

    vad_pyannote.load()
    look_ahead = int(vad_pyannote.LOOK_AHEAD_S * SAMPLE_RATE)
    return Detector(lambda audio: vad_pyannote.find_speech(audio, options), vad_pyannote.STEP, look_ahead)


class SpeechStream:
    """One file's windows, as its pieces come; a gap between pieces closes a window, so that none reaches across.

    The model hears chunks. Of each, the speech that could still grow is heard again with the next one, so that windows
    are those of the whole file, but for a frame or so near the seams; a file of one chunk is heard at once. Into what
    pieces a file is split changes nothing. Memory: four minutes of samples (a chunk, the speech that may still grow,
    the context before it, the open window, a piece), 15 MB, and the model's own while it hears a chunk.
    """

    def __init__(self, detector: Detector, options: VadArgs) -> None:
        self._detector = detector
        speech_ms = 2 * options.pad_ms + options.min_speech_ms
        self._unsure = detector.look_ahead + speech_ms * SAMPLE_RATE // 1000
        self._packer = Packer(options.window_s, options.pause_s)
        self._tape = Tape()
        self._chunk = FIRST
        self._restart(0)

    def _restart(self, at: int) -> None:
        """Forget all before a sample: `begin` is where the model hears on, `settled` where unknown speech may begin."""
        self._run = self._begin = self._settled = self._heard = at

    def feed(self, piece: Piece) -> list[tuple[Window, Audio]]:
        """Take the next piece; return the windows that are certain by now, in order, with their samples."""
        found = []
        if piece.start != self._tape.stop:
            found = self.close()
            self._restart(piece.start)
        self._tape.add(piece)
        while self._tape.stop - self._heard > self._chunk:
            found += self._hear(self._heard + self._chunk)
        return found

    @property
    def horizon(self) -> int:
        """The sample before which no window will begin that is not certain yet."""
        open_window = self._packer.open
        return open_window.start if open_window else max(self._settled, self._begin)

    def close(self) -> list[tuple[Window, Audio]]:
        """Return what is left, once no piece follows."""
        windows = [*self._packed(self._speech(self._tape.stop)), *self._packer.close()]
        self._restart(self._tape.stop)
        return self._cut_out(windows)

    def _hear(self, stop: int) -> list[tuple[Window, Audio]]:
        speech = self._speech(stop)
        certain = list(takewhile(lambda stretch: stretch.stop <= stop - self._unsure, speech))
        growing = speech[len(certain)].start if len(certain) < len(speech) else stop - self._unsure
        self._begin = self._seam(certain, growing)
        self._settled = max(self._settled, certain[-1].stop) if certain else self._settled
        self._heard = stop
        self._chunk = min(max(FIRST, stop - self._run), LONGEST)
        return self._cut_out([*self._packed(certain), *self._packer.settle(max(self._settled, self._begin))])

    def _speech(self, stop: int) -> list[Window]:
        """Return the speech that is not settled yet."""
        if stop == self._begin:
            return []
        found = self._detector.find(self._tape.read(self._begin, stop))
        placed = (Window(self._begin + stretch.start, self._begin + stretch.stop) for stretch in found)
        settled = self._settled
        return [Window(max(it.start, settled), it.stop) for it in placed if it.start + it.stop > 2 * settled]

    def _seam(self, certain: Sequence[Window], growing: int) -> int:
        """Return from where the model hears on: some silence before what grows, at the beginning of a frame."""
        seam = growing - CONTEXT
        seam = min([seam, *(stretch.start for stretch in certain if stretch.start <= seam < stretch.stop)])
        return max(self._begin, seam - (seam - self._run) % self._detector.frame)

    def _packed(self, speech: Iterable[Window]) -> Iterator[Window]:
        for stretch in speech:
            yield from self._packer.add(stretch)

    def _cut_out(self, windows: Sequence[Window]) -> list[tuple[Window, Audio]]:
        found = [(window, self._tape.read(window.start, window.stop)) for window in windows]
        open_window = self._packer.open
        self._tape.forget(min(self._begin, open_window.start) if open_window else self._begin)
        return found


class SpeechWindows:
    """The windows of audio that is held whole, as a stream of it finds them."""

    def __init__(self, args: VadArgs) -> None:
        self._finder = SpeechFinder(args)

    def __call__(self, audio: Audio) -> list[Window]:
        """Return windows in the order of time; none for silence and noise."""
        stream = self._finder.stream()
        return [window for window, _ in [*stream.feed(Piece(0, audio)), *stream.close()]]
