"""The OpenAPI document is complete: what schemathesis makes up is answered as documented, whatever it is."""

from tempfile import TemporaryDirectory
from typing import Any

import pytest
import schemathesis
from fakes import FakePresets, segment
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serve_app.config import LimitArgs
from serve_app.facts import ModelFacts, PresetFacts, StageFacts
from serve_app.jobs.args import JobsArgs
from serve_app.jobs.opening import open_desk
from serve_app.transcript import SpeakerTurn, Transcript
from serve_app.wire.api import create_api

HEARD = Transcript(
    "en",
    4.2,
    (segment("Hello there.", 0, 2, "A"), segment("Bye.", 2, 4, "B")),
    turns=(SpeakerTurn(0, 2, "A"), SpeakerTurn(2, 4, "B")),
)
FACTS = {"fast": PresetFacts({"transcription": StageFacts("cpu", (ModelFacts("m", "v1", "d"),))}, {}, 0.1, 3)}
PRESETS = FakePresets(transcript=HEARD, made_of=FACTS)
FOLDER = TemporaryDirectory()
DESK = open_desk(JobsArgs(folder=FOLDER.name), PRESETS)
APP = create_api(PRESETS, LimitArgs(), desk=DESK)
DOCUMENT = APP.openapi()

schema = schemathesis.openapi.from_asgi("/openapi.json", APP, config=SchemathesisConfig())


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_comes_is_answered_as_documented(case: schemathesis.Case) -> None:
    """All checks but one: fields that exclude each other are refused, which a schema of fields cannot say."""
    case.call_and_validate(excluded_checks=[positive_data_acceptance])


OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_is_told_of_with_its_errors(path: str, method: str) -> None:
    operation: dict[str, Any] = DOCUMENT["paths"][path][method]
    assert operation.get("summary")
    assert operation.get("description")
    assert "HTTPValidationError" not in str(operation)
    for status, answer in operation["responses"].items():
        if int(status) >= 400 and (path, status) != ("/ready", "503"):
            assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
