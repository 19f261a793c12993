from typing import Any

import pytest

from serve_app.gpu_memory import VARIABLE, BadGpuMemory, gpu_memory_gb
from serve_app.hardware.nvidia import Gpu
from serve_app.models.devices import cap_torch, torch_fraction


@pytest.fixture(autouse=True)
def _nothing_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def gpus(*sizes_gb: float) -> tuple[Gpu, ...]:
    return tuple(Gpu("a GPU", size, size, 8.9) for size in sizes_gb)


def test_the_smallest_gpu_that_the_driver_names_counts() -> None:
    assert gpu_memory_gb(lambda: gpus(25.8, 16.1)) == 16.1


def test_what_is_stated_comes_before_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "40")
    assert gpu_memory_gb(lambda: gpus(25.8)) == 40


@pytest.mark.parametrize("text", ["a lot", "0", "-1", "24GB", "nan"])
def test_what_is_stated_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(BadGpuMemory, match=f"'{text}'; give the GB of one GPU as a number"):
        gpu_memory_gb()


def test_no_gpu_is_no_knowledge() -> None:
    assert gpu_memory_gb(gpus) is None


def test_torch_gets_the_share_less_the_context() -> None:
    assert torch_fraction(0.4, 24 * 10**9) == pytest.approx(0.4 - 0.5 / 24)
    assert torch_fraction(2, 50 * 10**9) == pytest.approx(0.99)
    assert torch_fraction(0.01, 24 * 10**9) == 0.01
    assert torch_fraction(0, 24 * 10**9) == 1


def torch_where(gpu: bool) -> Any:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available() is not gpu:
        pytest.skip("for a machine with a GPU" if gpu else "for a machine without a GPU")
    return torch


def test_without_a_gpu_nothing_is_capped() -> None:
    torch_where(gpu=False)
    assert cap_torch(0.4) is None


@pytest.mark.gpu
def test_torch_is_refused_more_than_its_share() -> None:
    torch = torch_where(gpu=True)
    fraction = cap_torch(0.1)
    assert fraction
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(1.1 * fraction * total), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
