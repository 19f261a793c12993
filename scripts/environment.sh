#!/bin/sh
# Makes .venv from the hash-checked locks. $1: the Python to use (3.11 to 3.13).
set -eu
cd "$(dirname "$0")/.."
python=${1:-python3}

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || {
    echo "rayscribe needs Python 3.11, 3.12 or 3.13; '$python' is none of them. Name one: make PYTHON=/path/to/python3.11" >&2
    exit 1
}
[ -x .venv/bin/pip ] || "$python" -m venv .venv || {
    echo "could not make a virtual environment; on Debian: apt-get install python3-venv" >&2
    exit 1
}
echo "Setting up .venv (some 8 GB on disk; about a minute with a quick registry) …"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
# Compiled now: a service is a score of processes that import the same, and some environments let none of them write bytecode.
.venv/bin/uv pip install --quiet --python .venv/bin/python --compile-bytecode --require-hashes -r requirements.lock
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
