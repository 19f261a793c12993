"""Make all demo models, one after the other, then every audio file that we ship: `python -m training`.

Some four hours on two cores. Each step is a command of its own, in a process of its own, and can be run alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

MINUTES = {"whisper": 55, "aligner": 30, "speakers": 80}
FOLDERS = {"whisper": "whisper", "aligner": "align", "speakers": "diarization"}


def main() -> None:
    """Run every step; the first that fails ends it."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(), help="folder that gets demo/ and tests/data/")
    parser.add_argument("--scale", type=float, default=1.0, help="of the training times; small ones to try the way")
    options = parser.parse_args()
    for step, minutes in MINUTES.items():
        out = options.out / "demo" / "models" / FOLDERS[step]
        run(step, "--minutes", str(minutes * options.scale), "--out", str(out))
    run("corpus", "--out", str(options.out))


def run(step: str, *options: str) -> None:
    """One step; raises CalledProcessError."""
    command = [sys.executable, "-m", f"training.{step}", *options]
    print("$", *command[1:], flush=True)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
