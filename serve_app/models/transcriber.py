"""The transcription model: Whisper in CTranslate2 format, by the same calls as whisperx, without torch."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.config import TranscriptionArgs
from serve_app.errors import UnsupportedOption
from serve_app.options import DecodeOptions
from serve_app.stages import Audio, WindowText
from serve_app.windows import SAMPLE_RATE

WINDOW_SAMPLES = 30 * SAMPLE_RATE
WINDOW_FRAMES = 3000
N_FFT = 400
DYNAMIC_RANGE = 2.0
"""Whisper clips log-mel at 8 below its maximum, and divides by 4."""
SILENT_FLOOR = -1.5
"""What Whisper makes of digital silence: (log10(1e-10) + 4) / 4."""


class Transcriber:
    """Decodes batches of windows of at most 30 s.

    `languages` are those of the snapshot: none given means all of Whisper's, and one alone is never detected.
    """

    def __init__(self, path: Path, args: TranscriptionArgs, languages: Sequence[str], threads: int) -> None:
        from faster_whisper import WhisperModel

        self._args = args
        self._model: Any = WhisperModel(
            str(path), device=args.device, compute_type=args.compute_type, cpu_threads=threads, local_files_only=True
        )
        self._languages: tuple[str, ...] = tuple(languages or self._model.supported_languages)

    def warm_up(self) -> None:
        """Decode a second of silence."""
        self.transcribe([np.zeros(SAMPLE_RATE, np.float32)], DecodeOptions(language=self._languages[0]))

    def transcribe(self, clips: Sequence[Audio], options: DecodeOptions) -> list[WindowText]:
        """Decode clips of equal options as one batch; clips of different languages fall into one batch per language."""
        from faster_whisper.transcribe import get_ctranslate2_storage

        encoded = self._model.encode(np.stack([self._features(clip) for clip in clips]))
        languages = self._settle(encoded, len(clips), options.language)
        if len(set(languages)) == 1:
            return self._generate(encoded, len(clips), languages[0], options)
        hidden = np.array(encoded.to_device(_cpu()))
        one_by_one = (get_ctranslate2_storage(hidden[i : i + 1]) for i in range(len(clips)))
        return [
            self._generate(one, 1, language, options)[0] for one, language in zip(one_by_one, languages, strict=True)
        ]

    def _settle(self, encoded: Any, count: int, language: str | None) -> list[str]:
        if language is not None:
            if language not in self._languages:
                raise UnsupportedOption(_unheard(language, self._languages), "language")
            return [language] * count
        if len(self._languages) == 1 or not self._model.model.is_multilingual:
            return [self._languages[0]] * count
        known = {f"<|{code}|>" for code in self._languages}
        ranked = self._model.model.detect_language(encoded)
        return [next((token for token, _ in row if token in known), row[0][0])[2:-2] for row in ranked]

    def _features(self, clip: Audio) -> NDArray[np.float32]:
        """Return the log-mel features (n_mels, 3000) of a clip followed by silence up to 30 s.

        Only the clip and one Fourier frame after it are computed: beyond, every frame is the silent floor.
        """
        clip = clip[:WINDOW_SAMPLES]
        heard = np.pad(clip, (0, min(N_FFT, WINDOW_SAMPLES - len(clip))))
        mel: NDArray[np.float32] = self._model.feature_extractor(heard, padding=0)
        full = np.full((mel.shape[0], WINDOW_FRAMES), max(mel.max() - DYNAMIC_RANGE, SILENT_FLOOR), np.float32)
        full[:, : mel.shape[1]] = mel[:, :WINDOW_FRAMES]
        return full

    def _generate(self, encoded: Any, count: int, language: str, options: DecodeOptions) -> list[WindowText]:
        tokenizer = self._tokenizer(language, options.task)
        results = self._model.model.generate(
            encoded,
            [self._prompt(tokenizer, options)] * count,
            max_length=self._model.max_length,
            return_scores=True,
            return_no_speech_prob=True,
            **self._search(options),
        )
        return [self._window_text(tokenizer, result, language, options) for result in results]

    def _tokenizer(self, language: str, task: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        multilingual = self._model.model.is_multilingual
        return Tokenizer(self._model.hf_tokenizer, multilingual, task=task, language=language)

    def _prompt(self, tokenizer: Any, options: DecodeOptions) -> Any:
        previous = tokenizer.encode(" " + options.initial_prompt.strip()) if options.initial_prompt else []
        return self._model.get_prompt(tokenizer, previous, without_timestamps=True, hotwords=options.hotwords)

    def _search(self, options: DecodeOptions) -> dict[str, Any]:
        if options.temperature > 0:
            return {"beam_size": 1, "sampling_topk": 0, "sampling_temperature": options.temperature}
        return {"beam_size": options.beam_size or self._args.beam_size, "patience": 1.0}

    def _window_text(self, tokenizer: Any, result: Any, language: str, options: DecodeOptions) -> WindowText:
        tokens = [token for token in result.sequences_ids[0] if token < tokenizer.eot]
        text = tokenizer.decode(tokens)
        return WindowText(
            text=text,
            language=language,
            tokens=tuple(tokens),
            token_ends=tuple(len(tokenizer.decode(tokens[: i + 1])) for i in range(len(tokens))),
            temperature=options.temperature,
            avg_logprob=result.scores[0] * len(result.sequences_ids[0]) / (len(result.sequences_ids[0]) + 1),
            compression_ratio=_compression_ratio(text),
            no_speech_prob=result.no_speech_prob,
        )


def _unheard(language: str, known: Sequence[str]) -> str:
    return f"this preset's model does not hear language '{language}', only: {', '.join(sorted(known))}"


def _cpu() -> Any:
    import ctranslate2

    return ctranslate2.Device.cpu


def _compression_ratio(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0
