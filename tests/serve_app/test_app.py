"""What the builders make, before any cluster sees it."""

from typing import Any

from serve_app.app import BY_SESSION, build_preset
from serve_app.config import PresetArgs


def test_the_same_work_goes_to_the_same_pipeline() -> None:
    args = PresetArgs.model_validate({"preset": "fast", "transcription": {"model": "m"}})
    made: Any = build_preset(args)
    router = made._bound_deployment._deployment_config.request_router_config
    assert router.get_request_router_class().__name__ == BY_SESSION.rpartition(".")[2]
