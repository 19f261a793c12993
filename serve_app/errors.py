"""Every error a client can meet, as one tree; each class carries its HTTP status and OpenAI error code.

RayscribeError
├── BadRequest (400)
│   ├── UnsupportedOption
│   ├── DeadlineExceeded (408)
│   ├── UnsupportedBody (415)
│   ├── BadUrl
│   │   ├── UrlNotAllowed
│   │   └── UrlUnreachable
│   └── BadAudio
│       ├── EmptyAudio
│       ├── NotAudio
│       ├── NoAudioStream
│       └── AudioTooLong
├── UnknownPreset (404)
├── UploadTooLarge (413)
├── UnknownJob (404)
├── JobNotFinished (409)
├── IdempotencyKeyReused (422)
├── JobsUnavailable (503)
├── PresetUnavailable (503)
│   └── ReplicaLost
│       └── ReplicaKilled
├── StageFailed (500)
├── GpuUnavailable (500)
└── BackendError (500)
    ├── UnknownBackend
    ├── WrongSnapshot
    ├── LibraryLoadError
    └── ModelInitError

The arguments are positional, so that an error survives pickling between replicas.
"""


class RayscribeError(Exception):
    """Base of all errors that are answered to a client: `message`, and the request parameter at fault, if any."""

    status = 500
    code = "internal_error"
    type = "server_error"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message, param)
        self.message = message
        self.param = param

    def described(self) -> dict[str, str | None]:
        """Return what OpenAI's answers carry of an error."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}

    def __str__(self) -> str:
        return self.message


class BadRequest(RayscribeError):
    """The request cannot be answered as it stands."""

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"


class UnsupportedOption(BadRequest):
    """A documented option that this preset does not honour: refused, never ignored."""

    code = "unsupported_option"


class DeadlineExceeded(BadRequest):
    """The answer was not there in the time that the client gave; the work goes on a moment, in case it asks again."""

    status = 408
    code = "deadline_exceeded"


class UnsupportedBody(BadRequest):
    """The body is of a content type that holds neither a form nor audio."""

    status = 415
    code = "unsupported_media_type"


class BadUrl(BadRequest):
    """The `url` names no file that could be read."""

    code = "invalid_url"


class UrlNotAllowed(BadUrl):
    """The `url`, or where it leads, is nothing that `limits.fetch` allows to read."""

    code = "url_not_allowed"


class UrlUnreachable(BadUrl):
    """Nothing came from the `url`, or not all of it."""

    code = "url_unreachable"


class BadAudio(BadRequest):
    """The upload cannot be heard."""

    code = "invalid_audio"


class EmptyAudio(BadAudio):
    """The upload holds no bytes, or its audio stream no samples."""

    code = "empty_audio"


class NotAudio(BadAudio):
    """The upload is no container or codec that FFmpeg reads."""


class NoAudioStream(BadAudio):
    """A readable file without an audio stream: a silent video, or a picture."""

    code = "no_audio_stream"


class AudioTooLong(BadAudio):
    """The audio runs longer than the preset's `limits.max_duration_s`."""

    code = "audio_too_long"


class UnknownPreset(BadRequest):
    """The `model` field names no preset and no alias."""

    status = 404
    code = "model_not_found"


class UploadTooLarge(BadRequest):
    """The body is larger than `limits.max_upload_mb`."""

    status = 413
    code = "file_too_large"


class UnknownJob(BadRequest):
    """No job has this id."""

    status = 404
    code = "job_not_found"


class JobNotFinished(BadRequest):
    """The job has no result yet, or never will have one."""

    status = 409
    code = "job_not_finished"


class IdempotencyKeyReused(BadRequest):
    """The key of an earlier request came with another file or other options."""

    status = 422
    code = "idempotency_key_reused"


class JobsUnavailable(RayscribeError):
    """Jobs cannot be kept or read now: the disk is full, the folder unwritable, the broker does not answer."""

    status = 503
    code = "jobs_unavailable"


class PresetUnavailable(RayscribeError):
    """The preset exists, but cannot answer now: asleep for too long, unhealthy, or its queue is full."""

    status = 503
    code = "preset_unavailable"


class ReplicaLost(PresetUnavailable):
    """A replica died while it held the work; the work is pure and is sent again."""

    code = "replica_lost"


class ReplicaKilled(ReplicaLost):
    """It was killed for the memory that it took, or with its node: Serve's router does not notice that by itself."""


class StageFailed(RayscribeError):
    """A stage raised something that is nobody's request's fault."""

    code = "stage_failed"


class GpuUnavailable(RayscribeError):
    """A stage's GPU is required, and cannot be used; a replica's start fails with it."""

    code = "gpu_unavailable"


class BackendError(RayscribeError):
    """A transcription back end cannot be had; a replica's start fails with it."""

    code = "backend_failed"


class UnknownBackend(BackendError):
    """No back end has this name."""


class WrongSnapshot(BackendError):
    """The back end cannot read this kind of snapshot, or the snapshot lacks a file that it needs."""


class LibraryLoadError(BackendError):
    """A back end's library is not installed, or the machine cannot load it."""


class ModelInitError(BackendError):
    """The library refused the model's files."""
