"""One form in four bodies: as a form, encoded, as JSON, as the bare file; the same answers, errors and bounds."""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fakes import FakePresets, content, segment
from loopback_web import nameless_files

from serve_app.config import LimitArgs
from serve_app.errors import NotAudio
from serve_app.listening import Upload
from serve_app.options import RequestOptions
from serve_app.transcript import Transcript
from serve_app.wire.api import create_api
from serve_app.wire.bodies import MOST_FIELD_BYTES, MOST_FIELDS

PATH = "/v1/audio/transcriptions"
RIFF = b"RIFF\x24\x00\x00\x00WAVEfmt "
LARGE = RIFF * 200_000  # 3 MB: more than is held in memory
ENCODED = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def presets() -> FakePresets:
    return FakePresets(transcript=Transcript("en", 4.2, (segment("Hello there.", 0, 2),)))


@pytest.fixture
async def client(presets: FakePresets) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(presets) as client:
        yield client


def connect(presets: FakePresets, **limits: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_api(presets, LimitArgs(**limits)), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://rayscribe")


def is_refused(answer: httpx.Response, param: str | None, said: str, status: int = 400) -> bool:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert said in error["message"]
    return True


async def chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    """A body without a length."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


KINDS = ["audio/wav", "audio/x-anything", "video/mp4; codecs=avc1", "Application/Octet-Stream", None]


@pytest.mark.parametrize("kind", [*KINDS, ENCODED["content-type"]])
@pytest.mark.parametrize("piped", [False, True])
async def test_the_bare_file_is_heard_with_options_from_the_query(
    client: httpx.AsyncClient, presets: FakePresets, kind: str | None, piped: bool
) -> None:
    """As `curl --data-binary @file` sends it, which calls it a form, and `curl -T -`."""
    query = {"model": "whisper-1", "language": "en", "response_format": "text", "keywords": ["Ray", "Serve"]}
    body: Any = chunks(LARGE) if piped else LARGE
    headers = {} if kind is None else {"content-type": kind}
    answer = await client.post(PATH, params=query, content=body, headers=headers)
    assert (answer.status_code, answer.text) == (200, "Hello there.\n")
    ((preset, heard, options),) = presets.asked
    assert (preset, heard) == ("fast", LARGE)
    assert (options.decode.language, options.decode.hotwords) == ("en", "Ray, Serve")


async def test_what_comes_byte_by_byte_is_told_apart_too(client: httpx.AsyncClient, presets: FakePresets) -> None:
    form = b"model=fast&url=&response_format=srt"
    answer = await client.post(PATH, content=chunks(form, 1), headers=ENCODED)
    assert is_refused(answer, "file", "'file' is required: send the audio, or name it by 'url'")


@pytest.mark.parametrize(
    ("query", "param", "said"),
    [
        ({"model": "fast", "respons_format": "srt"}, "respons_format", "did you mean 'response_format'?"),
        ({"model": "fast", "temperature": "2"}, "temperature", "less than or equal to 1"),
        ({"model": "fast", "stream": "true", "response_format": "srt"}, "stream", "leave"),
        ({"model": ["fast", "premium"]}, "model", "'model' is given more than once"),
        ({"model": "fast", "url": "https://a.example/b"}, "url", "'file' and 'url' are both given"),
    ],
)
async def test_options_of_a_bare_file_are_checked_as_those_of_a_form(
    client: httpx.AsyncClient, query: dict[str, Any], param: str, said: str
) -> None:
    assert is_refused(await client.post(PATH, params=query, content=RIFF), param, said)


async def test_an_empty_body_is_an_empty_file(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, params={"model": "fast"}, headers={"content-type": "audio/wav"})
    assert is_refused(answer, "file", "empty (0 bytes)")
    streamed = await client.post(
        PATH, params={"model": "fast", "stream": "true"}, headers={"content-type": "audio/wav"}
    )
    assert is_refused(streamed, "file", "empty (0 bytes)")


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "image/png", "multipart/mixed"])
async def test_other_bodies_are_not_heard(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post(PATH, params={"model": "fast"}, content=RIFF, headers={"content-type": kind})
    assert is_refused(answer, None, f"a body of type '{kind}' is not heard; send multipart/form-data", 415)
    assert answer.json()["error"]["code"] == "unsupported_media_type"


async def test_json_has_the_fields_of_the_form(client: httpx.AsyncClient) -> None:
    body = {
        "model": "fast", "keywords": ["Ray", "Serve"], "temperature": 0.5, "stream": False, "prompt": None,
        "chunking_strategy": {"type": "server_vad", "threshold": 0.3}, "clip_timestamps": [1, 2.5],
        "url": "https://media.example.com/a.wav",
    }  # fmt: skip
    answer = await client.post(PATH, json=body)
    assert is_refused(answer, "url", "limits.fetch.allow names the hosts")
    wrong = {**body, "chunking_strategy": {"type": "server_vad", "threshold": 3}}
    assert is_refused(await client.post(PATH, json=wrong), "chunking_strategy", "less than 1")
    assert is_refused(await client.post(PATH, json={**body, "clip_timestamps": [5, 3]}), "clip_timestamps", "before")
    assert is_refused(await client.post(PATH, json={**body, "temperature": [0, 0.4]}), "url", "limits.fetch.allow")
    assert is_refused(await client.post(PATH, json={**body, "temperature": [0, 4]}), "temperature", "less than")
    assert is_refused(await client.post(PATH, json={**body, "model": ["fast", "x"]}), "model", "more than once")
    assert is_refused(await client.post(PATH, json={**body, "temperatur": 0}), "temperatur", "did you mean")
    assert is_refused(await client.post(PATH, json={"model": "fast"}), "file", "or name it by 'url'")
    assert is_refused(await client.post(PATH, json={"model": "fast", "file": "UklGRg=="}), "file", "UploadFile")


@pytest.mark.parametrize("body", ["", "{", "[]", '"url"', "\ud800"])
async def test_what_is_no_json_object_is_said(client: httpx.AsyncClient, body: str) -> None:
    content = body.encode("utf-8", "surrogatepass")
    answer = await client.post(PATH, content=content, headers={"content-type": "application/json"})
    assert is_refused(answer, None, "the body is no JSON")


@pytest.mark.parametrize("how", [{"data": {"model": "fast"}}, {"json": {}}, {"files": {"file": RIFF}}])
async def test_options_in_the_query_of_a_form_are_not_overlooked(client: httpx.AsyncClient, how: Any) -> None:
    answer = await client.post(PATH, params={"response_format": "srt"}, **how)
    assert is_refused(answer, "response_format", "stands in the query; put it into the body")
    passing = await client.post(PATH, params={"api-version": "1"}, files={"file": RIFF}, data={"model": "fast"})
    assert passing.status_code == 200


@pytest.mark.parametrize("name", ["keywords", "keywords[]"])
async def test_arrays_come_with_or_without_brackets(client: httpx.AsyncClient, presets: FakePresets, name: str) -> None:
    answer = await client.post(PATH, data={"model": "fast", name: ["Ray", "Serve"]}, files={"file": RIFF})
    assert answer.status_code == 200, answer.text
    assert presets.asked[0][2].decode.hotwords == "Ray, Serve"


async def test_a_field_given_twice_is_refused_and_so_are_two_files(client: httpx.AsyncClient) -> None:
    twice = await client.post(PATH, data={"model": ["fast", "premium"]}, files={"file": RIFF})
    assert is_refused(twice, "model", "'model' is given more than once")
    files = [("file", RIFF), ("file", RIFF)]
    assert is_refused(await client.post(PATH, data={"model": "fast"}, files=files), None, "Too many files")


def large_fields(kind: str) -> tuple[str, bytes]:
    """A content type, and fields of more bytes than may be held in memory; in forms none is too large by itself."""
    part = b"x" * (MOST_FIELD_BYTES // 3)
    if kind == "json":
        return "application/json", json.dumps({"prompt": "x" * (MOST_FIELD_BYTES + 1)}).encode()
    if kind == "encoded":
        return ENCODED["content-type"], b"&".join(b"prompt=" + part for _ in range(4))
    parts = (b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + part + b"\r\n" for _ in range(4))
    return "multipart/form-data; boundary=x", b"".join([*parts, b"--x--\r\n"])


@pytest.mark.parametrize("kind", ["form", "encoded", "json"])
async def test_fields_besides_the_file_are_bounded_together(client: httpx.AsyncClient, kind: str) -> None:
    content_type, body = large_fields(kind)
    answer = await client.post(PATH, content=chunks(body, 1 << 20), headers={"content-type": content_type})
    assert is_refused(answer, None, "fields besides the file are larger than 16 MB together")


async def test_a_reference_of_ten_seconds_fits(client: httpx.AsyncClient) -> None:
    """Stereo at 48 kHz: Starlette would take fields of 1 MB."""
    voice = "data:audio/wav;base64," + "A" * 2_560_000
    fields = {"model": "fast", "known_speaker_names[]": "Ann", "known_speaker_references[]": voice}
    assert (await client.post(PATH, data=fields, files={"file": RIFF})).status_code == 200


async def test_the_number_of_fields_is_bounded(client: httpx.AsyncClient) -> None:
    many = {"keywords[]": ["x"] * (MOST_FIELDS + 1)}
    assert is_refused(await client.post(PATH, data=many, files={"file": RIFF}), None, "Too many fields")
    assert is_refused(await client.post(PATH, data=many), None, "more than 200 fields")


async def test_a_form_that_cannot_be_read_is_said(client: httpx.AsyncClient) -> None:
    for headers in ({"content-type": "multipart/form-data"}, {"content-type": "multipart/form-data; boundary=x"}):
        answer = await client.post(PATH, content=b"--y\r\nnothing", headers=headers)
        assert is_refused(answer, None, "the form cannot be read")


@pytest.mark.parametrize("piped", [False, True])
async def test_a_bare_file_is_bounded_as_any_upload(presets: FakePresets, piped: bool) -> None:
    async with connect(presets, max_upload_mb=1) as client:
        body: Any = chunks(LARGE) if piped else LARGE
        answer = await client.post(PATH, params={"model": "fast"}, content=body, headers={"content-type": "audio/wav"})
    assert is_refused(answer, "file", "larger than the 1 MB accepted", 413)
    assert presets.asked == []


async def test_the_four_bodies_are_documented(client: httpx.AsyncClient) -> None:
    body = (await client.get("/openapi.json")).json()["paths"][PATH]["post"]["requestBody"]
    assert set(body["content"]) == {
        *("multipart/form-data", "application/json", "application/x-www-form-urlencoded"),
        *("audio/*", "video/*", "application/octet-stream"),
    }
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/TranscriptionForm"}
    assert body["content"]["multipart/form-data"]["schema"] == body["content"]["application/json"]["schema"]
    assert body["required"]
    form = (await client.get("/openapi.json")).json()["components"]["schemas"]["TranscriptionForm"]
    assert form["properties"]["file"]["type"] == "string"
    assert "required" not in form  # the file may be named by url instead


class Watched(FakePresets):
    """A preset that counts the nameless files while it hears one."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[int] = []

    async def transcribe(self, preset: str, upload: Upload, options: RequestOptions) -> Transcript:
        self.files.append(nameless_files())
        assert content(upload) == LARGE
        return await super().transcribe(preset, b"", options)


def multipart(file: bytes, *fields: tuple[str, str]) -> tuple[dict[str, str], bytes]:
    request = httpx.Request("POST", "http://x", files={"file": file}, data=dict(fields))
    return {"content-type": request.headers["content-type"]}, request.read()


BARE = ({"content-type": "audio/wav"}, LARGE)
FORM = multipart(LARGE, ("model", "fast"))


@pytest.fixture
def no_collector() -> Iterator[int]:
    """Files are to be closed, not to be found by the collector; the nameless ones that there are anyway."""
    if sys.platform != "linux":
        pytest.skip("asks the kernel for open files")
    gc.collect()
    gc.disable()
    yield nameless_files()
    gc.enable()


@pytest.mark.parametrize(
    ("sent", "query", "status"),
    [
        (FORM, "", 200),
        (BARE, "?model=fast", 200),
        (multipart(LARGE, ("model", "fast"), ("temperature", "2")), "", 400),
        (BARE, "?model=fast&temperature=2", 400),
        (multipart(LARGE, ("model", "none")), "", 404),
        (BARE, "?model=none", 404),
        (BARE, "?model=fast&model=fast", 400),
        (multipart(LARGE * 2, ("model", "fast")), "", 413),
        ((BARE[0], LARGE * 2), "?model=fast", 413),
    ],
)
async def test_after_the_answer_no_file_is_left(
    no_collector: int, sent: tuple[dict[str, str], bytes], query: str, status: int
) -> None:
    presets = Watched()
    async with connect(presets, max_upload_mb=4) as client:
        answer = await client.post(PATH + query, content=chunks(sent[1], 1 << 16), headers=sent[0])
    assert answer.status_code == status, answer.text
    assert presets.files == ([no_collector + 1] if status == 200 else [])
    assert nameless_files() == no_collector


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_after_an_error_of_the_preset_no_file_is_left(no_collector: int, stream: str) -> None:
    presets = Watched()
    presets.failure = NotAudio("no audio", "file")
    async with connect(presets) as client:
        answer = await client.post(f"{PATH}?model=fast&stream={stream}", content=LARGE)
    assert is_refused(answer, "file", "no audio")
    assert nameless_files() == no_collector


@pytest.mark.parametrize(("sent", "query"), [(FORM, b""), (BARE, b"model=fast")])
async def test_when_the_client_goes_in_the_middle_no_file_is_left(
    no_collector: int, presets: FakePresets, sent: tuple[dict[str, str], bytes], query: bytes
) -> None:
    headers = [(name.encode(), value.encode()) for name, value in sent[0].items()]
    scope = {
        "type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": query,
        "headers": headers, "root_path": "", "scheme": "http", "http_version": "1.1",
    }  # fmt: skip
    coming = [{"type": "http.request", "body": sent[1][:2_000_000], "more_body": True}, {"type": "http.disconnect"}]
    most = []

    async def receive() -> Any:
        most.append(nameless_files())
        return coming.pop(0)

    async def send(message: Any) -> None:
        pass

    await asyncio.wait_for(create_api(presets, LimitArgs())(scope, receive, send), 5)
    assert most == [no_collector, no_collector + 1]
    assert nameless_files() == no_collector
    assert presets.asked == []
