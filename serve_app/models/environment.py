"""No model library opens a connection: what they would fetch, phone home or spawn is switched off before import."""

import os

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYANNOTE_METRICS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
}


def go_offline() -> None:
    """Set the libraries' own switches, over whatever the environment says."""
    os.environ.update(OFFLINE)
