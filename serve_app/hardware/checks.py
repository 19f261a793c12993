"""What the doctor looks at beside the model store: whether this machine can run what the service is made of."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from model_store.upkeep.doctor import Finding
from serve_app.hardware.machine import Machine
from serve_app.hardware.nvidia import OLDEST

CUDA_MAJOR = 12
"""CTranslate2's wheels and those of torch are built for it; a driver runs every version up to its own."""
CUDNN_MAJOR = 9
"""What CTranslate2 loads."""
LEAST_SHARED_GB = 1.0
"""Windows and blocks under way lie there: a request has 30 MB or more."""
PROBES = {
    "CTranslate2": "import torch, ctranslate2; print(ctranslate2.get_cuda_device_count())",
    "torch": "import torch; print(torch.cuda.device_count() and sum(torch.ones(2, device='cuda').tolist()) / 2)",
}
"""Library → a program that prints more than 0 where it can use a GPU."""


def examine_machine(machine: Machine, probe: Callable[[str], str] | None = None) -> list[Finding]:
    """Look at the machine and at the libraries; `probe` runs a program, which takes seconds, and tells what it said."""
    return [*_memory(machine), *_gpus(machine), *_cuda(machine, probe), _audio()]


def run_python(program: str) -> str:
    """Run a program by this Python; returns its output, or what went wrong."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def _memory(machine: Machine) -> Iterator[Finding]:
    yield Finding("processor", "ok", f"{machine.cpus:g} cores may be used")
    yield Finding("memory", "ok", f"{machine.memory_gb:.1f} GB may be used")
    shared = machine.shared_memory_gb
    if shared is not None and shared < LEAST_SHARED_GB:
        text = f"/dev/shm has {shared:g} GB: Ray keeps audio on the disk instead, which is slow"
        yield Finding("shared memory", "warn", text, "docker run --shm-size 2g; in Kubernetes an emptyDir of Memory.")
    elif shared is not None:
        yield Finding("shared memory", "ok", f"{shared:g} GB for Ray's object store")


def _gpus(machine: Machine) -> Iterator[Finding]:
    if not machine.gpus:
        found = "no NVIDIA driver answers" if machine.driver is None else "the driver shows no GPU"
        yield Finding("GPU", "ok", f"{found}: models run on the CPU")
    for gpu in machine.gpus:
        text = f"{gpu.name}: {gpu.memory_gb:g} GB, {gpu.free_gb:g} free, compute capability {gpu.capability:g}"
        if gpu.capability < OLDEST:
            yield Finding("GPU", "warn", text, f"The libraries need {OLDEST:g}: set device: cpu, or use a newer GPU.")
        elif gpu.free_gb < gpu.memory_gb / 2:
            yield Finding("GPU", "warn", text, "Another program holds more than half of it: nvidia-smi shows which.")
        else:
            yield Finding("GPU", "ok", text)
        if gpu.exclusive and not (machine.driver and machine.driver.mps):
            text = f"{gpu.name} takes one process at a time, but each replica is a process"
            yield Finding("GPU sharing", "fail", text, "nvidia-smi --compute-mode DEFAULT, or start MPS.")
    if machine.gpus and machine.driver:
        text = "MPS runs: replicas compute side by side" if machine.driver.mps else "without MPS: replicas take turns"
        yield Finding("MPS", "ok", text)


def _cuda(machine: Machine, probe: Callable[[str], str] | None) -> Iterator[Finding]:
    """The driver against the libraries, by their versions and then by trying."""
    if not machine.gpus or machine.driver is None:
        return
    driver = machine.driver
    text = f"driver {driver.version} runs CUDA up to {driver.cuda}"
    if int(driver.cuda.partition(".")[0]) < CUDA_MAJOR:
        yield Finding("CUDA", "fail", text, f"CTranslate2 and torch need CUDA {CUDA_MAJOR}: update the driver.")
    else:
        yield Finding("CUDA", "ok", f"{text}; torch was built for {_torch_cuda() or 'no CUDA at all'}")
    if not _torch_cuda():
        yield Finding("torch", "fail", "this torch was built for CPUs", "Install from requirements.lock or cuda.lock.")
        return
    cudnn = _version(f"nvidia-cudnn-cu{CUDA_MAJOR}")
    if cudnn and cudnn.partition(".")[0] != str(CUDNN_MAJOR):
        yield Finding("cuDNN", "fail", f"{cudnn} is installed", f"CTranslate2 needs {CUDNN_MAJOR}: use our locks.")
    else:
        yield Finding("cuDNN", "ok", f"{cudnn} comes with torch" if cudnn else "the system's is used")
    if probe is None:
        return
    for library, program in PROBES.items():
        said = probe(program)
        if said.replace(".", "", 1).isdecimal() and float(said) > 0:
            yield Finding(library, "ok", "computes on the GPU" if library == "torch" else f"sees {said} of them")
        else:
            mend = "nvidia-smi must list the GPU here (docker run --gpus all); else models run on the CPU."
            yield Finding(library, "fail", f"cannot use the GPU: {said or 'it ended without a word'}", mend)


def _torch_cuda() -> str:
    """Return the CUDA version that torch was built for, without importing it; empty for none."""
    spec = find_spec("torch")
    if spec is None or not spec.origin:
        return ""
    text = (Path(spec.origin).parent / "version.py").read_text()
    found = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)", text, re.MULTILINE)
    return found[1] if found else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _audio() -> Finding:
    try:
        import av
    except ImportError as error:
        return Finding("audio", "fail", f"PyAV cannot be imported: {error}", "Install from requirements.lock.")
    return Finding("audio", "ok", f"FFmpeg {av.ffmpeg_version_info} is inside PyAV; no ffmpeg command is needed")
