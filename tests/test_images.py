"""What is said of the container images holds: locks agree, targets exist, nothing in them that is not needed."""

import re
from pathlib import Path
from typing import Any

import hcl2
import pytest

from tests.conftest import ROOT

LOCKS = ("requirements-uv.lock", "deploy/slim.lock", "deploy/cpu.lock", "deploy/cuda.lock")
DOCKERFILE = (ROOT / "Dockerfile").read_text()
CUDA = re.compile(r"nvidia-(?!ml-py)|triton$|torch$|torchaudio$|torchvision$")


def pinned(lock: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^([\w.-]+(?:\[\w+\])?)==([^\s;\\]+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_images_hold_what_is_tested(lock: str) -> None:
    """numpy has two versions in a lock for several Pythons; every pin is one of the main lock's."""
    assert pinned(lock)
    assert pinned(lock) <= pinned("requirements.lock")


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_have_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert text.count("--hash=sha256:") >= len(pinned(lock))
    assert "://" not in text


def test_what_cuda_needs_is_in_one_image_only() -> None:
    names = {lock: {name for name, _ in pinned(lock) if CUDA.match(name)} for lock in LOCKS}
    assert names["deploy/cpu.lock"] == names["deploy/slim.lock"] == set()
    assert len(names["deploy/cuda.lock"]) > 10


def test_pytorch_without_cuda_has_the_locked_versions() -> None:
    wanted = set(re.findall(r"(torch|torchaudio|torchvision)==([\d.]+)", DOCKERFILE))
    assert len(wanted) == 3
    assert wanted <= pinned("requirements.lock")


def test_the_slim_image_has_ffmpeg_and_no_model_library() -> None:
    names = {name for name, _ in pinned("deploy/slim.lock")}
    assert "av" in names
    assert not names & {"torch", "ctranslate2", "whisperx", "transformers", "pyannote-audio"}


def bake() -> dict[str, dict[str, Any]]:
    """The targets of docker-bake.hcl by name; HCL's strings keep their quotes."""
    with (ROOT / "docker-bake.hcl").open() as file:
        return {name.strip('"'): body for each in hcl2.load(file)["target"] for name, body in each.items()}


def test_every_target_that_is_baked_is_built() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE))
    targets = {name: body["target"].strip('"') for name, body in bake().items() if name != "common"}
    assert set(targets.values()) <= stages
    assert set(targets) == {"slim", "runtime-cpu", "runtime-cuda", "baked", "baked-production"}


def test_bake_says_only_what_buildx_knows() -> None:
    """buildx is silent about attributes that it does not know."""
    known = {"inherits", "dockerfile", "target", "tags", "args", "labels", "attest", "secret", "platforms"}
    said = {key for body in bake().values() for key in body if not key.startswith("__")}
    assert said <= known | {"cache-from", "cache-to"}


def test_every_argument_is_one_of_the_dockerfile() -> None:
    declared = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    assert {key for body in bake().values() for key in body.get("args", {}) if not key.startswith("__")} <= declared


def test_what_is_copied_is_sent_to_the_builder() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for path in " ".join(copied).split():
        assert any(path == each or Path(path).match(each) or path.startswith(f"{each}/") for each in sent), path
