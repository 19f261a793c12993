"""The builders that Serve configs name: `serve_app.app:build_preset` and `serve_app.app:build_gateway`.

The only place with `serve.deployment(...)`. Replicas, autoscaling, GPU fractions and time-outs are set per deployment
(`Pipeline`, `Transcription`, `Alignment`, `Diarization`, `Gateway`) in the config; these are the defaults.
"""

from typing import Any

from ray import serve
from ray.serve import Application

from serve_app.config import GatewayArgs, PresetArgs
from serve_app.deployments import Alignment, Diarization, Gateway, Pipeline, Transcription

INGRESS = {"ray_actor_options": {"num_cpus": 0.1}, "graceful_shutdown_timeout_s": 600}
STAGE = {
    "ray_actor_options": {"num_cpus": 0.2},
    "graceful_shutdown_timeout_s": 600,
    "max_constructor_retry_count": 3,  # a broken snapshot fails fast and says why
}
FILES_AT_ONCE = 32
"""A pipeline replica holds the upload and the samples (230 MB an hour) of each file under way."""
BATCHES_ON_HAND = 2
"""A transcription replica takes on this many batches: one in the model, the rest ready behind it."""


def build_preset(args: PresetArgs) -> Application:
    """Build one preset's application: its Pipeline over the stages it owns."""
    store = args.store.resolved()
    transcription = args.transcription
    waiting = BATCHES_ON_HAND * transcription.largest_batch
    stages: dict[str, Any] = {
        "transcription": _stage(Transcription, max_ongoing_requests=waiting).bind(transcription, store)
    }
    if args.alignment and not args.alignment.app:
        stages["alignment"] = _stage(Alignment, max_ongoing_requests=16).bind(args.alignment, store)
    if args.diarization and not args.diarization.app:
        stages["diarization"] = _stage(Diarization, max_ongoing_requests=4).bind(args.diarization, store)
    ingress = serve.deployment(serve.ingress()(Pipeline), max_ongoing_requests=FILES_AT_ONCE, **INGRESS)
    return ingress.bind(args, **stages)


def build_gateway(args: GatewayArgs) -> Application:
    """Build the gateway at `/` over presets that are applications of the same names."""
    return serve.deployment(serve.ingress()(Gateway), max_ongoing_requests=200, **INGRESS).bind(args)


def _stage(cls: type, **options: Any) -> Any:
    return serve.deployment(cls, **STAGE, **options)
