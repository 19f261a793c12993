"""whisper.cpp's own: what is said when its library, its files or an option are not there, and a quiet end."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model_store import DirectoryStore, ModelInfo, publish
from model_store.sources import DirectorySource
from serve_app.config import TranscriptionArgs
from serve_app.errors import LibraryLoadError, ModelInitError, UnsupportedOption, WrongSnapshot
from serve_app.models.transcribers.interface import Transcriber
from serve_app.models.transcribers.on_whisper_cpp import WhisperCpp
from serve_app.models.transcribers.whisper_cpp_options import suppressed
from serve_app.options import DecodeOptions
from serve_app.stages import Audio
from serve_app.transcribe import load as load_model

ARGS = TranscriptionArgs(model="m", device="cpu", backend="whisper-cpp")


@pytest.fixture(autouse=True)
def _needs_the_library() -> None:
    pytest.importorskip("_pywhispercpp")


def load(path: Path) -> WhisperCpp:
    return WhisperCpp(path, ARGS, ["en"], 1)


def test_without_its_library_the_mend_is_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ggml-x.bin").write_bytes(b"lmgg")
    monkeypatch.setitem(sys.modules, "_pywhispercpp", None)
    with pytest.raises(LibraryLoadError, match=r"pip install 'rayscribe\[whisper-cpp\]'"):
        load(tmp_path)


def test_a_snapshot_without_a_ggml_file_tells_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(WrongSnapshot, match=r"lacks ggml-\*\.bin, which backend whisper-cpp needs"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\3\4", "no ggml file; convert it"),
        (b"GGUF", "a gguf file"),
        (b"", "no ggml"),
    ],
)
def test_what_is_no_ggml_file_is_refused_before_the_library_sees_it(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "ggml-x.bin").write_bytes(data)
    with pytest.raises(ModelInitError, match=said):
        load(tmp_path)


def test_a_file_that_ends_early_is_an_error_in_the_librarys_words(
    snapshot_of: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = (snapshot_of("whisper-cpp") / "ggml-demo.bin").read_bytes()
    (tmp_path / "ggml-x.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelInitError, match=r"whisper\.cpp cannot load .*(failed|ERROR)"):
        load(tmp_path)


def test_a_quantised_file_is_half_as_large_and_hears_the_same(
    snapshot_of: Callable[[str], Path],
    loaded: Callable[..., Transcriber],
    demo_models: Path,
    tmp_path: Path,
    ten_seconds: Audio,
) -> None:
    from training.whisper.to_ggml import to_ggml

    small = to_ggml(demo_models / "whisper", tmp_path / "ggml-q8_0.bin", "q8_0")
    assert small.stat().st_size < 0.6 * (snapshot_of("whisper-cpp") / "ggml-demo.bin").stat().st_size
    texts = [
        model.transcribe([ten_seconds], DecodeOptions("en"))[0].text
        for model in (load(tmp_path), loaded("whisper-cpp"))
    ]
    assert texts[0] == texts[1] != ""


def test_a_process_that_loaded_it_ends_in_peace(snapshot_of: Callable[[str], Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from serve_app.config import TranscriptionArgs\n"
        "from serve_app.models.transcribers.on_whisper_cpp import WhisperCpp\n"
        "args = TranscriptionArgs(model='m', device='cpu', backend='whisper-cpp')\n"
        "kept = WhisperCpp(Path(sys.argv[1]), args, ['en'], 1); kept.warm_up()\n"
        "assert not {'torch', 'ray', 'transformers'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(snapshot_of("whisper-cpp"))]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_snapshot_of_the_store_is_loaded_by_the_back_end_that_reads_its_kind(
    snapshot_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ten_seconds: Audio
) -> None:
    made, store = snapshot_of("whisper-cpp"), DirectoryStore(tmp_path / "store")
    publish(DirectorySource(str(made), made), "demo-ggml", store, "v1", ModelInfo("whisper-ggml", "MIT", ("en",)))
    monkeypatch.setenv("RAYSCRIBE_STORE", str(store.root))
    monkeypatch.setenv("RAYSCRIBE_CACHE", str(tmp_path / "cache"))
    model = load_model("demo-ggml@v1", "whisper-cpp", {"device": "cpu", "threads": 1})
    assert (model.languages, model.batch_size) == (("en",), 1)
    assert model.transcribe([ten_seconds], DecodeOptions("en"))[0].text.startswith(" he falls")
    with pytest.raises(WrongSnapshot, match=r"'demo-ggml' is a whisper-ggml: .* or set backend: whisper-cpp"):
        load_model("demo-ggml@v1", None, {"device": "cpu"})


@pytest.mark.parametrize("name", ["beam_size", "best_of"])
def test_no_more_decoders_than_whisper_cpp_holds(
    loaded: Callable[..., Transcriber], ten_seconds: Audio, name: str
) -> None:
    with pytest.raises(UnsupportedOption, match=f"takes a {name} of at most 8") as caught:
        loaded("whisper-cpp").transcribe([ten_seconds], DecodeOptions("en", **{name: 9}))
    assert caught.value.param == name


def test_a_configs_beam_that_is_too_wide_is_no_narrower_one(snapshot_of: Callable[[str], Path]) -> None:
    wide = TranscriptionArgs(model="m", device="cpu", backend="whisper-cpp", beam_size=9)
    with pytest.raises(ModelInitError, match="has no beam_size of 9; set at most 8 in the config"):
        WhisperCpp(snapshot_of("whisper-cpp"), wide, ["en"], 1)


def test_silence_is_told_from_speech(loaded: Callable[..., Transcriber], ten_seconds: Audio) -> None:
    model, nothing = loaded("whisper-cpp"), np.zeros(16_000, np.float32)
    silence, speech = model.transcribe([nothing, ten_seconds], DecodeOptions("en"))
    assert (silence.no_speech_prob, speech.no_speech_prob) == (1.0, 0.0)
    (kept,) = model.transcribe([nothing], DecodeOptions("en", no_speech_threshold=None))
    assert kept.no_speech_prob == 0.0
    assert kept.tokens


def test_suppressed_tokens_are_literal_and_whole_characters() -> None:
    words = {1: b" a.b", 2: b"\xc2"}
    assert suppressed(DecodeOptions(), words.__getitem__) is None
    assert suppressed(DecodeOptions(suppress_tokens=(-1, 1)), words.__getitem__) == r"\ a\.b"
    with pytest.raises(UnsupportedOption, match="cannot suppress token 2, which is a part of a character"):
        suppressed(DecodeOptions(suppress_tokens=(2,)), words.__getitem__)
