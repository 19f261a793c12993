"""The `args` of the Serve applications: what a preset is made of, and what the gateway offers.

No `from __future__ import annotations` here or in `app.py`: Serve reads the builders' annotations as they are.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from model_store import UsageError, parse_size
from serve_app.errors import BackendError
from serve_app.fetch_args import FetchArgs
from serve_app.jobs.args import JobsArgs
from serve_app.models.transcribers.registry import DEFAULT, backend, check_name
from serve_app.strict import Strict

Device = Literal["cpu", "cuda", "auto"]
ComputeType = Literal[
    "default",
    "auto",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
]
"""CTranslate2's, of which other back ends know some; `default` keeps what the snapshot was saved as."""


class StoreArgs(Strict):
    """Where snapshots are published, and this machine's own copy of those in use.

    Relative paths start at the directory in which `serve run` was called.
    """

    url: str = Field(
        default_factory=lambda: os.environ.get("RAYSCRIBE_STORE", ".rayscribe/store"),
        description="a directory, s3://bucket/prefix or https://host/base; several, in the order of asking, by commas",
    )
    cache: str = Field(default_factory=lambda: os.environ.get("RAYSCRIBE_CACHE", ".rayscribe/cache"))
    quota: str | None = Field(
        default_factory=lambda: os.environ.get("RAYSCRIBE_CACHE_QUOTA"),
        description="most that the cache may hold, such as 50GB; what was used longest ago goes, never what is in use",
    )
    peers: bool = Field(default=False, description="of all nodes one reads the store, the others read from each other")
    catalog: str | None = Field(
        default=None,
        description="models.yaml, to publish from what the store lacks, online; none: never online",
    )
    keys: list[str] = Field(default_factory=list, description="PEM files; one of these keys must have signed a model")
    allow_pickle: bool = Field(default=True, description="without keys: whether models may hold pickles")

    @field_validator("quota")
    @classmethod
    def _quota_is_a_size(cls, quota: str | None) -> str | None:
        if quota is not None:
            try:
                parse_size(quota)
            except UsageError as error:
                raise ValueError(str(error)) from None
        return quota

    def resolved(self) -> "StoreArgs":
        """Return the same places with absolute paths, so that every replica means the same ones."""
        return self.model_copy(
            update={
                "url": ",".join(_absolute(part.strip()) for part in self.url.split(",")),
                "cache": _absolute(self.cache),
                "catalog": self.catalog and _absolute(self.catalog),
                "keys": [_absolute(key) for key in self.keys],
            }
        )


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).expanduser().resolve())


def _number_or_auto(lowest: int, highest: int) -> BeforeValidator:
    """Accept a whole number in a range or 'auto', with one error for both."""

    def check(value: object) -> object:
        whole = isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest
        if not whole and value != "auto":
            raise ValueError(f"must be 'auto' or a whole number from {lowest} to {highest}, not {value!r}")
        return value

    return BeforeValidator(check)


class DeviceArgs(Strict):
    """Where a stage's model runs: `cuda` falls back to the CPU, with a warning, unless the GPU is required."""

    device: Device = "auto"
    gpu_required: bool = Field(
        default=False, description="with device: cuda: fail to start where no GPU can be used, instead of a slow CPU"
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of one replica; 0: as many as Ray gave it")

    @model_validator(mode="after")
    def _required_is_wanted(self) -> Self:
        if self.gpu_required and self.device != "cuda":
            raise ValueError(f"gpu_required needs device: cuda, not {self.device}; set it, or leave gpu_required out")
        return self


class TranscriptionArgs(DeviceArgs):
    """The transcription stage: a Whisper snapshot, `name@revision`, of a kind that its back end reads."""

    model: str
    backend: str = Field(
        default_factory=lambda: os.environ.get("RAYSCRIBE_BACKEND") or DEFAULT,
        description="faster-whisper, transformers, whisper-cpp, or the name of another package's; "
        "none: RAYSCRIBE_BACKEND, else faster-whisper",
        validate_default=True,
    )
    compute_type: ComputeType = "default"
    batch_size: Annotated[int | Literal["auto"], _number_or_auto(1, 256)] = Field(
        default="auto", description="windows decoded together at most; auto: as measured on this machine"
    )
    beam_size: int = Field(default=5, ge=1, le=16)

    @property
    def largest_batch(self) -> int:
        """The most windows that a batch may hold, whatever is measured."""
        if self.batch_size != "auto":
            return self.batch_size
        return 16 if self.device == "cpu" else 32

    @field_validator("backend")
    @classmethod
    def _backend_is_there(cls, name: str) -> str:
        try:
            check_name(name)
        except BackendError as error:
            raise ValueError(str(error)) from None
        return name

    @model_validator(mode="after")
    def _backend_computes_so(self) -> Self:
        try:
            known = backend(self.backend).compute_types
        except BackendError as error:
            raise ValueError(str(error)) from None
        if known and self.compute_type not in known:
            listed = ", ".join(sorted(known))
            raise ValueError(f"backend {self.backend} has no compute_type '{self.compute_type}', only: {listed}")
        return self

    @model_validator(mode="after")
    def _cpus_have_no_half_floats(self) -> Self:
        if self.device == "cpu" and "float16" in self.compute_type.replace("bfloat16", ""):
            raise ValueError(f"compute_type '{self.compute_type}' needs a GPU; on a CPU use int8 or float32")
        return self


class AlignmentArgs(DeviceArgs):
    """The alignment stage: a wav2vec2 CTC snapshot per language, or another application's Alignment (`app`)."""

    app: str | None = None
    models: dict[str, str] = Field(default_factory=dict, description="language code → name@revision")
    batch_size: int | None = Field(
        default=None, ge=1, le=256, description="windows in the model at once; none: 1 on a CPU, 16 on a GPU"
    )
    keep_loaded: int = Field(default=3, ge=1, description="languages in memory; the least recently used goes")

    @model_validator(mode="after")
    def _own_or_borrowed(self) -> Self:
        if bool(self.app) == bool(self.models):
            raise ValueError("alignment needs either 'models' (language → snapshot) or 'app' (whose stage to borrow)")
        return self


class DiarizationArgs(DeviceArgs):
    """The diarization stage: a pyannote pipeline snapshot, or another application's Diarization (`app`)."""

    app: str | None = None
    model: str | None = None
    batch_size: int = Field(default=16, ge=1, le=256, description="chunks in the model at once; bounds its memory")
    known_threshold: float = Field(
        default=0.8,
        gt=0,
        lt=1,
        description="cosine similarity from which a speaker bears a known reference's name; measured with the demo "
        "model, and no value suits two models: try another one's on voices that you know",
    )

    @model_validator(mode="after")
    def _own_or_borrowed(self) -> Self:
        if bool(self.app) == bool(self.model):
            raise ValueError("diarization needs either 'model' (a snapshot) or 'app' (whose stage to borrow)")
        return self


class VadArgs(Strict):
    """How speech is found and cut into windows.

    `silero` (inside faster-whisper) needs no torch; `pyannote` (whisperx's default) loads it into the Pipeline.
    """

    method: Literal["silero", "pyannote"] = "silero"
    onset: float = Field(default=0.5, gt=0, lt=1, description="probability from which on a frame begins speech")
    offset: float | None = Field(
        default=None, gt=0, lt=1, description="probability below which speech ends; none: the model's own default"
    )
    min_silence_ms: int = Field(default=300, ge=0, description="a shorter silence does not end a stretch of speech")
    min_speech_ms: int = Field(default=100, ge=0, description="a shorter stretch is no speech")
    pad_ms: int = Field(default=200, ge=0, description="kept on both sides of a stretch")
    window_s: float = Field(default=30.0, ge=1, le=30, description="longest window")
    pause_s: float = Field(default=30.0, ge=0, le=30, description="longest pause inside a window")

    @model_validator(mode="after")
    def _hysteresis_and_room(self) -> Self:
        if self.offset is not None and self.offset > self.onset:
            raise ValueError(f"offset {self.offset:g} is above onset {self.onset:g}; speech would end where it begins")
        if 2 * self.pad_ms > 500 * self.window_s:
            raise ValueError(f"twice pad_ms {self.pad_ms} is more than half of window_s {self.window_s:g}; pad less")
        if self.min_speech_ms > 500 * self.window_s:
            raise ValueError(f"min_speech_ms {self.min_speech_ms} is more than half of window_s {self.window_s:g}")
        return self


class LimitArgs(Strict):
    """What one request may ask for."""

    max_upload_mb: float = Field(default=1024, gt=0)
    max_duration_s: float = Field(
        default=4 * 3600, gt=0, description="of the audio; a pipeline that is told to stop has as long to finish"
    )
    wake_s: float = Field(default=300, gt=0, description="how long a preset may lack a replica before 503 is answered")
    fetch: FetchArgs = Field(default_factory=FetchArgs, description="what may be read by `url`; nothing by default")
    linger_s: float = Field(
        default=10, ge=0, description="how long work goes on whose client has gone: one that comes back finds it"
    )
    live_s: float = Field(default=3600, gt=0, description="how long a live session may last")
    live_idle_s: float = Field(default=300, gt=0, description="how long a live session may send nothing")
    windows_in_flight: int = Field(
        default=16, ge=1, description="windows of one request under way at once to begin with; up to 32 times as many"
    )


class GpuArgs(Strict):
    """The GPUs that the stages' `num_gpus` are shares of: what is checked when a config is read."""

    memory_gb: float | None = Field(
        default=None, gt=0, description="of one, in 10⁹ bytes; none: RAYSCRIBE_GPU_MEMORY_GB, else what the driver says"
    )
    count: int | None = Field(default=None, ge=1, description="how many there are; none: as many as it takes")


class PresetArgs(Strict):
    """One preset: its stages with their models and options. A stage left out is not offered."""

    preset: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    transcription: TranscriptionArgs
    alignment: AlignmentArgs | None = None
    diarization: DiarizationArgs | None = None
    store: StoreArgs = Field(default_factory=StoreArgs)
    vad: VadArgs = Field(default_factory=VadArgs)
    gpu: GpuArgs = Field(default_factory=GpuArgs)
    limits: LimitArgs = Field(default_factory=LimitArgs)

    def models(self) -> Iterator[str]:
        """Yield the snapshots that its own stages name."""
        yield self.transcription.model
        if self.alignment:
            yield from self.alignment.models.values()
        if self.diarization and self.diarization.model:
            yield self.diarization.model

    def borrowed(self) -> dict[str, str]:
        """Return the stages that are other applications', and whose."""
        stages = {"alignment": self.alignment, "diarization": self.diarization}
        return {name: stage.app for name, stage in stages.items() if stage and stage.app}


class GatewayArgs(Strict):
    """The gateway: the presets it offers, each an application of that name, and other names they answer to."""

    presets: list[str] = Field(min_length=1)
    aliases: dict[str, str] = Field(default_factory=dict, description="a name on the wire → a preset")
    limits: LimitArgs = Field(default_factory=LimitArgs)
    jobs: JobsArgs | None = Field(default=None, description="long files as jobs; none: not offered")

    @model_validator(mode="after")
    def _aliases_name_presets(self) -> Self:
        for alias, preset in self.aliases.items():
            if preset not in self.presets:
                raise ValueError(f"alias '{alias}' names '{preset}', which is none of the presets {self.presets}")
            if alias in self.presets:
                raise ValueError(f"alias '{alias}' hides the preset of that name; choose another alias")
        return self
