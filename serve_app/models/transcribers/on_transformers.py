"""Whisper by Hugging Face Transformers: safetensors, scaled-dot-product attention, batches across requests."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from serve_app.config import TranscriptionArgs
from serve_app.errors import LibraryLoadError, ModelInitError, UnsupportedOption
from serve_app.models.devices import load_on, usable_device
from serve_app.models.transcribers.compute_types import torch_type
from serve_app.models.transcribers.files import need_files
from serve_app.models.transcribers.languages import (
    among,
    each_in_its_own,
    likeliest,
    refuse_language,
    refuse_translation,
)
from serve_app.models.transcribers.rescoring import Suppressed, scored
from serve_app.models.transcribers.tokens import numeral_tokens, prompt_tokens, whisper_tokenizer
from serve_app.options import DecodeOptions
from serve_app.stages import Audio, WindowText
from serve_app.windows import SAMPLE_RATE

FILES = ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", "*.safetensors")
FORCED_TOKENS = 32
"""Tokens of a measured window: about ten seconds of speech."""


class TransformersWhisper:
    """Decodes batches of windows of at most 30 s; refuses `patience`, which Transformers' beam search does not have."""

    kinds = ("whisper-transformers",)
    compute_types = frozenset({"default", "auto", "float16", "bfloat16", "float32"})
    libraries = ("transformers", "torch")

    def __init__(self, path: Path, args: TranscriptionArgs, languages: Sequence[str], threads: int) -> None:
        need_files(path, FILES, "transformers")
        self._args, self.threads = args, threads
        self.batch_size = args.largest_batch
        self._load(path)
        self.languages: tuple[str, ...] = tuple(languages) or self._model_languages()
        self._tokenizer = lru_cache(maxsize=None)(self._new_tokenizer)
        self._numerals = lru_cache(maxsize=None)(
            lambda: numeral_tokens(self._tokenizer(self.languages[0], "transcribe"))
        )

    def _load(self, path: Path) -> None:
        try:
            import torch
            from tokenizers import Tokenizer
            from transformers import AutoFeatureExtractor, AutoModelForSpeechSeq2Seq, GenerationConfig
        except ImportError as error:
            raise LibraryLoadError(
                f"Transformers cannot be loaded: {error}; install rayscribe's dependencies"
            ) from error
        torch.set_num_threads(self.threads)
        device = usable_device(self._args)
        kept = {"dtype": torch_type(device, self._args.compute_type), "attn_implementation": "sdpa"}
        try:
            self._hf_tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
            self._extractor: Any = AutoFeatureExtractor.from_pretrained(path, local_files_only=True)
            model: Any = AutoModelForSpeechSeq2Seq.from_pretrained(
                path, use_safetensors=True, local_files_only=True, **kept
            )
        except Exception as error:  # tokenizers and safetensors raise plain Exceptions of their own
            raise ModelInitError(f"Transformers cannot load {path}: {error}; verify or publish it again") from error
        _, self.device = load_on(self._args, device, model.to)
        self._model = model.eval() if self.device == device else model.float().eval()
        self._own, model.generation_config = model.generation_config, GenerationConfig()  # else its defaults creep in

    @property
    def compute_type(self) -> str:
        """What is computed in, such as float32."""
        return str(self._model.dtype).removeprefix("torch.")

    def warm_up(self) -> None:
        """Decode a second of silence."""
        self.transcribe([np.zeros(SAMPLE_RATE, np.float32)], DecodeOptions(language=self.languages[0]))

    def transcribe(
        self, clips: Sequence[Audio], options: DecodeOptions, temperature: float | None = None
    ) -> list[WindowText]:
        """Decode clips of equal options as one batch, at one temperature; see `interface.Transcriber`."""
        self._check(options)
        temperature = options.temperatures[0] if temperature is None else temperature
        hidden = self._encode(clips)

        def decode(places: list[int], language: str) -> list[WindowText]:
            part = hidden if len(places) == len(clips) else hidden[places]
            return self._decode(part, language, options, temperature)

        fixed = options.language or self._only_language
        return each_in_its_own([fixed] * len(clips) if fixed else likeliest(self._heard(hidden)), decode)

    def detect(self, clips: Sequence[Audio]) -> list[dict[str, float]]:
        """Return for each clip the probability of each of the snapshot's languages; they sum to 1."""
        if self._only_language:
            return [{self._only_language: 1.0} for _ in clips]
        return self._heard(self._encode(clips))

    def forced(self, size: int) -> None:
        """Decode a batch of silence to a fixed length, so that batches of different sizes can be compared."""
        hidden = self._encode([np.zeros(SAMPLE_RATE, np.float32)] * size)
        prompt = prompt_tokens(self._any_tokenizer, DecodeOptions(), self._max_length)
        length = {"min_new_tokens": FORCED_TOKENS, "max_new_tokens": FORCED_TOKENS}
        self._generate(hidden, prompt, num_beams=self._args.beam_size, **length)

    def _check(self, options: DecodeOptions) -> None:
        refuse_language(options.language, self.languages)
        if options.task == "translate" and (
            not self._multilingual or self._hf_tokenizer.token_to_id("<|translate|>") is None
        ):
            raise refuse_translation()
        if options.patience != 1.0:
            raise UnsupportedOption(
                "backend transformers has no patience; leave it out, or raise beam_size", "patience"
            )

    @property
    def _multilingual(self) -> bool:
        return bool(getattr(self._own, "is_multilingual", True))

    @property
    def _only_language(self) -> str | None:
        return self.languages[0] if len(self.languages) == 1 or not self._multilingual else None

    def _model_languages(self) -> tuple[str, ...]:
        known = getattr(self._own, "lang_to_id", None) or {"<|en|>": 0}
        return tuple(token[2:-2] for token in known)

    @property
    def _max_length(self) -> int:
        return int(self._model.config.max_target_positions)

    @property
    def _any_tokenizer(self) -> Any:
        return self._tokenizer(self.languages[0], "transcribe")

    def _new_tokenizer(self, language: str, task: str) -> Any:
        return whisper_tokenizer(self._hf_tokenizer, self._multilingual, language, task)

    def _encode(self, clips: Sequence[Audio]) -> Any:
        """Return the encoder's output (clips, 1500, width)."""
        import torch

        heard = self._extractor([np.asarray(clip) for clip in clips], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            features = heard.input_features.to(self.device, self._model.dtype)
            return self._model.get_encoder()(features).last_hidden_state

    def _heard(self, hidden: Any) -> list[dict[str, float]]:
        import torch

        ids = {code: self._hf_tokenizer.token_to_id(f"<|{code}|>") for code in self.languages}
        start = torch.full((len(hidden), 1), self._any_tokenizer.sot, device=self.device)
        with torch.inference_mode():
            logits = self._model(encoder_outputs=(hidden,), decoder_input_ids=start).logits[:, -1].float()
            rows = logits[:, list(ids.values())].softmax(-1).tolist()
        return [among(dict(zip(ids, row, strict=True)), self.languages) for row in rows]

    def _decode(self, hidden: Any, language: str, options: DecodeOptions, temperature: float) -> list[WindowText]:
        tokenizer = self._tokenizer(language, options.task)
        prompt = prompt_tokens(tokenizer, options, self._max_length)
        suppressed = self._suppressed(options)
        tries = options.best_of if temperature > 0 else 1
        made = self._generate(
            hidden,
            prompt,
            max_new_tokens=min(self._max_length // 2, self._max_length - len(prompt)),
            suppress_tokens=suppressed.always or None,
            begin_suppress_tokens=suppressed.first or None,
            length_penalty=options.length_penalty,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            **self._search(options, temperature),
        )
        wide = hidden.repeat_interleave(tries, 0)
        texts = scored(
            self._model, tokenizer, wide, prompt, made, suppressed, language, temperature, options.token_probs
        )
        return [max(texts[at : at + tries], key=lambda text: text.avg_logprob) for at in range(0, len(texts), tries)]

    def _generate(self, hidden: Any, prompt: list[int], **asked: Any) -> list[list[int]]:
        """Return what follows the prompt for each clip, the end of the text included.

        Whisper's own `generate` would seek through the file by time stamps; windows of at most 30 s need none of it.
        """
        import torch
        from transformers import GenerationConfig, GenerationMixin
        from transformers.modeling_outputs import BaseModelOutput

        eot, sot = self._any_tokenizer.eot, self._any_tokenizer.sot
        ends = {"eos_token_id": eot, "pad_token_id": eot, "decoder_start_token_id": sot}
        config = GenerationConfig(early_stopping=asked.get("num_beams", 1) > 1, **ends, **asked)
        starts = torch.tensor([prompt] * len(hidden), device=self.device)
        with torch.inference_mode():
            whole = GenerationMixin.generate(
                self._model,
                generation_config=config,
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                decoder_input_ids=starts,
            )
        return [row[len(prompt) :] for row in whole.tolist()]

    def _search(self, options: DecodeOptions, temperature: float) -> dict[str, Any]:
        if temperature > 0:
            sampled = {"do_sample": True, "temperature": temperature, "top_k": 0}
            return {**sampled, "num_return_sequences": options.best_of}
        return {"num_beams": options.beam_size or self._args.beam_size}

    def _suppressed(self, options: DecodeOptions) -> Suppressed:
        own = (self._own.suppress_tokens or []) if -1 in options.suppress_tokens else []
        asked = [token for token in options.suppress_tokens if token >= 0]
        numerals = self._numerals() if options.suppress_numerals else ()
        first = (self._own.begin_suppress_tokens or []) if options.suppress_blank else []
        return Suppressed(sorted({*own, *asked, *numerals}), list(first))
