"""Errors: the tree in the module's docstring is the tree there is, and every class survives pickling."""

import inspect
import pickle
import re

import pytest

from serve_app import errors
from serve_app.errors import RayscribeError

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, RayscribeError)]

STATUS_AND_CODE = {
    "RayscribeError": (500, "internal_error"),
    "BadRequest": (400, "invalid_request"),
    "UnsupportedOption": (400, "unsupported_option"),
    "DeadlineExceeded": (408, "deadline_exceeded"),
    "UnsupportedBody": (415, "unsupported_media_type"),
    "BadUrl": (400, "invalid_url"),
    "UrlNotAllowed": (400, "url_not_allowed"),
    "UrlUnreachable": (400, "url_unreachable"),
    "BadAudio": (400, "invalid_audio"),
    "EmptyAudio": (400, "empty_audio"),
    "NotAudio": (400, "invalid_audio"),
    "NoAudioStream": (400, "no_audio_stream"),
    "AudioTooLong": (400, "audio_too_long"),
    "UnknownPreset": (404, "model_not_found"),
    "UploadTooLarge": (413, "file_too_large"),
    "UnknownJob": (404, "job_not_found"),
    "JobNotFinished": (409, "job_not_finished"),
    "IdempotencyKeyReused": (422, "idempotency_key_reused"),
    "JobsUnavailable": (503, "jobs_unavailable"),
    "PresetUnavailable": (503, "preset_unavailable"),
    "ReplicaLost": (503, "replica_lost"),
    "ReplicaKilled": (503, "replica_lost"),
    "StageFailed": (500, "stage_failed"),
    "GpuUnavailable": (500, "gpu_unavailable"),
    "BackendError": (500, "backend_failed"),
    "UnknownBackend": (500, "backend_failed"),
    "WrongSnapshot": (500, "backend_failed"),
    "LibraryLoadError": (500, "backend_failed"),
    "ModelInitError": (500, "backend_failed"),
}


def test_statuses_and_codes_are_those_that_clients_were_promised() -> None:
    assert {cls.__name__: (cls.status, cls.code) for cls in CLASSES} == STATUS_AND_CODE


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_pickling(cls: type[RayscribeError]) -> None:
    back = pickle.loads(pickle.dumps(cls("it broke", "file")))
    assert type(back) is cls
    assert (back.message, back.param, str(back), back.status, back.code, back.type) == (
        *("it broke", "file", "it broke"),
        *(cls.status, cls.code, cls.type),
    )


@pytest.mark.parametrize("cls", CLASSES)
def test_a_clients_mistake_and_ours_are_told_apart(cls: type[RayscribeError]) -> None:
    expected = "invalid_request_error" if 400 <= cls.status < 500 else "server_error"
    assert cls.type == expected


def test_a_parameter_is_optional() -> None:
    assert pickle.loads(pickle.dumps(errors.ReplicaLost("gone"))).param is None


def test_the_docstring_draws_every_class() -> None:
    assert set(re.findall(r"[├└]── (\w+)", errors.__doc__ or "")) == {cls.__name__ for cls in CLASSES} - {
        "RayscribeError"
    }
