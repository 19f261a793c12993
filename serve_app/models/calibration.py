"""The batch size, measured on this machine once, in a quiet moment, and kept beside the node cache.

How much batching gains depends on the model, the device and the threads: on busy cores larger batches can even lose.
"""

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from filelock import FileLock, Timeout

from model_store.files import write_atomically
from serve_app.config import TranscriptionArgs

SIZES = (1, 2, 4, 8, 16, 32)
ENOUGH = 0.95
"""A smaller batch that gets so near to the best throughput is taken: its windows wait less."""
GAINING = 0.8
"""In twice the batch each window took this much of the time, or less: the next size is taken unmeasured."""
UNMEASURED_CPU, UNMEASURED_GPU = 4, 16
"""Windows in a batch until their number was measured."""
BUDGET_S = 4.0
"""What measuring may take; sizes 1 and 2 are measured whatever they take."""
ROUNDS = 2
"""The quicker of two rounds counts: the first also pays for memory."""
PATIENCE_S = 120.0
"""How long a process waits while others of its machine measure."""
LIBRARIES = ("ctranslate2", "faster-whisper")
"""The default back end's."""
FORMAT = 2

logger = logging.getLogger("ray.serve.rayscribe")

Clock = Callable[[], float]


@runtime_checkable
class Measurable(Protocol):
    """What is measured; back ends that gain by batching are."""

    threads: int

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""

    @property
    def compute_type(self) -> str:
        """What is really computed in."""

    def forced(self, size: int) -> None:
        """Decode a batch of a fixed length."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Windows per batch, and the seconds per window that were measured for each batch size."""

    batch_size: int
    seconds_per_window: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is to be measured of a loaded model, and where the result is kept: beside the node cache, `cache`.

    `digest` is the snapshot's. Of processes that measure side by side the last to finish is kept. Where `cache` cannot
    be written, the next process measures again.
    """

    model: Measurable
    args: TranscriptionArgs
    cache: Path | str
    digest: str
    libraries: Sequence[str] = LIBRARIES

    @property
    def unmeasured(self) -> int:
        """The batch size until one was measured."""
        return min(UNMEASURED_GPU if self.model.device == "cuda" else UNMEASURED_CPU, self.args.largest_batch)

    def kept(self) -> Tuning | None:
        """Return what was measured for this snapshot on this machine before."""
        return _kept(place(self.cache, self._key()), self._key())

    def measure(self, clock: Clock = time.perf_counter) -> Tuning:
        """Measure now; the machine should have nothing else to do, and its other processes wait for their turn."""
        with self._turn():
            return measured(self.model, self.args, clock)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        place = Path(self.cache) / "locks" / "calibration"
        lock = FileLock(place)
        with suppress(OSError, Timeout):  # a cache that cannot be written has no turns
            place.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=PATIENCE_S)
        try:
            yield
        finally:
            lock.release()

    def keep(self, tuning: Tuning) -> None:
        """Keep a tuning for the processes that come after."""
        _keep(place(self.cache, self._key()), self._key(), tuning)

    def _key(self) -> dict[str, Any]:
        return key_of(self.model, self.args, self.digest, self.libraries)


_pending: "WeakKeyDictionary[Any, Callable[[Any], Calibration]]" = WeakKeyDictionary()
"""What makes a model's calibration of it: one that held the model would keep it for ever."""


def batch_size_of(calibration: Calibration) -> int:
    """Return the batch size that was measured before; else one to begin with, and the measuring is `pending`."""
    if tuning := calibration.kept():
        return tuning.batch_size
    about = {each.name: getattr(calibration, each.name) for each in fields(calibration) if each.name != "model"}
    _pending[calibration.model] = partial(Calibration, **about)
    return calibration.unmeasured


def pending(model: object) -> Calibration | None:
    """Return what is yet to be measured of a model, to whoever asks first."""
    made = _pending.pop(model, None)
    return made(model) if made else None


def key_of(
    model: Measurable, args: TranscriptionArgs, digest: str, libraries: Sequence[str] = LIBRARIES
) -> dict[str, Any]:
    """Return all that a measurement holds for; whatever of it changes, it is measured again."""
    return {
        "format": FORMAT,
        "snapshot": digest,
        "device": device_name(model.device),
        "compute_type": model.compute_type,
        "threads": model.threads,
        "beam_size": args.beam_size,
        "largest_batch": args.largest_batch,
        "libraries": {name: version(name) for name in libraries},
    }


def place(cache: Path | str, key: Mapping[str, Any]) -> Path:
    """Return where the tuning for a key is kept."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return Path(cache) / "calibration" / f"{digest[:32]}.json"


def measured(model: Measurable, args: TranscriptionArgs, clock: Clock = time.perf_counter) -> Tuning:
    """Measure: the smallest batch near the best throughput."""
    most = args.largest_batch
    seconds, too_slow = _by_size(model, [*(size for size in SIZES if size < most), most], clock)
    batch_size = smallest_good(seconds)
    if too_slow and batch_size == max(seconds) and seconds[batch_size] <= GAINING * seconds[batch_size // 2]:
        batch_size = min(most, 2 * batch_size)
    return Tuning(batch_size, seconds)


def smallest_good(seconds_per_window: Mapping[int, float]) -> int:
    """Return the smallest batch size that reaches 95 % of the best throughput."""
    best = min(seconds_per_window.values())
    return min(size for size, seconds in seconds_per_window.items() if best >= ENOUGH * seconds)


def device_name(device: str) -> str:
    """Return the name of the GPU's or the CPU's make, without asking torch; the kind alone where nobody tells it."""
    if device == "cuda":
        return _field(sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")), "Model") or device
    return _field([Path("/proc/cpuinfo")], "model name") or platform.processor() or device


def _by_size(model: Measurable, sizes: Iterable[int], clock: Clock) -> tuple[dict[int, float], bool]:
    """Measure ascending batch sizes until two in a row gained nothing, the device is full, or (True) time is up."""
    began = clock()
    seconds: dict[int, float] = {}
    for size in sizes:
        expected = ROUNDS * size * min(seconds.values(), default=0.0)
        if size > 2 and _in_vain(list(seconds.values())):
            break
        if size > 2 and clock() - began + expected > BUDGET_S:
            return seconds, True
        took = _quickest(lambda size=size: model.forced(size), clock, first=not seconds)  # type: ignore[misc]
        if took is None:
            break
        seconds[size] = took / size
    return seconds, False


def _in_vain(seconds: list[float]) -> bool:
    return len(seconds) > 2 and min(seconds[-2:]) > ENOUGH * min(seconds[:-2])


def _quickest(run: Callable[[], object], clock: Clock, first: bool) -> float | None:
    """Return the quicker round's seconds; None when the device has no room for it, which the `first` may not lack."""
    rounds = []
    try:
        for _ in range(ROUNDS):
            began = clock()
            run()
            rounds.append(clock() - began)
    except (RuntimeError, MemoryError) as error:  # CTranslate2 says "out of memory" so
        if first:
            raise
        logger.info("measuring stops before this batch: %s", error)
        return None
    return min(rounds)


def _field(paths: Iterable[Path], name: str) -> str | None:
    """Return the first value of `name: value` in the first file that has one."""
    for path in paths:
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == name and value.strip():
                return value.strip()
    return None


def _kept(path: Path, key: Mapping[str, Any]) -> Tuning | None:
    """Read a kept tuning; None where there is none, or it is broken, or another key's."""
    try:
        kept = json.loads(path.read_text())
        if kept["key"] != key:
            return None
        seconds = {int(size): float(value) for size, value in kept["seconds_per_window"].items()}
        tuning = Tuning(int(kept["batch_size"]), seconds)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s is no calibration (%s: %s); it is measured again", path, type(error).__name__, error)
        return None
    return tuning if 1 <= tuning.batch_size <= key["largest_batch"] else None


def _keep(path: Path, key: Mapping[str, Any], tuning: Tuning) -> None:
    kept = {
        "key": key,
        "batch_size": tuning.batch_size,
        "seconds_per_window": tuning.seconds_per_window,
    }
    try:
        write_atomically(path, json.dumps(kept, indent=1).encode())
    except OSError as error:
        logger.warning("calibration is not kept (%s); make %s writable, or each start measures again", error, path)
    else:
        logger.info("measured %s", json.dumps({name: value for name, value in kept.items() if name != "key"}))
