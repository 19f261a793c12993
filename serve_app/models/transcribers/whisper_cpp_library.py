"""libwhisper in this process, by pywhispercpp: its load, a context from a ggml file, and what it wrote."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.config import DeviceArgs
from serve_app.errors import GpuUnavailable, LibraryLoadError, ModelInitError
from serve_app.models.devices import give_up_gpu

MAGIC = (b"lmgg", b"GGUF")
"""Of ggml files (0x67676d6c, little-endian), and of gguf ones, which whisper.cpp does not read."""
MEND = "build pywhispercpp from source with GGML_CUDA=1 where `nvidia-smi` lists a GPU"
logger = logging.getLogger("ray.serve.rayscribe")
_loading = threading.Lock()
"""The library has one log for all contexts."""


@dataclass(frozen=True, slots=True)
class Written:
    """A token's id, its bytes, and its log-probability among all that could have been written."""

    token: int
    data: bytes
    logprob: float


def library() -> Any:
    """Return the binding; the wheel brings libggml and libwhisper, which the loader finds beside it in their order."""
    try:
        import _pywhispercpp
    except ImportError as error:
        raise LibraryLoadError(
            f"whisper.cpp cannot be loaded: {error}; install it with: pip install 'rayscribe[whisper-cpp]', "
            "and where a library of its own is missing, reinstall it for this Python and this machine",
            "backend",
        ) from error
    return _pywhispercpp


def open_context(file: Path, args: DeviceArgs) -> Any:
    """Load a ggml file; raises `ModelInitError` with the library's own words, of which it has no other way to tell.

    A wanted GPU that the library does not see, or was not built for, is replaced by the CPU, with a warning; where one
    is required, raises `GpuUnavailable`.
    """
    whisper, said = library(), list[str]()
    _check_magic(file)
    params = whisper.whisper_context_default_params()
    params.use_gpu = args.device != "cpu"
    with _loading:
        whisper.whisper_log_set(lambda level, text: said.append(text.strip()))
        try:
            context = whisper.whisper_init_from_file_with_params(str(file), params)
        finally:
            whisper.whisper_log_set(None)  # one that is left there at exit crashes the interpreter
    logger.debug("whisper.cpp: %s", "; ".join(said))
    if reasons := [line for line in said if _is_failure(line)]:
        raise ModelInitError(f"whisper.cpp cannot load {file}: {reasons[0]}; verify it or publish it again", "model")
    if args.device == "cuda" and any("no GPU found" in line for line in said):
        try:
            give_up_gpu(args, "whisper.cpp sees no GPU here", MEND)
        except GpuUnavailable:
            whisper.whisper_free(context)
            raise
    return context


def written(whisper: Any, context: Any) -> Iterator[Written]:
    """Yield what the last run wrote, the end of the text among it."""
    for segment in range(whisper.whisper_full_n_segments(context)):
        for place in range(whisper.whisper_full_n_tokens(context, segment)):
            data = whisper.whisper_full_get_token_data(context, segment, place)
            yield Written(data.id, whisper.whisper_token_to_bytes(context, data.id), data.plog)


def _is_failure(line: str) -> bool:
    return any(word in line.lower() for word in ("failed", "error", "invalid", "unknown tensor", "bad magic"))


def _check_magic(file: Path) -> None:
    with file.open("rb") as opened:
        magic = opened.read(4)
    if magic != MAGIC[0]:
        kind = "a gguf file, which whisper.cpp does not read" if magic == MAGIC[1] else "no ggml file"
        raise ModelInitError(f"{file} is {kind}; convert it by whisper.cpp's models/convert-*-to-ggml.py", "model")
