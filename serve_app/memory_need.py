"""What a stage needs of a GPU's memory, in GB (10⁹ bytes): `weights + CUDA + work + windows × window`.

Two batches run at once, each with work of its own: on a GPU `batch_size` windows and a quarter of that beside them, on
a CPU twice `batch_size`. A lock or a single lane lets one in: whisper.cpp, alignment, diarization on a GPU.

- weights: `memory_mb` of the catalog, which is for the compute type that the snapshot is saved in; loaded as another
  one they take 1 (int8…), 2 (float16, bfloat16, int16) or 4 (float32) bytes a parameter.
- CUDA: 0.5 for a process's context, its kernels and cuBLAS.
- Whisper: faster-whisper's README measures large-v2 in float16 with beam 5 at 4.5 GB for one window and 6.1 GB for
  eight: 0.22 a window, 0.7 besides. Smaller models are scaled by layers × width, wider beams by beam / 5; activations
  in float32 (which int8 and int8_float32 have too) count twice. The same table has Transformers at 4.96 GB for one
  window, which are 1.4 a window as each beam has keys and values of its own, and whisper.cpp at 4.13 for its only one.
- wav2vec2: the activations of a window of 30 s, measured on a CPU with random weights: 0.49 GB (base) and 0.69 (large),
  and as much again for each further window; 0.5 besides for cuDNN's work space, which is a guess.
- pyannote: 12.1 GiB were seen reserved with 32 chunks of 10 s (pyannote-audio, issue 1963): 1.8 are activations, the
  rest is work space that cuDNN picks for an odd last batch.

Nothing here was measured on the GPUs that it is used for: `nvidia-smi` shows the truth.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from model_store.publishing.catalog import Catalog, Entry
from model_store.references import Reference
from serve_app.config import AlignmentArgs, DiarizationArgs, TranscriptionArgs
from serve_app.models.devices import CUDA_GB, beside

StageArgs = TranscriptionArgs | AlignmentArgs | DiarizationArgs

WIDEST_MEASURED_BEAM = 5
WHISPER_GB = {"faster-whisper": (0.7, 0.22), "transformers": (0.0, 1.4), "whisper-cpp": (0.0, 0.55)}
"""Back end → GB of work, and of each window, of a large Whisper in float16 with a beam of 5."""
WHISPER_SIZES = ((76, 4 * 384), (145, 6 * 512), (484, 12 * 768), (1528, 24 * 1024), (3088, 32 * 1280))
"""MB of the weights in float16 → layers × width: tiny, base, small, medium, large."""
FLOAT32_INSIDE = ("float32", "int8", "int8_float32", "int16")
"""Compute types whose activations are float32."""
GGML_BYTES = {"q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32}
"""Bytes of a parameter: those of a block of 32 with its scale and least, divided; others count as a byte."""
WAV2VEC2_WORK_GB = 0.5
WAV2VEC2_BATCH = 16
"""Windows at once on a GPU where the config does not say."""
WAV2VEC2_SIZES = ((378, 0.5), (1262, 0.7))
"""MB of the weights in float32 → GB of a window: base, large."""
PYANNOTE_CHUNK_GB = 0.41
PYANNOTE_CHUNK_CPU_GB = 0.06
"""The activations alone."""


@dataclass(frozen=True, slots=True)
class Need:
    """The memory that one replica of a stage needs, in GB; `batch` windows (or chunks) of `window` GB are at work.

    With `second` another batch runs beside it, with as much `work`: as large as that device (`cpu`, `cuda`) lets it be.
    """

    weights: float
    work: float
    window: float
    batch: int
    second: str | None = None

    @property
    def beside(self) -> int:
        """Return the windows of the second batch."""
        return (beside(self.second, self.batch) or self.batch) if self.second else 0

    @property
    def total(self) -> float:
        """Return the GB of one replica."""
        batches = 2 if self.second else 1
        return CUDA_GB + self.weights + batches * self.work + (self.batch + self.beside) * self.window

    @property
    def work_text(self) -> str:
        """Return `2 × 0.7`: the work of all batches."""
        return f"{'2 × ' if self.second and self.work else ''}{self.work:.1f}"

    @property
    def windows_text(self) -> str:
        """Return `(16 + 4) × 0.22`: the windows of all batches."""
        windows = f"({self.batch} + {self.beside})" if self.second else f"{self.batch}"
        return f"{windows} × {self.window:.2f}"

    def smallest_share(self, device_gb: float) -> float | None:
        """Return the smallest `num_gpus`, in hundredths, that holds it; None when the whole GPU does not."""
        share = math.ceil(round(100 * self.total / device_gb, 6)) / 100
        return share if share <= 1 else None

    def largest_batch(self, room_gb: float) -> int:
        """Return the largest batch that fits; 0 when not even one window does."""
        sizes = range(self.batch, 0, -1)
        return next((size for size in sizes if round(replace(self, batch=size).total - room_gb, 6) <= 0), 0)

    def __str__(self) -> str:
        parts = f"weights {self.weights:.1f}, CUDA {CUDA_GB:.1f}, work {self.work_text}"
        return f"{self.total:.1f} GB ({parts}, {self.windows_text} at work)"


def need_of(args: StageArgs, catalog: Catalog) -> Need | None:
    """Return what a stage needs; None when it is borrowed, or the catalog does not know what its weights take.

    Also None for another package's back end.
    """
    match args:
        case TranscriptionArgs() if args.backend not in WHISPER_GB:
            return None
        case TranscriptionArgs():
            entries = [_entry(args.model, catalog)]
        case AlignmentArgs():
            entries = [_entry(model, catalog) for model in args.models.values()]
        case DiarizationArgs():
            entries = [_entry(args.model or "", catalog)]
    known = [entry for entry in entries if entry and entry.memory_mb]
    return _need(args, known) if known and len(known) == len(entries) else None


def _entry(reference: str, catalog: Catalog) -> Entry | None:
    return catalog.entries.get(Reference.parse(reference).name) if reference else None


def _need(args: StageArgs, entries: list[Entry]) -> Need:
    match args:
        case TranscriptionArgs():
            return _whisper(args, entries[0])
        case AlignmentArgs():
            return _wav2vec2(args, entries)
        case DiarizationArgs():
            on_cpu = args.device == "cpu"
            chunk = PYANNOTE_CHUNK_CPU_GB if on_cpu else PYANNOTE_CHUNK_GB
            return Need(entries[0].memory_mb / 1000, 0, chunk, args.batch_size, "cpu" if on_cpu else None)


def _whisper(args: TranscriptionArgs, entry: Entry) -> Need:
    saved = entry.compute_type
    loaded = saved if args.compute_type in ("default", "auto") else args.compute_type
    mb = entry.memory_mb * bytes_each(loaded) / bytes_each(saved or loaded)
    scale = _whisper_scale(mb * bytes_each("float16") / bytes_each(loaded))
    activations = 2 if loaded in FLOAT32_INSIDE else 1
    beams = max(1.0, args.beam_size / WIDEST_MEASURED_BEAM)
    work, window = WHISPER_GB[args.backend]
    batch, second = (1, None) if args.backend == "whisper-cpp" else (args.largest_batch, args.device)
    return Need(mb / 1000, work * scale * activations, window * scale * activations * beams, batch, second)


def bytes_each(compute_type: str) -> float:
    """Return the bytes of a parameter that is held in a compute type, CTranslate2's or (`q5_1`) ggml's."""
    if compute_type.startswith("q"):
        return GGML_BYTES.get(compute_type, 1)
    if compute_type.startswith("int8"):
        return 1
    return 2 if compute_type in ("float16", "bfloat16", "int16") else 4


def _whisper_scale(float16_mb: float) -> float:
    """Return layers × width of a Whisper of this size, relative to large."""
    sizes, products = zip(*WHISPER_SIZES, strict=True)
    return float(np.interp(float16_mb, sizes, products)) / products[-1]


def _wav2vec2(args: AlignmentArgs, entries: list[Entry]) -> Need:
    """Return the need of an aligner with its largest languages loaded."""
    sizes, windows = zip(*WAV2VEC2_SIZES, strict=True)
    loaded = sorted((entry.memory_mb for entry in entries), reverse=True)[: args.keep_loaded]
    window = float(np.interp(loaded[0], sizes, windows))
    return Need(sum(loaded) / 1000, WAV2VEC2_WORK_GB, window, args.batch_size or WAV2VEC2_BATCH)


def what_fits(args: StageArgs, catalog: Catalog, share: float, device_gb: float) -> str | None:
    """Return why a stage does not fit into its share of a GPU, and what would; None when it does, or nobody knows."""
    need = need_of(args, catalog)
    room = min(share, 1) * device_gb
    if need is None or need.total <= room:
        return None
    ways = " or ".join(_ways(args, need, catalog, room, device_gb)) or "a smaller model, or a larger GPU"
    return f"needs {need}, but {share:g} of a GPU of {device_gb:g} GB is {room:.1f}; what fits: {ways}"


def _ways(args: StageArgs, need: Need, catalog: Catalog, room: float, device_gb: float) -> Iterator[str]:
    if share := need.smallest_share(device_gb):
        yield f"num_gpus: {share:g}"
    if batch := need.largest_batch(room):
        yield f"batch_size: {batch}"
    if isinstance(args, TranscriptionArgs):
        for compute_type in ("float16", "int8_float16"):
            smaller = need_of(args.model_copy(update={"compute_type": compute_type}), catalog)
            if smaller and smaller.total <= room:
                yield f"compute_type: {compute_type}"
                return
