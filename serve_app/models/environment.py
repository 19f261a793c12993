"""No model library opens a connection: what they would fetch, phone home or spawn is switched off before import."""

import importlib
import os
import sys

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
