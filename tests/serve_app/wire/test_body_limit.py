"""The bound on uploads: by the declared length at once, by what arrives otherwise."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fakes import FakePresets

from serve_app.config import LimitArgs
from serve_app.wire.api import create_api
from serve_app.wire.body_limit import BodyLimit

PATH = "/v1/audio/transcriptions"
HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
TAIL = b'\r\n--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nfast\r\n--x--\r\n'
FORM = {"content-type": "multipart/form-data; boundary=x"}
MOST = 100_000


@pytest.fixture
def presets() -> FakePresets:
    return FakePresets()


@pytest.fixture
async def client(presets: FakePresets) -> AsyncIterator[httpx.AsyncClient]:
    app = create_api(presets, LimitArgs(max_upload_mb=MOST / 1_000_000))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://rayscribe") as client:
        yield client


class Upload:
    """A body in chunks without a declared length, that counts how much of it was asked for."""

    def __init__(self, size: int) -> None:
        self.sent = 0
        self._size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks():
            self.sent += len(chunk)
            yield chunk

    def _chunks(self) -> Iterator[bytes]:
        yield HEAD
        yield from (b"\0" * 1000 for _ in range((self._size - len(HEAD) - len(TAIL)) // 1000))
        yield b"\0" * ((self._size - len(HEAD) - len(TAIL)) % 1000)
        yield TAIL


def is_too_large(answer: httpx.Response) -> bool:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (413, "file_too_large", "file"), answer.text
    assert "0.1 MB" in error["message"]
    assert "limits.max_upload_mb" in error["message"]
    return True


async def test_a_declared_length_is_judged_at_once(client: httpx.AsyncClient, presets: FakePresets) -> None:
    answer = await client.post(PATH, content=HEAD + b"\0" * MOST + TAIL, headers=FORM)
    assert is_too_large(answer)
    assert presets.asked == []


async def test_a_body_without_a_length_is_judged_as_it_arrives(client: httpx.AsyncClient, presets: FakePresets) -> None:
    upload = Upload(10 * MOST)
    answer = await client.post(PATH, content=upload, headers=FORM)
    assert is_too_large(answer)
    assert presets.asked == []
    assert upload.sent <= MOST + 2000


async def test_a_length_that_lies_does_not_help(client: httpx.AsyncClient, presets: FakePresets) -> None:
    answer = await client.post(PATH, content=Upload(2 * MOST), headers={**FORM, "content-length": "10"})
    assert is_too_large(answer)
    assert presets.asked == []


@pytest.mark.parametrize("size", [1000, MOST - 1, MOST])
async def test_up_to_the_bound_everything_arrives_whole(
    client: httpx.AsyncClient, presets: FakePresets, size: int
) -> None:
    assert (await client.post(PATH, content=Upload(size), headers=FORM)).status_code == 200
    assert [len(upload) for _, upload, _ in presets.asked] == [size - len(HEAD) - len(TAIL)]


async def test_what_is_no_http_request_passes_untouched() -> None:
    seen = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append((scope, receive, send))

    async def nothing() -> None:
        raise AssertionError

    await BodyLimit(app, 1)({"type": "lifespan"}, nothing, nothing)  # type: ignore[arg-type]
    assert seen == [({"type": "lifespan"}, nothing, nothing)]
