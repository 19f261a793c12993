"""The command line: openai-whisper's JSON from a file or stdin, in this process, and errors that name the mend."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from serve_app.models.transcribers.names import resolve_name
from serve_app.transcribe import main

ROOT = Path(__file__).parents[2]
WHISPER = ("--model", str(ROOT / "demo/models/whisper"), "--device", "cpu", "--threads", "1")


def run(*line: str, stdin: bytes | None = None) -> Any:
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, line, input=stdin)


@pytest.fixture
def clip(data: Path) -> Path:
    return data / "ten_seconds.flac"


def test_a_file_becomes_openai_whispers_json(clip: Path, sample: Any) -> None:
    done = run(str(clip), *WHISPER, "--language", "en")
    assert done.exit_code == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["text"].split() == sample("ten_seconds").words
    assert set(body) == {"text", "segments", "language"}
    (segment,) = body["segments"]
    assert list(segment) == [
        *("id", "seek", "start", "end", "text", "tokens", "temperature"),
        *("avg_logprob", "compression_ratio", "no_speech_prob"),
    ]
    assert 0 <= segment["start"] < segment["end"] <= 10
    assert segment["seek"] == int(segment["start"] * 100)


def test_stdin_and_clips_and_a_prompt(clip: Path) -> None:
    line = ("-", *WHISPER, "--language", "en", "--clip_timestamps", "0,5", "--initial_prompt", "The cat.")
    done = run(*line, "--output_format", "txt", stdin=clip.read_bytes())
    assert done.stdout == "he falls with his sister before the party the rich student talks about\n"


def test_thresholds_say_which_temperature_is_the_last_one_tried(clip: Path) -> None:
    line = (str(clip), *WHISPER, "--language", "en", "--clip_timestamps", "0,5", "--temperature", "0,0.4")
    strict = ("--logprob_threshold", "-0.0", "--no_speech_threshold", "1")
    (doubtful,) = json.loads(run(*line, *strict).stdout)["segments"]
    assert doubtful["suspect"]
    (good,) = json.loads(run(*line, "--compression_ratio_threshold", "9").stdout)["segments"]
    assert (good["temperature"], "suspect" in good) == (0.0, False)
    repetitive = json.loads(run(*line, "--compression_ratio_threshold", "0.1").stdout)["segments"]
    assert all(segment["suspect"] for segment in repetitive)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--clip_timestamps", "0,x"), "no list of seconds"),
        (("--temperature", "0,1.5"), "less than or equal to 1"),
        (("--backend", "wisper-cpp"), "did you mean 'whisper-cpp'"),
        (("--compute_type", "float16"), "needs a GPU"),
        (("--compute_type", "int3"), "Input should be"),
        (("--backend", "transformers"), "lacks generation_config.json, *.safetensors, which backend transformers"),
        (("--language", "xx"), "does not hear language 'xx'"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_written(clip: Path, line: tuple[str, ...], said: str) -> None:
    done = run(str(clip), *WHISPER, *line)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_no_audio_and_no_model_are_errors_too(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No such file" in run(str(tmp_path / "none.wav"), *WHISPER).stderr
    assert "no audio or video" in run("-", *WHISPER, stdin=b"no audio at all").stderr
    monkeypatch.setenv("RAYSCRIBE_STORE", str(tmp_path))
    missing = run(str(clip), "--model", "turbo", "--backend", "whisper-cpp", "--device", "cpu")
    assert missing.exit_code == 2
    assert "whisper-large-v3-turbo-ggml" in missing.stderr


def test_a_process_of_its_own_needs_neither_ray_nor_torch(clip: Path) -> None:
    code = (
        "import sys, runpy\n"
        "try: runpy.run_module('serve_app.transcribe', run_name='__main__')\n"
        "except SystemExit as done: assert not done.code\n"
        "assert not {'ray', 'torch', 'fastapi', 'transformers'} & set(sys.modules), 'heavy'"
    )
    line = [sys.executable, "-c", code, "-", *WHISPER, "--clip_timestamps", "0,3"]
    done = subprocess.run(line, cwd=ROOT, input=clip.read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["language"] == "en"


@pytest.mark.parametrize(
    ("asked", "backend", "name"),
    [
        ("tiny", "faster-whisper", "whisper-tiny"),
        ("large", "transformers", "whisper-large-v3-transformers"),
        ("turbo", "whisper-cpp", "whisper-large-v3-turbo-ggml"),
        ("medium.en", "faster-whisper", "whisper-medium.en"),
        ("mine@v2", "whisper-cpp", "mine@v2"),
        ("small", "theirs", "whisper-small"),
    ],
)
def test_whispers_names_are_snapshots_of_the_back_ends_kind(asked: str, backend: str, name: str) -> None:
    assert resolve_name(asked, backend) == name


def test_turbo_says_what_it_means(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    resolve_name("turbo", "faster-whisper")
    assert "turbo means large-v3-turbo" in caplog.text
