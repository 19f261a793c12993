"""Lines that the model store holds: what it imports, how big its files are, errors that travel."""

import ast
import inspect
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import model_store
from model_store import errors

PACKAGE = Path(model_store.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)
ERRORS = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, Exception)]


def test_no_module_imports_ray_torch_or_numpy() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {MODULES!r}: importlib.import_module(name)\n"
        "loaded = {'ray', 'torch', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_files_stay_small(name: str) -> None:
    text = (PACKAGE.parent / Path(*name.split("."))).with_suffix(".py").read_text()
    assert text.count("\n") < 300
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("error", ERRORS)
def test_errors_survive_pickling(error: type[errors.ModelStoreError]) -> None:
    made = error("It broke.", "Mend it.", path="a", got=1)
    back = pickle.loads(pickle.dumps(made))
    assert type(back) is error
    assert (str(back), back.details, back.exit_code) == ("It broke. Mend it.", {"path": "a", "got": 1}, made.exit_code)
    assert back.exit_code in (2, 3, 4)


def test_public_names_are_there() -> None:
    assert sorted(model_store.__all__) == model_store.__all__
    assert all(hasattr(model_store, name) for name in model_store.__all__)
    exported = {error.__name__ for error in ERRORS}
    assert exported <= set(model_store.__all__)
