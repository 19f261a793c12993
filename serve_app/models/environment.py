"""No model library opens a connection: what they would fetch, phone home or spawn is switched off before import."""

import importlib.util
import os
import sys
from types import ModuleType

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYANNOTE_METRICS_ENABLED": "0",
    "ORT_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
}


def go_offline() -> None:
    """Set the libraries' own switches, over whatever the environment says."""
    os.environ.update(OFFLINE)


def import_without(module: str, hidden: tuple[str, ...]) -> None:
    """Import a module as if some optional libraries were not installed: it then starts sooner and without them.

    Raises ImportError where one of them is not optional after all. A library that is loaded already stays.
    """
    added = [name for name in hidden if name not in sys.modules]
    sys.modules.update(dict.fromkeys(added))  # type: ignore[arg-type]  # None is Python's mark for "cannot be imported"
    try:
        importlib.import_module(module)
    finally:
        for name in added:
            del sys.modules[name]


def import_part(name: str) -> ModuleType:
    """Import a module of a package, `package.module`, without what the package's own file imports besides.

    Raises ImportError where the package is not installed, or the module needs more than there is.
    """
    package = name.partition(".")[0]
    if package in sys.modules:
        return importlib.import_module(name)
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    shell = ModuleType(package)
    shell.__path__ = spec.submodule_search_locations
    sys.modules[package] = shell
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[package]  # whoever imports the package later has all of it
