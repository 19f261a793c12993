# demo: see it work.  test: the default tests (test-all: the slow ones too).  check: lint, types, format.  setup: the environment and the demo models.
# kuberay: write the overlays from configs/.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
BIN := .venv/bin
export RAY_USAGE_STATS_ENABLED ?= 0

.PHONY: demo setup test test-all check format kuberay lock bench clean

demo: setup
	@$(BIN)/python -m demo

setup: .venv/.ready
	@$(BIN)/model-store publish 'demo-*'

test: setup
	$(BIN)/pytest

test-all: setup
	$(BIN)/pytest -m 'not container'

check: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m serve_app.serve_config configs/*.yaml
	$(BIN)/python -m serve_app.kuberay --check
	$(BIN)/python -m serve_app.kuberay_check
	$(BIN)/yamllint --strict .
	$(BIN)/hadolint Dockerfile

kuberay: .venv/.ready
	$(BIN)/python -m serve_app.kuberay

format: .venv/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.accuracy
	$(BIN)/python -m benchmarks.store

# All locks hold the same versions: those of requirements.lock.
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --quiet
lock: .venv/.ready
	$(COMPILE) pyproject.toml --extra dev -o requirements.lock
	printf 'uv\nhatchling\n' | $(COMPILE) - --constraint requirements.lock -o requirements-uv.lock
	$(COMPILE) pyproject.toml --extra whisper-cpp --constraint requirements.lock -o deploy/cuda.lock
	$(COMPILE) pyproject.toml --extra whisper-cpp --constraint requirements.lock --overrides deploy/cpu.overrides -o deploy/cpu.lock
	$(COMPILE) deploy/slim.in --constraint requirements.lock --overrides deploy/slim.overrides -o deploy/slim.lock

clean:
	rm -rf .venv .rayscribe

# uv, from its hash-checked lock, then everything else by uv; the marker is written last.
.venv/.ready: requirements.lock requirements-uv.lock pyproject.toml
	@scripts/environment.sh "$(PYTHON)"
	@touch $@
