"""Applications, presets, stages, snapshots, policies and time-outs that do not fit together, and how it is told."""

import pytest

from serve_app.serve_config import check_serve_config
from tests.serve_app.config_helpers import GOOD, problems_after

MISTAKES = {
    # Names that must fit together.
    "builder": (
        "build_gateway",
        "build_gatway",
        "6: applications[gateway].import_path: no builder is named 'serve_app.app:build_gatway'; "
        "did you mean 'serve_app.app:build_gateway'?",
    ),
    "application's name": (
        "name: fast",
        "name: quick",
        "7: applications[gateway].args.presets[0]: no preset of this file is named 'fast'; known are: high, quick",
        "8: applications[quick].name: must be 'fast', as args.preset: presets are found by it",
    ),
    "route": (
        "route_prefix: /fast",
        "route_prefix: /quick",
        "9: applications[fast].route_prefix: must be /fast, or null to answer through the gateway alone; it is /quick",
    ),
    "deployment": (
        "name: Pipeline",
        "name: Pipelines",
        "16: applications[fast].deployments[Pipelines].name: "
        "this application has no deployment 'Pipelines'; did you mean 'Pipeline'?",
    ),
    "deployment of a borrowed stage": (
        "name: Pipeline",
        "name: Alignment",
        "16: applications[fast].deployments[Alignment].name: "
        "'Alignment' is borrowed from application 'high'; set its options there",
    ),
    "deployment given twice": (
        "name: Pipeline",
        "name: Transcription",
        "18: applications[fast].deployments[Transcription].name: "
        "'Transcription' is given twice; put all its options into one entry",
    ),
    "lender": (
        "{app: high}",
        "{app: hihg}",
        "14: applications[fast].args.alignment.app: no preset of this file is named 'hihg'; did you mean 'high'?",
    ),
    "lender that is oneself": (
        "{app: high}",
        "{app: fast}",
        "14: applications[fast].args.alignment.app: "
        "an application cannot borrow from itself; those that have one are: high",
    ),
    "lender without the stage": (
        "{models: {en: align-en-base}}",
        "{app: fast}",
        "14: applications[fast].args.alignment.app: 'high' has no alignment of its own; give this one its own model",
        "26: applications[high].args.alignment.app: 'fast' has no alignment of its own; give this one its own model",
    ),
    "options of a borrowed stage": (
        "{app: high}",
        "{app: high, threads: 4}",
        "14: applications[fast].args.alignment.threads: "
        "has no effect on a borrowed stage; set it in application 'high'",
    ),
    "preset offered": (
        "[fast, high]",
        "[fast, hgih]",
        "7: applications[gateway].args.presets[1]: no preset of this file is named 'hgih'; did you mean 'high'?",
    ),
    # Snapshots.
    "snapshot": (
        "whisper-tiny",
        "whisper-tinny",
        "13: applications[fast].args.transcription.model: "
        "models.yaml has no model 'whisper-tinny'; did you mean 'whisper-tiny'?",
    ),
    "snapshot of another kind": (
        "model: diarization-community-1",
        "model: align-en-base",
        "27: applications[high].args.diarization.model: 'align-en-base' is a wav2vec2-ctc, "
        "diarization needs a pyannote-pipeline: demo-diarization, diarization-community-1",
    ),
    "snapshot for another language": (
        "{en: align-en-base}",
        "{en: align-en-base, de: align-en-large}",
        "26: applications[high].args.alignment.models.de: 'align-en-large' is for en, not for 'de'",
    ),
    "reference": (
        "whisper-small@latest",
        "whisper-small@",
        "25: applications[high].args.transcription.model: '' is not a tag. "
        "Write name, name@tag or name@sha256:<64 hex digits>, for example demo-whisper@latest.",
    ),
    # Policies.
    "key of a policy": (
        "route_prefix: /fast",
        "route_prefix: /fast\n    autoscaling_policy: {policy_fnction: 'serve_app.autoscaling:wake_together'}",
        "10: applications[fast].autoscaling_policy.policy_fnction: unknown key; did you mean 'policy_function'?",
        "10: applications[fast].autoscaling_policy.policy_function: is missing; "
        "name a function, such as serve_app.autoscaling:wake_together",
    ),
    "policy": (
        "route_prefix: /fast",
        "route_prefix: /fast\n    autoscaling_policy: {policy_function: 'serve_app.autoscaling:wake_togther'}",
        "10: applications[fast].autoscaling_policy.policy_function: no policy is named "
        "'serve_app.autoscaling:wake_togther'; did you mean 'serve_app.autoscaling:wake_together'?",
    ),
    "policy without anything to scale": (
        "route_prefix: /high",
        "route_prefix: /high\n    autoscaling_policy: {policy_function: 'serve_app.autoscaling:wake_together'}",
        "22: applications[high].autoscaling_policy: scales nothing; give a deployment an autoscaling_config",
    ),
    # Time to finish.
    "less time than a file may take": (
        "max_ongoing_requests: 16",
        "graceful_shutdown_timeout_s: 1800",
        "17: applications[fast].deployments[Pipeline].graceful_shutdown_timeout_s: a replica told to stop would be "
        "killed after 1800 s with work that may take 14400 s; give at least 14400, or leave it out: "
        "it ends as soon as its work does",
    ),
    "less time than its windows may take": (
        "ray_actor_options: {num_gpus: 0.25}",
        "graceful_shutdown_timeout_s: 1199\n        max_ongoing_requests: 40\n        "
        "ray_actor_options: {num_gpus: 0.25}",
        "30: applications[high].deployments[Transcription].graceful_shutdown_timeout_s: a replica told to stop would "
        "be killed after 1199 s with work that may take 1200 s; give at least 1200, or leave it out: "
        "it ends as soon as its work does",
    ),
    "more windows than there is time for": (
        "ray_actor_options: {num_gpus: 0.25}",
        "max_ongoing_requests: 400\n        ray_actor_options: {num_gpus: 0.25}",
        "30: applications[high].deployments[Transcription].max_ongoing_requests: a replica told to stop would be "
        "killed after 7680 s with work that may take 12000 s; give graceful_shutdown_timeout_s: 12000 too",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gives_its_message_and_no_other(mistake: str) -> None:
    right, wrong, *expected = MISTAKES[mistake]
    assert problems_after(right, wrong) == expected


def test_other_peoples_policies_are_not_looked_for() -> None:
    policy = "autoscaling_policy: {policy_function: 'platform.scaling:nightly'}"
    assert check_serve_config(GOOD.replace("route_prefix: /fast", f"route_prefix: /fast\n    {policy}"), "test.yaml")


def test_a_shorter_longest_file_needs_less_time() -> None:
    text = GOOD.replace("max_ongoing_requests: 16", "graceful_shutdown_timeout_s: 1800")
    limited = text.replace("preset: fast", "preset: fast\n      limits: {max_duration_s: 1800}")
    assert check_serve_config(limited, "test.yaml")
