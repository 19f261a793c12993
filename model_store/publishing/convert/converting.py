"""Running a conversion: inputs checked, a child process for the work, its files as a source."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import model_store
from model_store.errors import ConversionFailed, SourceCorrupt
from model_store.files import hash_file
from model_store.publishing.convert.recipes import SAYS, Recipe
from model_store.publishing.publish import ModelInfo
from model_store.sources.base import Collected, Source, files_below

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PYTHONPATH")


@dataclass(frozen=True)
class Converted:
    """A source's files after a conversion; a source itself, for as long as its `with` block lasts."""

    collected: Collected
    recipe: Recipe

    def collect(self) -> Collected:
        """The converted files; their origin is what they were made from."""
        return self.collected

    def describe(self, info: ModelInfo) -> ModelInfo:
        """`info` with the recipe's compute type and tools, and the memory that CTranslate2's weights take."""
        info = replace(info, tools={**info.tools, **self.recipe.tools()})
        if self.recipe.to != "whisper-ct2":
            return info
        memory_mb = math.ceil(self.collected.files["model.bin"].stat().st_size / 1e6)
        return replace(info, kind="whisper-ct2", compute_type=self.recipe.compute_type, memory_mb=memory_mb)


@contextmanager
def converted(source: Source, recipe: Recipe) -> Iterator[Converted]:
    """Convert a source; raises SourceError, of which ConversionFailed if the files cannot be converted.

    The same files and library versions give the same bytes each time.
    """
    recipe.tools()
    collected = source.collect()
    _require_promised(collected)
    with TemporaryDirectory(prefix="model-store-convert-") as temporary:
        inputs, outputs = Path(temporary, "in"), Path(temporary, "out")
        _lay_out(collected.files, inputs)
        _run(recipe, inputs, outputs)
        kept = recipe.kept(collected.files)
        files = dict(sorted({**kept, **files_below(outputs, ())}.items()))
        promised = {path: digest for path, digest in collected.sha256.items() if path in kept}
        yield Converted(replace(collected, files=files, sha256=promised), recipe)


def _require_promised(collected: Collected) -> None:
    """Publishing checks what it publishes; here the inputs are what the source made its promises of."""
    for path, expected in collected.sha256.items():
        got = hash_file(collected.files[path])
        if got != expected:
            raise SourceCorrupt(
                f"{path} is damaged: the source promises sha256 {expected}, {collected.files[path]} has {got}.",
                f"Delete {collected.files[path]} and publish again.",
                path=path,
                expected=expected,
                got=got,
            )


def _lay_out(files: dict[str, Path], directory: Path) -> None:
    """The files under their names; as links, for they may be gigabytes on another disk and nobody else sees them."""
    for path, file in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file.resolve())


def _run(recipe: Recipe, inputs: Path, outputs: Path) -> None:
    """Wait for the child; what it says last is the reason if it fails."""
    order = json.dumps({"to": recipe.to, "compute_type": recipe.compute_type, "in": str(inputs), "out": str(outputs)})
    command = [sys.executable, "-P", "-m", "model_store.publishing.convert.child", order]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise ConversionFailed(
            f"Converting to {recipe} failed: {_reason(done)}.",
            "Check that the source holds what this conversion takes, and --allow if you gave it.",
            recipe=str(recipe),
        )


def _environment() -> dict[str, str]:
    """No network, no tokens, no GPU: the files are all that a conversion may depend on."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    root = str(Path(model_store.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    return {**environment, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"}


def _reason(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode < 0:
        return f"the process was killed by signal {-done.returncode}; perhaps memory ran out"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    said = [line.removeprefix(SAYS) for line in lines if line.startswith(SAYS)]
    return (said or lines or [f"exit code {done.returncode}"])[-1].rstrip(".")
