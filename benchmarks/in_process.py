"""whisperx in this process, the peer: the same snapshots, threads, windows and beam, by whisperx's own calls."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from model_store import NodeCache, fetch, open_store
from serve_app.config import StoreArgs, VadArgs
from serve_app.models.environment import go_offline
from serve_app.models.vad import SpeechWindows
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE


class WhisperX:
    """transcribe, align, diarize, one after the other, as whisperx's README shows."""

    def __init__(self, beam_size: int, threads: int, vad: VadArgs | None, speakers: bool) -> None:
        go_offline()
        import nltk
        import torch
        import whisperx
        from whisperx.diarize import DiarizationPipeline

        torch.set_num_threads(threads)
        aligner = _path("demo-align")
        nltk.data.path.insert(0, _copied(aligner / "nltk_data"))
        options = {"beam_size": beam_size}
        own_vad = _vad(vad) if vad else None
        self._x = whisperx
        self._model = whisperx.load_model(
            str(_path("demo-whisper")), "cpu", compute_type="int8", asr_options=options, language="en",
            vad_model=own_vad, threads=threads,
        )  # fmt: skip
        self._chunk = int(vad.window_s if vad else 30)
        self._aligner = whisperx.load_align_model("en", "cpu", model_name=str(aligner))
        self._diarizer = DiarizationPipeline(str(_path("demo-diarization"))) if speakers else None

    def transcribe(self, audio: Audio) -> Any:
        """Return whisperx's segments, without word times."""
        return self._model.transcribe(audio, batch_size=8, chunk_size=self._chunk)

    def full(self, audio: Audio) -> Any:
        """Return segments with words, times and speakers."""
        heard = self.transcribe(audio)
        placed = self._x.align(heard["segments"], *self._aligner, audio, "cpu")
        return self._x.assign_word_speakers(self._diarizer(audio), placed) if self._diarizer else placed


def _path(name: str) -> Path:
    store = StoreArgs().resolved()
    return fetch(name, open_store(store.url), NodeCache(store.cache)).path


def private_copy(nltk_data: Path) -> TemporaryDirectory[str]:
    """Copy punkt's few kilobytes out of the snapshot: nltk refuses files with more than one hard link, as ours have."""
    copy = TemporaryDirectory(prefix="nltk-")
    shutil.copytree(nltk_data, copy.name, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return copy


def _copied(folder: Path) -> str:
    _copies.append(private_copy(folder))
    return _copies[-1].name


_copies: list[TemporaryDirectory[str]] = []


def _vad(args: VadArgs) -> Any:
    """Return our windows behind whisperx's VAD interface, so that both decode the very same stretches."""
    from whisperx.diarize import Segment
    from whisperx.vads import Vad

    find = SpeechWindows(args)

    class OurWindows(Vad):  # type: ignore[misc]
        def __call__(self, file: Any, **_: Any) -> list[Any]:
            windows = find(file["waveform"])
            return [Segment(window.start / SAMPLE_RATE, window.stop / SAMPLE_RATE, "") for window in windows]

        @staticmethod
        def preprocess_audio(audio: Any) -> Any:
            return audio

        @staticmethod
        def merge_chunks(segments: Any, chunk_size: float, onset: float, offset: float) -> Any:
            return [{"start": part.start, "end": part.end, "segments": [(part.start, part.end)]} for part in segments]

    return OurWindows(0.5)
