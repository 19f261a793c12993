# syntax=docker/dockerfile:1
# Targets: slim (Ray's head, the gateway), runtime-cpu, runtime-cuda, baked (runtime-cpu with models inside). See docs/containers.md.
# Layers from what changes least to what changes most: system, libraries, our own code. No heredocs and no COPY --link, so that
# buildah builds it too.

# Any image with Python 3.11 and apt. CUDA needs no other: PyTorch's wheels bring its libraries, the node its driver.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# KubeRay's probes run bash, wget and grep. Versions are those of the base image's release.
# hadolint ignore=DL3008
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
    && apt-get update \
    && apt-get install -y --no-install-recommends bash ca-certificates grep wget \
    && useradd --uid 10001 --user-group --create-home rayscribe \
    && install -d -o 10001 -g 10001 /var/lib/rayscribe /opt/rayscribe
# HOME is where Ray keeps its token: with a read-only root only /tmp (a tmpfs) and the volume can be written.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    ORT_DISABLE_TELEMETRY=1 \
    RAYSCRIBE_STORE=/var/lib/rayscribe/store \
    RAYSCRIBE_CACHE=/var/lib/rayscribe/cache \
    RAYSCRIBE_JOBS=/var/lib/rayscribe/jobs \
    RAYSCRIBE_HOST=0.0.0.0
WORKDIR /opt/rayscribe
VOLUME /var/lib/rayscribe
EXPOSE 8000
# hadolint ignore=DL3025
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD wget -q -T 4 -O- http://127.0.0.1:8000/health | grep -q ok

# What installs: never in an image that runs.
FROM base AS tools
ENV HOME=/root
COPY requirements-uv.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --require-hashes -r requirements-uv.lock \
    && python3 -m venv --without-pip /opt/venv
ENV UV_PYTHON=/opt/venv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1

FROM tools AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY serve_app serve_app
COPY model_store model_store
COPY benchmarks benchmarks
COPY demo/*.py demo/
RUN /opt/tools/bin/python -m hatchling build -t wheel -d /wheels

FROM tools AS venv-slim
COPY deploy/slim.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/tools/bin/uv pip install --no-deps --require-hashes -r slim.lock

FROM tools AS venv-cuda
COPY deploy/cuda.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/tools/bin/uv pip install --no-deps --require-hashes -r cuda.lock

# PyPI has PyTorch for x86 with CUDA only. Its builds without come from PyTorch's index, by version: their hashes are not
# locked. With TORCH_INDEX= (empty) the image has those of PyPI, 5 GB larger.
FROM tools AS venv-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY deploy/cpu.lock deploy/cuda.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    if [ -n "$TORCH_INDEX" ]; then \
        /opt/tools/bin/uv pip install --no-deps --require-hashes -r cpu.lock \
        && /opt/tools/bin/uv pip install --no-deps --index-url "$TORCH_INDEX" \
            torch==2.8.0 torchaudio==2.8.0 torchvision==0.23.0; \
    else \
        /opt/tools/bin/uv pip install --no-deps --require-hashes -r cuda.lock; \
    fi

FROM base AS slim
COPY --from=venv-slim /opt/venv /opt/venv
COPY --from=wheel /wheels /opt/wheels
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    /opt/tools/bin/uv pip install --no-cache --python /opt/venv --compile-bytecode --no-deps /opt/wheels/*.whl
COPY configs configs
USER 10001:10001
CMD ["ray", "start", "--head", "--num-cpus=0", "--block"]

FROM base AS runtime-cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/opt/venv/lib/python3.11/site-packages/nvidia/cublas/lib:/opt/venv/lib/python3.11/site-packages/nvidia/cudnn/lib \
    RAYSCRIBE_CONFIG=configs/single-gpu.yaml
COPY --from=venv-cuda /opt/venv /opt/venv
COPY --from=wheel /wheels /opt/wheels
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    /opt/tools/bin/uv pip install --no-cache --python /opt/venv --compile-bytecode --no-deps /opt/wheels/*.whl
COPY configs configs
USER 10001:10001
ENTRYPOINT ["python", "-m", "serve_app.start"]

FROM base AS runtime-cpu
ENV RAYSCRIBE_CONFIG=configs/cpu.yaml
COPY --from=venv-cpu /opt/venv /opt/venv
COPY --from=wheel /wheels /opt/wheels
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    /opt/tools/bin/uv pip install --no-cache --python /opt/venv --compile-bytecode --no-deps /opt/wheels/*.whl
COPY configs configs
USER 10001:10001
ENTRYPOINT ["python", "-m", "serve_app.start"]

# Published, fetched and verified while the image is built; only the node cache goes on into it.
FROM runtime-cpu AS models
ARG MODELS="demo-whisper,demo-align,demo-diarization"
ENV RAYSCRIBE_STORE=/tmp/store RAYSCRIBE_CACHE=/opt/rayscribe/cache
# hadolint ignore=SC3060
RUN --mount=type=bind,source=demo/models,target=/opt/rayscribe/demo/models \
    --mount=type=secret,id=hf_token,uid=10001 \
    if [ -s /run/secrets/hf_token ]; then HF_TOKEN=$(cat /run/secrets/hf_token); export HF_TOKEN; fi; \
    for model in ${MODELS//,/ }; do \
        for attempt in 1 2 3; do model-store publish "$model" && break; [ "$attempt" = 3 ] && exit 1; sleep 5; done; \
        model-store fetch "$model" || exit 1; \
    done \
    && model-store verify --cached --deep

FROM runtime-cpu AS baked
COPY --from=models --chown=10001:10001 /opt/rayscribe/cache cache
ENV RAYSCRIBE_CACHE=/opt/rayscribe/cache \
    RAYSCRIBE_CONFIG=configs/local.yaml
