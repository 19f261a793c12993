"""The builders that Serve configs name: `serve_app.app:build_preset` and `serve_app.app:build_gateway`.

The only place with `serve.deployment(...)`. Replicas, autoscaling, GPU fractions and time-outs are set per deployment
(`Pipeline`, `Transcription`, `Alignment`, `Diarization`, `Gateway`) in the config; these are the defaults.
"""

from typing import Any

from ray import serve
from ray.serve import Application

from serve_app.config import GatewayArgs, PresetArgs
from serve_app.deployments import Alignment, Diarization, Gateway, Pipeline, Transcription
from serve_app.draining import longest_work_s, on_hand

BY_SESSION = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
"""The same file with the same options goes to the pipeline that has it in work (see `sharing`), others anywhere."""
BY_LOAD = "serve_app.routing.LeastLoadedRouter"
INGRESS = {"ray_actor_options": {"num_cpus": 0.1}}
STAGE = {
    "ray_actor_options": {"num_cpus": 0.2},
    "request_router_config": {"request_router_class": BY_LOAD},
    "max_constructor_retry_count": 3,  # a broken snapshot fails fast and says why
}


def build_preset(args: PresetArgs) -> Application:
    """Build one preset's application: its Pipeline over the stages it owns."""
    store = args.store.resolved()
    stages: dict[str, Any] = {"transcription": _deployment(Transcription, args, STAGE).bind(args.transcription, store)}
    if args.alignment and not args.alignment.app:
        stages["alignment"] = _deployment(Alignment, args, STAGE).bind(args.alignment, store)
    if args.diarization and not args.diarization.app:
        stages["diarization"] = _deployment(Diarization, args, STAGE).bind(args.diarization, store)
    pipeline = _deployment(Pipeline, args, INGRESS)
    return pipeline.options(request_router_config={"request_router_class": BY_SESSION}).bind(args, **stages)


def build_gateway(args: GatewayArgs) -> Application:
    """Build the gateway at `/` over presets that are applications of the same names."""
    return _deployment(Gateway, args, INGRESS).bind(args)


def _deployment(cls: type, args: PresetArgs | GatewayArgs, options: dict[str, Any]) -> Any:
    """Make a deployment that finishes what it took on before it is stopped."""
    return serve.deployment(
        serve.ingress()(cls) if options is INGRESS else cls,
        max_ongoing_requests=on_hand(cls.__name__, args),
        graceful_shutdown_timeout_s=longest_work_s(cls.__name__, args),
        **options,
    )
