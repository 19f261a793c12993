"""The images as they run: another user, a read-only root, no network, KubeRay's probes, an end that loses nothing.

pytest -m container          with images that were built before, and podman:
RAYSCRIBE_SLIM=localhost/rayscribe:slim RAYSCRIBE_BAKED=localhost/rayscribe:baked
RAYSCRIBE_PODMAN="podman --runtime runc"
"""

import os
import shlex
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.container
PODMAN = shlex.split(os.environ.get("RAYSCRIBE_PODMAN", "podman"))
SMALL = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4000:4000", "--no-healthcheck"]
HARD = [
    "--read-only",
    "--tmpfs",
    "/tmp",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--network",
    "none",
]
CLIP = ROOT / "tests" / "data" / "ten_seconds.flac"
LONG = ROOT / "tests" / "data" / "two_minutes.flac"
FLAC = "--header 'Content-Type: audio/flac'"
FAST = "http://127.0.0.1:8000/v1/audio/transcriptions?model=fast&response_format=text"
READY_WITHIN_S = 400
WINDOWS = "grep -rhs 'CALL transcribe' /tmp/ray/session_latest/logs/serve | wc -l"


def image(target: str) -> str:
    name = os.environ.get(f"RAYSCRIBE_{target.upper()}")
    if not name:
        pytest.skip(f"RAYSCRIBE_{target.upper()} names no image of target {target}")
    return name


def podman(*arguments: str | Path, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PODMAN, *map(str, arguments)], capture_output=True, text=True, **kwargs)  # type: ignore[call-overload]


@dataclass
class Container:
    """A running one; what is asked of it is asked from inside, since it has no network."""

    name: str
    child: "subprocess.Popen[str]"
    began: float = field(default_factory=time.monotonic)

    def run(self, command: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        return podman("exec", "-i", self.name, "bash", "-c", command, **kwargs)

    def until(self, command: str) -> float:
        """Wait until a probe passes; return the seconds since the start."""
        while self.run(command).returncode:
            assert self.child.poll() is None, self.child.communicate()[0][-3000:]
            assert time.monotonic() - self.began < READY_WITHIN_S, self.run(
                "tail -50 /tmp/ray/session_latest/logs/serve/*"
            )
            time.sleep(0.2)  # between two looks
        return time.monotonic() - self.began

    def transcribe(self, path: str, preset: str) -> subprocess.CompletedProcess[str]:
        client = (
            "import httpx, sys; a = httpx.post('http://127.0.0.1:8000/v1/audio/transcriptions', timeout=300, "
            f"data={{'model': '{preset}', 'response_format': 'text'}}, files={{'file': open('{path}', 'rb')}}); "
            "print(a.text); sys.exit(a.status_code != 200)"
        )
        return self.run(f'python -c "{client}"')


@pytest.fixture(scope="module")
def baked() -> Iterator[Container]:
    name = f"rayscribe-{uuid.uuid4().hex[:8]}"
    mounts = ["-v", f"{CLIP.parent}:/data:ro"]
    line = [*PODMAN, "run", "--name", name, *SMALL, *HARD, *mounts, image("baked")]
    child = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    yield Container(name, child)
    podman("rm", "--force", name)
    child.wait(60)


def test_slim_has_a_gateway_and_a_pipeline_but_no_model_library_and_no_compiler() -> None:
    code = (
        "import os, shutil, serve_app.app, serve_app.deployments, importlib.util\n"
        "from serve_app.models.live_vad import LiveVad; LiveVad()\n"
        "from serve_app.config import VadArgs; from serve_app.models.vad import SpeechFinder; SpeechFinder(VadArgs())\n"
        "from serve_app.models.audio import decode; assert len(decode(open('/data/ten_seconds.flac', 'rb'))) > 1e5\n"
        "assert not any(map(importlib.util.find_spec, ('torch', 'ctranslate2', 'transformers')))\n"
        "assert os.getuid() == 10001\n"
        "assert not any(map(shutil.which, ('gcc', 'cc', 'make')))\n"
        "assert all(map(shutil.which, ('bash', 'wget', 'grep', 'ray')))\n"
    )
    mounts = ["-v", f"{CLIP.parent}:/data:ro"]
    done = podman("run", "--rm", *SMALL, *HARD, *mounts, image("slim"), "python", "-c", code)
    assert done.returncode == 0, done.stderr


def test_slim_is_small() -> None:
    size = podman("image", "inspect", "--format", "{{.Size}}", image("slim"))
    assert int(size.stdout) < 950e6


def test_baked_starts_offline_and_is_asked_as_kuberay_asks(baked: Container) -> None:
    first = baked.until(f"wget -q -T 60 -O- --post-file=/data/ten_seconds.flac {FLAC} '{FAST}' | grep 'he falls'")
    ready = baked.until(
        "wget -q -T 2 -O- http://127.0.0.1:8000/-/healthz | grep success && wget -q -T 4 -O- http://127.0.0.1:8000/ready"
    )
    print(f"first transcript after {first:.1f} s, every preset ready after {ready:.1f} s")
    text = baked.transcribe("/data/ten_seconds.flac", "high")
    assert text.stdout.startswith("he falls with his sister"), text.stderr
    assert baked.run("id -u").stdout.strip() == "10001"
    assert baked.run("touch /opt/rayscribe/x").returncode


def test_it_answers_what_it_was_asked_before_it_ends(baked: Container) -> None:
    baked.until("wget -q -T 4 -O- http://127.0.0.1:8000/ready")
    answers: list[subprocess.CompletedProcess[str]] = []
    done = baked.run(WINDOWS).stdout.strip() or "0"
    asking = threading.Thread(target=lambda: answers.append(baked.transcribe("/data/two_minutes.flac", "high")))
    asking.start()
    baked.until(f'[ "$({WINDOWS})" -gt {done} ]')  # it is in work
    assert podman("kill", "--signal", "TERM", baked.name).returncode == 0
    asking.join(120)
    assert [answer.returncode for answer in answers] == [0], answers
    assert len(answers[0].stdout.split()) > 100
    assert baked.child.wait(120) == 0
