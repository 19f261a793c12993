"""Whisper by whisper.cpp as a library in this process: quantised ggml files, one context kept for all requests."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from serve_app.config import TranscriptionArgs
from serve_app.errors import ModelInitError, StageFailed
from serve_app.models.transcribers.files import need_files
from serve_app.models.transcribers.languages import among, likeliest, refuse_language, refuse_translation
from serve_app.models.transcribers.whisper_cpp_library import Written, library, open_context, written
from serve_app.models.transcribers.whisper_cpp_options import MOST_DECODERS, params_for, refuse_unknown, suppressed
from serve_app.options import DecodeOptions
from serve_app.quality import compression_ratio
from serve_app.stages import Audio, WindowText
from serve_app.windows import SAMPLE_RATE

FILES = ("ggml-*.bin",)
WINDOW_SAMPLES = 30 * SAMPLE_RATE
LEAST_SAMPLES = SAMPLE_RATE // 2
"""whisper.cpp hears nothing in less than 0.1 s; shorter clips are followed by silence."""
DROPPED = 1.0
"""`no_speech_prob` of silence."""


class WhisperCpp:
    """Decodes window after window: whisper.cpp has no batches, so windows of a batch follow one another.

    The binding does not tell `no_speech_prob`: it is 1 where nothing was written (whisper.cpp's own gate, set to the
    request's thresholds, drops silence too) or would be, had an unlikely text been allowed to be empty; 0 elsewhere.
    `token_logprobs` are among all tokens, the end of the text too.
    """

    kinds = ("whisper-ggml",)
    compute_types = frozenset({"default", "auto"})
    libraries = ("pywhispercpp",)
    batch_size = 1

    def __init__(self, path: Path, args: TranscriptionArgs, languages: Sequence[str], threads: int) -> None:
        if args.beam_size > MOST_DECODERS:
            mend = f"set at most {MOST_DECODERS} in the config"
            raise ModelInitError(f"backend whisper-cpp has no beam_size of {args.beam_size}; {mend}", "beam_size")
        (file,) = need_files(path, FILES, "whisper-cpp")
        self._args, self._threads = args, threads
        self._whisper = library()
        self._context: Any = open_context(file, args)
        self._alone = threading.Lock()
        self.languages: tuple[str, ...] = tuple(languages) or (self._all_languages() if self._multilingual else ("en",))

    def close(self) -> None:
        """Give the context's memory back; the model is of no use afterwards."""
        with self._alone:
            if self._context is not None:
                self._whisper.whisper_free(self._context)
                self._context = None

    def __del__(self) -> None:
        if getattr(self, "_context", None) is not None:
            self.close()

    def warm_up(self) -> None:
        """Decode a second of silence."""
        self.transcribe([np.zeros(SAMPLE_RATE, np.float32)], DecodeOptions(language=self.languages[0]))

    def transcribe(
        self, clips: Sequence[Audio], options: DecodeOptions, temperature: float | None = None
    ) -> list[WindowText]:
        """Decode clips of equal options one by one, at one temperature; see `interface.Transcriber`."""
        self._check(options)
        temperature = options.temperatures[0] if temperature is None else temperature
        languages = [options.language] * len(clips) if options.language else likeliest(self.detect(clips))
        return [
            self._decode(clip, language, options, temperature) for clip, language in zip(clips, languages, strict=True)
        ]

    def detect(self, clips: Sequence[Audio]) -> list[dict[str, float]]:
        """Return for each clip the probability of each of the snapshot's languages; they sum to 1."""
        if len(self.languages) == 1 or not self._multilingual:
            return [{self.languages[0]: 1.0} for _ in clips]
        return [among(self._heard(_window(clip)), self.languages) for clip in clips]

    def _check(self, options: DecodeOptions) -> None:
        refuse_language(options.language, self.languages)
        if options.task == "translate" and not self._multilingual:
            raise refuse_translation()
        refuse_unknown(options)

    @cached_property
    def _multilingual(self) -> bool:
        return bool(self._whisper.whisper_is_multilingual(self._context))

    def _all_languages(self) -> tuple[str, ...]:
        return tuple(map(self._whisper.whisper_lang_str, range(self._whisper.whisper_lang_max_id() + 1)))

    def _heard(self, window: Audio) -> dict[str, float]:
        codes = self._all_languages()
        rows = np.zeros(len(codes), np.float32)
        with self._alone:
            self._whisper.whisper_pcm_to_mel(self._context, window, len(window), self._threads)
            self._whisper.whisper_lang_auto_detect(self._context, 0, self._threads, rows)
        return dict(zip(codes, rows.astype(float).tolist(), strict=True))

    def _decode(self, clip: Audio, language: str, options: DecodeOptions, temperature: float) -> WindowText:
        window, beam_size = _window(clip), options.beam_size or self._args.beam_size
        with self._alone:
            made = self._run(window, language, options, temperature, beam_size)
            text = _text(made, self._eot, language, options, temperature)
            return replace(text, no_speech_prob=DROPPED) if self._silent(window, text, options) else text

    def _silent(self, window: Audio, text: WindowText, options: DecodeOptions) -> bool:
        """Whether nothing was written, or an unlikely text that is nothing once whisper.cpp may write nothing."""
        if not text.tokens:
            return True
        if options.no_speech_threshold is None or text.avg_logprob >= (options.logprob_threshold or 0.0):
            return False
        blank = replace(options, suppress_blank=False)
        return not self._run(window, text.language, blank, 0.0, beam_size=1)

    def _run(
        self, window: Audio, language: str, options: DecodeOptions, temperature: float, beam_size: int
    ) -> list[Written]:
        params = params_for(self._whisper, options, temperature, beam_size)
        params.language, params.n_threads = language, self._threads
        if pattern := suppressed(options, lambda token: self._whisper.whisper_token_to_bytes(self._context, token)):
            params.suppress_regex = pattern
        if failed := self._whisper.whisper_full(self._context, params, window, len(window)):
            raise StageFailed(f"whisper.cpp failed with {failed} on a window of {len(window) / SAMPLE_RATE:.1f} s")
        return list(written(self._whisper, self._context))

    @property
    def _eot(self) -> int:
        return int(self._whisper.whisper_token_eot(self._context))


def _window(clip: Audio) -> Audio:
    """Return at most 30 s, and not less than whisper.cpp hears."""
    return np.ascontiguousarray(np.pad(clip[:WINDOW_SAMPLES], (0, max(0, LEAST_SAMPLES - len(clip)))), np.float32)


def _text(made: list[Written], eot: int, language: str, options: DecodeOptions, temperature: float) -> WindowText:
    spoken = [each for each in made if each.token < eot]
    ends = list(accumulate((each.data for each in spoken), initial=b""))
    text = _decoded(ends[-1])
    return WindowText(
        text=text,
        language=language,
        tokens=tuple(each.token for each in spoken),
        token_ends=tuple(len(_decoded(data)) for data in ends[1:]),
        temperature=temperature,
        avg_logprob=sum(each.logprob for each in made) / (len(spoken) + 1),
        compression_ratio=compression_ratio(text),
        no_speech_prob=0.0,
        token_logprobs=tuple(each.logprob for each in spoken) if options.token_probs else (),
    )


def _decoded(data: bytes) -> str:
    return data.decode(errors="replace")
