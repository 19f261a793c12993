"""What a process may import: the gateway and the pipeline stay small, and no stage drags in another's libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from serve_app.models.environment import import_part

ROOT = Path(__file__).parents[2]
HEAVY = {"ray", "torch", "av", "ctranslate2", "faster_whisper", "whisperx", "pyannote", "transformers", "onnxruntime"}


def imported_by(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after running code."""
    shown = f"{code}\nimport sys, json; print(json.dumps(sorted({HEAVY!r} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", shown], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_plain_modules_import_neither_ray_nor_any_model() -> None:
    names = """
        aligners alignment batching blocks channels config errors fetch_args flow known_speakers languages listening
        options pipeline presets quality speakers stages strict tape transcript voices window_work windows
    """
    modules = [f"serve_app.{name}" for name in names.split()]
    assert imported_by(f"import {', '.join(modules)}") == set()


def test_the_wire_imports_neither_ray_nor_any_model() -> None:
    files = (ROOT / "serve_app" / "wire").rglob("*.py")
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.stem != "__init__"]
    assert len(modules) > 5
    assert imported_by(f"import {', '.join(modules)}") == set()


def test_jobs_import_neither_ray_nor_any_model() -> None:
    files = (ROOT / "serve_app" / "jobs").rglob("*.py")
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.stem != "__init__"]
    assert len(modules) > 5
    assert imported_by(f"import {', '.join(modules)}") == set()


def test_what_checks_and_scales_imports_no_model() -> None:
    modules = ", ".join(f"serve_app.{name}" for name in ("autoscaling", "draining", "gpu_memory", "memory_need"))
    assert imported_by(f"import {modules}") == set()


def test_decoding_and_speech_detection_need_no_torch() -> None:
    code = (
        "from serve_app.config import VadArgs; from serve_app.models import audio, vad\n"
        "vad.SpeechWindows(VadArgs())(audio.decode(open('tests/data/one_sentence.flac', 'rb').read()))"
    )
    assert imported_by(code).isdisjoint({"ray", "torch", "transformers"})


def test_model_modules_import_no_model_library_by_themselves() -> None:
    names = "aligner calibration devices diarizer environment live_vad vad"
    modules = ", ".join(f"serve_app.models.{name}" for name in names.split())
    assert imported_by(f"import {modules}") == set()


def test_back_ends_and_the_command_line_import_no_library_by_themselves() -> None:
    files = (ROOT / "serve_app" / "models" / "transcribers").glob("*.py")
    modules = [f"serve_app.models.transcribers.{path.stem}" for path in files if path.stem != "__init__"]
    assert len(modules) > 8
    assert imported_by(f"import serve_app.transcribe, serve_app.local_stages, {', '.join(modules)}") == set()


def test_transcription_needs_no_torch(demo_models: Path) -> None:
    code = (
        "import numpy as np; from pathlib import Path; from serve_app.config import TranscriptionArgs\n"
        "from serve_app.models.transcribers.on_ctranslate2 import FasterWhisper as Transcriber\n"
        f"path = Path({str(demo_models / 'whisper')!r})\n"
        "Transcriber(path, TranscriptionArgs(model='demo', device='cpu'), ['en'], 1).warm_up()"
    )
    assert imported_by(code).isdisjoint({"ray", "torch", "transformers", "whisperx"})


def test_the_deployments_import_ray_and_no_model() -> None:
    assert imported_by("import serve_app.app, serve_app.deployments, serve_app.handles") == {"ray"}


def test_the_aligner_starts_without_what_it_does_not_use() -> None:
    code = (
        "import sys; from serve_app.models.environment import import_without\n"
        "import_without('whisperx.alignment', ('sklearn', 'torchvision'))\n"
        "assert not {'sklearn', 'torchvision'} & set(sys.modules)\n"
        "import sklearn"
    )
    assert "whisperx" in imported_by(code)


def test_hiding_what_a_library_needs_is_an_error_and_leaves_no_trace() -> None:
    code = (
        "import sys; from serve_app.models.environment import import_without\n"
        "try: import_without('colorsys_user', ('colorsys',))\n"
        "except ImportError: print('refused', 'colorsys' in sys.modules)"
    )
    with TemporaryDirectory() as folder:
        Path(folder, "colorsys_user.py").write_text("import colorsys\n")
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:0] = [{folder!r}]\n{code}"],
            cwd=ROOT,
            text=True,
            capture_output=True,
            check=True,
        )
    assert done.stdout.split() == ["refused", "False"]


def test_a_pipeline_starts_and_hears_in_the_slim_image() -> None:
    """What that image lacks is hidden here."""
    code = (
        "from types import SimpleNamespace\n"
        "from serve_app.config import PresetArgs, VadArgs\n"
        "from serve_app.deployments import Pipeline\n"
        "from serve_app.models.audio import decode\n"
        "from serve_app.models.vad import SpeechWindows\n"
        "stage = SimpleNamespace(wake=SimpleNamespace(remote=lambda: None))\n"
        "Pipeline(PresetArgs(preset='fast', transcription={'model': 'm'}), transcription=stage)\n"
        "samples = decode(open('tests/data/ten_seconds.flac', 'rb'))\n"
        "assert SpeechWindows(VadArgs())(samples)\n"
    )
    slim = os.pathsep.join([str(ROOT / "tests" / "cluster" / "slim"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": slim},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_part_of_a_package_leaves_the_package_whole() -> None:
    code = (
        "import sys; from serve_app.models.environment import import_part\n"
        "vad = import_part('faster_whisper.vad')\n"
        "assert 'ctranslate2' not in sys.modules and 'faster_whisper' not in sys.modules\n"
        "import faster_whisper\n"
        "assert faster_whisper.WhisperModel and import_part('faster_whisper.vad') is vad\n"
    )
    assert "ctranslate2" in imported_by(code)


@pytest.mark.parametrize("name", ["no_such_package.part", "colorsys.part"])
def test_a_part_of_no_package_is_an_error(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        import_part(name)
