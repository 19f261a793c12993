"""The transcription model: Whisper in CTranslate2 format, by the same calls as whisperx, without torch."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.config import TranscriptionArgs
from serve_app.models.devices import load_on, usable_device
from serve_app.models.transcribers.compute_types import ctranslate2_type
from serve_app.models.transcribers.languages import (
    among,
    each_in_its_own,
    likeliest,
    refuse_language,
    refuse_translation,
)
from serve_app.models.transcribers.tokens import numeral_tokens, prompt_tokens, whisper_tokenizer, window_text
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
BATCHES = 2
"""At once: one of long files, and beside it one of short requests; they share the weights."""
FORCED_TOKENS = 32
"""Tokens of a measured window: about ten seconds of speech."""
FEW_FRAMES = 16
"""Token probabilities need no word times, so the time warping that comes along is kept small."""


class FasterWhisper:
    """Decodes batches of windows of at most 30 s; two batches may be in it at once, from as many threads.

    `languages` are those of the snapshot: none given means all of Whisper's, and one alone is never detected.
    """

    kinds = ("whisper-ct2",)
    compute_types: frozenset[str] = frozenset()
    libraries = ("faster-whisper", "ctranslate2")

    def __init__(self, path: Path, args: TranscriptionArgs, languages: Sequence[str], threads: int) -> None:
        self._args = args
        self.threads = threads
        self.batch_size = args.largest_batch
        self._model: Any = load_on(args, usable_device(args, "CTranslate2", _sees_gpu), partial(self._load, path))[0]
        self.languages: tuple[str, ...] = tuple(languages or self._model.supported_languages)
        self._tokenizer = lru_cache(maxsize=None)(self._new_tokenizer)
        self._numerals = lru_cache(maxsize=None)(self._find_numerals)

    def _load(self, path: Path, device: str) -> Any:
        from faster_whisper import WhisperModel

        return WhisperModel(
            str(path),
            device=device,
            compute_type=ctranslate2_type(device, self._args),
            cpu_threads=self.threads,
            num_workers=BATCHES,
            local_files_only=True,
        )

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return str(self._model.model.device)

    @property
    def compute_type(self) -> str:
        """What is really computed in, such as int8_float32."""
        return str(self._model.model.compute_type)

    def warm_up(self) -> None:
        """Decode a second of silence."""
        self.transcribe([np.zeros(SAMPLE_RATE, np.float32)], DecodeOptions(language=self.languages[0]))

    def transcribe(
        self, clips: Sequence[Audio], options: DecodeOptions, temperature: float | None = None
    ) -> list[WindowText]:
        """Decode clips of equal options as one batch, at one temperature (None: the first of the options').

        Without a language each clip is decoded in its own, one batch per language. Raises `UnsupportedOption`.
        """
        self._check(options)
        temperature = options.temperatures[0] if temperature is None else temperature
        encoded = self._encode(clips)
        if options.language is not None:
            return self._generate(encoded, len(clips), options.language, options, temperature)

        def decode(places: list[int], language: str) -> list[WindowText]:
            part = encoded if len(places) == len(clips) else _rows(encoded, places)
            return self._generate(part, len(places), language, options, temperature)

        return each_in_its_own(likeliest(self._heard(encoded, len(clips))), decode)

    def detect(self, clips: Sequence[Audio]) -> list[dict[str, float]]:
        """Return for each clip the probability of each of the snapshot's languages; they sum to 1."""
        if self._only_language:
            return [{self._only_language: 1.0} for _ in clips]
        return self._heard(self._encode(clips), len(clips))

    def forced(self, size: int) -> None:
        """Decode a batch of noise to a fixed length, so that batches of different sizes can be compared."""
        noise = np.random.default_rng(0).normal(0, 0.2, (size, self._model.model.n_mels, WINDOW_FRAMES))
        tokenizer = self._tokenizer(self.languages[0], "transcribe")
        prompt = self._prompt(tokenizer, DecodeOptions())
        self._model.model.generate(
            self._model.encode(noise.astype(np.float32)),
            [prompt] * size,
            beam_size=self._args.beam_size,
            max_length=2 * FORCED_TOKENS,  # CTranslate2 writes half of it, and counts the prompt into the other
            suppress_tokens=[-1, tokenizer.eot],
        )

    def _check(self, options: DecodeOptions) -> None:
        refuse_language(options.language, self.languages)
        if options.task == "translate":
            multilingual = self._model.model.is_multilingual
            if not multilingual or self._model.hf_tokenizer.token_to_id("<|translate|>") is None:
                raise refuse_translation()

    @property
    def _only_language(self) -> str | None:
        alone = len(self.languages) == 1 or not self._model.model.is_multilingual
        return self.languages[0] if alone else None

    def _heard(self, encoded: Any, count: int) -> list[dict[str, float]]:
        if self._only_language:
            return [{self._only_language: 1.0}] * count
        rows = ({token[2:-2]: value for token, value in row} for row in self._model.model.detect_language(encoded))
        return [among(row, self.languages) for row in rows]

    def _encode(self, clips: Sequence[Audio]) -> Any:
        return self._model.encode(np.stack([self._features(clip) for clip in clips]))

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

    def _generate(
        self, encoded: Any, count: int, language: str, options: DecodeOptions, temperature: float
    ) -> list[WindowText]:
        tokenizer = self._tokenizer(language, options.task)
        prompt = self._prompt(tokenizer, options)
        results = self._model.model.generate(
            encoded,
            [prompt] * count,
            max_length=self._model.max_length,
            return_scores=True,
            return_no_speech_prob=True,
            **self._search(options, temperature),
            **self._limits(options),
        )
        texts = [_window_text(tokenizer, result, language, options, temperature) for result in results]
        return self._with_token_logprobs(encoded, prompt, texts) if options.token_probs else texts

    def _with_token_logprobs(self, encoded: Any, prompt: list[int], texts: list[WindowText]) -> list[WindowText]:
        """Read all tokens through the decoder once; `align` puts the last token of the prompt in by itself."""
        tokens = [list(text.tokens) for text in texts]
        aligned = self._model.model.align(encoded, prompt[:-1], tokens, FEW_FRAMES)
        rows = ([math.log(max(value, 1e-30)) for value in each.text_token_probs] for each in aligned)
        return [replace(text, token_logprobs=tuple(row)) for text, row in zip(texts, rows, strict=True)]

    def _new_tokenizer(self, language: str, task: str) -> Any:
        return whisper_tokenizer(self._model.hf_tokenizer, self._model.model.is_multilingual, language, task)

    def _prompt(self, tokenizer: Any, options: DecodeOptions) -> list[int]:
        return prompt_tokens(tokenizer, options, self._model.max_length)

    def _search(self, options: DecodeOptions, temperature: float) -> dict[str, Any]:
        if temperature > 0:
            sampled = {"num_hypotheses": options.best_of, "sampling_topk": 0, "sampling_temperature": temperature}
            return {"beam_size": 1, **sampled}
        return {"beam_size": options.beam_size or self._args.beam_size, "patience": options.patience}

    def _limits(self, options: DecodeOptions) -> dict[str, Any]:
        numerals = self._numerals() if options.suppress_numerals else ()
        return {
            "length_penalty": options.length_penalty,
            "repetition_penalty": options.repetition_penalty,
            "no_repeat_ngram_size": options.no_repeat_ngram_size,
            "suppress_blank": options.suppress_blank,
            "suppress_tokens": [*options.suppress_tokens, *numerals],
        }

    def _find_numerals(self) -> tuple[int, ...]:
        return numeral_tokens(self._tokenizer(self.languages[0], "transcribe"))


def _sees_gpu() -> bool:
    import ctranslate2

    return bool(ctranslate2.get_cuda_device_count() > 0)


def _window_text(tokenizer: Any, result: Any, language: str, options: DecodeOptions, temperature: float) -> WindowText:
    (made, *_), (score, *_) = result.sequences_ids, result.scores
    mean = score * len(made) ** options.length_penalty / (len(made) + 1) if made else 0.0  # a greedy 0 is NaN
    return window_text(tokenizer, made, language, temperature, mean, result.no_speech_prob)


def _rows(encoded: Any, places: Sequence[int]) -> Any:
    """Return some windows of an encoded batch, by way of the CPU; float32 holds every other type exactly."""
    import ctranslate2
    from faster_whisper.transcribe import get_ctranslate2_storage

    hidden = np.array(encoded.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32))
    return get_ctranslate2_storage(hidden[list(places)])
