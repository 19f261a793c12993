"""A site that no network reaches, from an empty store to the end of a service; prints what happened there as JSON.

    python -m tests.cluster.airgapped_site BUNDLE AUDIO FOLDER

What it starts has only this process's network: tests/cluster/test_start_airgapped.py gives it namespaces with
loopback and no process but its own. It is the first of these, as an init is, whose children Ray takes for orphans.
"""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.test_start import until_ready
from tests.conftest import ROOT

PORT = 8000
"""Nobody else is in the namespace."""


def main(bundle: Path, audio: Path, folder: Path) -> None:
    """Import the bundle, serve from it, transcribe, stop."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as temporary:  # short: Ray's sockets
        environment = _environment(folder, temporary)
        imported = _import(bundle, environment)
        text, code = _serve(audio, environment)
    print(json.dumps({**_network(), "refs": imported["refs"], "text": text, "exit_code": code}))


def _environment(folder: Path, temporary: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYSCRIBE_"))}
    places = {f"RAYSCRIBE_{name.upper()}": str(folder / name) for name in ("store", "cache", "jobs")}
    ray = {"RAY_TMPDIR": temporary, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    return {**inherited, **places, **ray}


def _import(bundle: Path, environment: dict[str, str]) -> Any:
    line = [sys.executable, "-m", "model_store", "bundle", "import", str(bundle), "--json"]
    done = subprocess.run(line, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def _serve(audio: Path, environment: dict[str, str]) -> tuple[str, int]:
    """Return the text and the exit code after SIGTERM."""
    line = [sys.executable, "-m", "serve_app.start", "configs/local.yaml"]
    child = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=sys.stderr)
    try:
        until_ready(f"http://127.0.0.1:{PORT}/ready", child)
        url, form = f"http://127.0.0.1:{PORT}/v1/audio/transcriptions", {"model": "high", "response_format": "text"}
        answer = httpx.post(url, data=form, files={"file": audio.read_bytes()}, timeout=200).raise_for_status()
        child.send_signal(signal.SIGTERM)
        return answer.text, child.wait(120)
    finally:
        child.kill()


def _network() -> dict[str, Any]:
    """What there is besides this machine."""
    with socket.socket() as probe:
        outside = errno.errorcode[probe.connect_ex(("1.1.1.1", 443))]
    return {"interfaces": [name for _, name in socket.if_nameindex()], "outside": outside}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
