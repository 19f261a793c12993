"""What Ray's schemas, pydantic and YAML refuse, and how it is told."""

import pytest

from tests.serve_app.config_helpers import problems_after

MISTAKES = {
    # Unknown keys, which Ray ignores, at every level.
    "key of the file": (
        "proxy_location",
        "proxy_locatoin",
        "1: proxy_locatoin: unknown key; did you mean 'proxy_location'?",
    ),
    "key of http_options": ("port:", "prot:", "2: http_options.prot: unknown key; did you mean 'port'?"),
    "key of an application": (
        "route_prefix: /fast",
        "route_prefix: /fast\n    runtime_envs: {}",
        "10: applications[fast].runtime_envs: unknown key; did you mean 'runtime_env'?",
    ),
    "key of a deployment": (
        "max_ongoing_requests",
        "max_ongoing_request",
        "17: applications[fast].deployments[Pipeline].max_ongoing_request: unknown key; "
        "did you mean 'max_ongoing_requests'?",
    ),
    "key of autoscaling_config": (
        "min_replicas",
        "min_replica",
        "19: applications[fast].deployments[Transcription].autoscaling_config.min_replica: unknown key; "
        "did you mean 'min_replicas'?",
    ),
    "key of ray_actor_options": (
        "{num_gpus: 0.25}",
        "{num_gpus: 0.25, num_cpu: 1}",
        "30: applications[high].deployments[Transcription].ray_actor_options.num_cpu: unknown key; "
        "did you mean 'num_cpus'?",
    ),
    "key of args": (
        "threads: 2",
        "thread: 2",
        "13: applications[fast].args.transcription.thread: unknown key; did you mean 'threads'?",
    ),
    # Values that Ray or the builders would refuse later.
    "type": (
        "port: 8000",
        "port: eight",
        "2: http_options.port: must be a valid integer, unable to parse string as an integer; it is 'eight'",
    ),
    "choice": (
        "HeadOnly",
        "head",
        "1: proxy_location: must be 'Disabled', 'HeadOnly' or 'EveryNode'; it is 'head'",
    ),
    "more at least than at most": (
        "min_replicas: 0",
        "min_replicas: 2",
        "19: applications[fast].deployments[Transcription].autoscaling_config: "
        "max_replicas (1) must be greater than or equal to min_replicas (2)!",
    ),
    "both fixed and scaled": (
        "autoscaling_config: {min",
        "num_replicas: 2\n        autoscaling_config: {min",
        "18: applications[fast].deployments[Transcription]: "
        "Manually setting num_replicas is not allowed when autoscaling_config is provided.",
    ),
    "not a mapping": (
        "{host: 127.0.0.1, port: 8000}",
        "8000",
        "2: http_options: must be a mapping with keys such as host, port, root_path, request_timeout_s",
    ),
    "deployment that is no mapping": (
        "- name: Pipeline\n        max_ongoing_requests: 16",
        "- Pipeline",
        "16: applications[fast].deployments[0]: "
        "must be a mapping with keys such as name, num_replicas, max_ongoing_requests, max_queued_requests",
    ),
    "value of args": (
        "threads: 2",
        "threads: -2",
        "13: applications[fast].args.transcription.threads: must be greater than or equal to 0; it is -2",
    ),
    "missing in args": (
        "{model: whisper-tiny, device: cpu, threads: 2}",
        "{device: cpu}",
        "13: applications[fast].args.transcription.model: is missing; it must be given",
    ),
    # YAML's own traps.
    "key given twice": (
        "device: cpu, threads: 2",
        "device: cpu, threads: 2, device: cpu",
        "13: applications[fast].args.transcription.device: given twice, and YAML keeps only the last; remove one",
    ),
    "Norwegian": (
        "{en: align-en-base}",
        "{en: align-en-base, no: align-en-base}",
        "26: applications[high].args.alignment.models.no: "
        "YAML reads this key as a boolean, not as text; write it in quotes",
    ),
    "not YAML": ("[fast, high]", "[fast, high", "7: not YAML: expected ',' or ']', but got '}'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gives_its_message_and_no_other(mistake: str) -> None:
    right, wrong, *expected = MISTAKES[mistake]
    assert problems_after(right, wrong) == expected
