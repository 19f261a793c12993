"""The HTTP API over fake presets: what is passed on, what is answered, and how errors look on the wire."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from fakes import FakePresets, FakeStages, content, segment
from fastapi import FastAPI

from serve_app import errors
from serve_app.config import LimitArgs, VadArgs
from serve_app.errors import RayscribeError
from serve_app.listening import Listener, Upload
from serve_app.models.audio import decode, pieces, stated_length
from serve_app.models.vad import SpeechFinder
from serve_app.options import DecodeOptions, RequestOptions
from serve_app.pipeline import PresetPipeline
from serve_app.presets import PresetStatus
from serve_app.transcript import Transcript
from serve_app.wire.api import create_api
from serve_app.wire.audio import on_a_line

PATH = "/v1/audio/transcriptions"
TRANSCRIPT = Transcript(
    "en", 4.2, (segment("Hello there.", 0, 2, "A"), segment("Bye.", 2, 4, "B")), timings={"decode": 0.25, "total": 0.5}
)


@pytest.fixture
def presets() -> FakePresets:
    return FakePresets(transcript=TRANSCRIPT)


@pytest.fixture
async def client(presets: FakePresets) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(create_api(presets, LimitArgs())) as client:
        yield client


def connect(app: FastAPI) -> httpx.AsyncClient:
    """A client that gets what a server would answer, errors too."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://rayscribe")


async def post(client: httpx.AsyncClient, file: bytes | None = b"sound", **fields: Any) -> httpx.Response:
    files = {} if file is None else {"file": ("clip.flac", file)}
    return await client.post(PATH, data={"model": "fast", **fields}, files=files)


async def refused(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The error of a request that must be answered 400."""
    answer = await post(client, **fields)
    assert answer.status_code == 400, answer.text
    assert answer.json().keys() == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    return error


async def test_a_file_and_a_model_are_enough(client: httpx.AsyncClient, presets: FakePresets) -> None:
    answer = await post(client)
    assert answer.status_code == 200
    assert answer.json() == {
        "text": "Hello there. Bye.",
        "languages": [{"code": "en"}],
        "usage": {"type": "duration", "seconds": 5},
    }
    assert answer.headers["server-timing"] == "decode;dur=250.0, total;dur=500.0"
    assert presets.asked == [("fast", b"sound", RequestOptions(align=False))]


async def test_the_model_may_be_an_alias(client: httpx.AsyncClient, presets: FakePresets) -> None:
    assert (await post(client, model="whisper-1")).status_code == 200
    assert presets.asked[0][0] == "fast"


async def test_a_client_that_wants_its_own_work_shares_none(client: httpx.AsyncClient, presets: FakePresets) -> None:
    files = {"file": ("clip.flac", b"sound")}
    alone = {"Cache-Control": "no-cache"}
    for headers in ({}, {}, alone, alone):
        await client.post(PATH, data={"model": "fast"}, files=files, headers=headers)
    nonces = [options.nonce for _, _, options in presets.asked]
    assert nonces[:2] == ["", ""]
    assert len({*nonces}) == 3


@pytest.mark.parametrize(
    ("response_format", "kind", "begins"),
    [
        ("json", "application/json", '{"text":"Hello there. Bye."'),
        ("text", "text/plain; charset=utf-8", "Hello there. Bye.\n"),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:00,000 --> 00:00:02,000\n[A] Hello there.\n"),
        ("vtt", "text/plain; charset=utf-8", "WEBVTT\n\n00:00:00.000"),
        ("verbose_json", "application/json", '{"task":"transcribe","language":"en","duration":4.2'),
        ("diarized_json", "application/json", '{"task":"transcribe","duration":4.2'),
    ],
)
async def test_every_format_is_answered_in_its_kind(
    client: httpx.AsyncClient, response_format: str, kind: str, begins: str
) -> None:
    answer = await post(client, response_format=response_format)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.text.startswith(begins)


async def test_arrays_come_with_brackets(client: httpx.AsyncClient, presets: FakePresets) -> None:
    answer = await post(
        client,
        **{"response_format": "verbose_json", "timestamp_granularities[]": ["word"], "keywords[]": ["Ray", "Serve"]},
    )
    assert [word["word"] for word in answer.json()["words"]] == ["Hello", "there.", "Bye."]
    assert "segments" not in answer.json()
    assert presets.asked[0][2].decode.hotwords == "Ray, Serve"


async def test_verbose_json_has_segments_unless_told_otherwise(client: httpx.AsyncClient) -> None:
    body = (await post(client, response_format="verbose_json")).json()
    assert "words" not in body
    assert [each["text"] for each in body["segments"]] == ["Hello there.", "Bye."]


async def test_options_reach_the_preset(client: httpx.AsyncClient, presets: FakePresets) -> None:
    await post(
        client,
        language="de",
        prompt="Vorher.",
        temperature="0.5",
        diarize="true",
        num_speakers="2",
        response_format="srt",
    )
    options = presets.asked[0][2]
    assert options.decode == DecodeOptions("de", "transcribe", "Vorher.", None, (0.5,))
    assert (options.diarize, options.speakers.num_speakers) == (True, 2)


@pytest.mark.parametrize("response_format", ["verbose_json", "diarized_json", "whisper_json"])
async def test_voices_are_written_where_they_are_asked_for(
    client: httpx.AsyncClient, presets: FakePresets, response_format: str
) -> None:
    presets.transcript = replace(TRANSCRIPT, voices={"A": (0.5, -1.0), "B": (0.25, 0.0)})
    asked = {"response_format": response_format, "diarize": "true"}
    body = (await post(client, **asked, speaker_embeddings="true")).json()
    assert body["speaker_embeddings"] == {"A": [0.5, -1.0], "B": [0.25, 0.0]}
    assert presets.asked[0][2].speakers.embeddings
    assert "speaker_embeddings" not in (await post(client, **asked)).json()
    assert not presets.asked[1][2].speakers.embeddings


@pytest.mark.parametrize("response_format", ["text", "srt", "vtt", "tsv", "ctm", "rttm"])
async def test_plain_text_has_its_warnings_in_a_header(
    client: httpx.AsyncClient, presets: FakePresets, response_format: str
) -> None:
    assert "x-rayscribe-warnings" not in (await post(client, response_format=response_format)).headers
    presets.transcript = replace(TRANSCRIPT, warnings=("no aligner for 'xx'", "50 % of it"))
    answer = await post(client, response_format=response_format)
    assert answer.headers["x-rayscribe-warnings"] == "no aligner for 'xx'; 50 %25 of it"


def test_a_line_of_warnings_is_ascii_and_bounded() -> None:
    assert on_a_line(["für\n"]) == "f%C3%BCr%0A"
    assert on_a_line(["a" * 2000]) == "a" * 1000
    assert on_a_line(["a" * 995 + "ü" * 9]) == "a" * 995  # no half of a character
    assert unquote(on_a_line(["50 % für", "b"])) == "50 % für; b"


async def test_temperatures_come_as_a_list(client: httpx.AsyncClient, presets: FakePresets) -> None:
    assert (await post(client, temperature="0,0.4")).status_code == 200
    assert presets.asked[0][2].decode.temperatures == (0.0, 0.4)


async def test_blank_fields_are_absent(client: httpx.AsyncClient, presets: FakePresets) -> None:
    blank = dict.fromkeys(("language", "prompt", "temperature", "response_format", "keywords[]", "stream"), "")
    assert (await post(client, **blank)).status_code == 200
    assert presets.asked[0][2] == RequestOptions(align=False)


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"respons_format": "srt"}, "respons_format", "unknown key 'respons_format'; did you mean 'response_format'?"),
        ({"response_format": "xml"}, "response_format", "'json', 'text'"),
        ({"temperature": "2"}, "temperature", "less than or equal to 1"),
        ({"language": "English"}, "language", "match pattern"),
        ({"timestamp_granularities[]": "letter"}, "timestamp_granularities", "'word' or 'segment'"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities", "needs response_format=verbose_json"),
        ({"file": None}, "file", "required"),
        ({"file": b""}, "file", "empty"),
        ({"chunking_strategy[type]": "loud"}, "chunking_strategy", "server_vad"),
        ({"chunking_strategy": "loud"}, "chunking_strategy", "neither auto nor server_vad"),
        ({"clip_timestamps": "5,3"}, "clip_timestamps", "before it begins"),
        ({"clip_timestamps": "five"}, "clip_timestamps", "no list of seconds"),
        ({"known_speaker_names[]": "Ann"}, "known_speaker_references", "one reference for each"),
    ],
)
async def test_a_bad_request_names_the_field_and_mends_it(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str, said: str
) -> None:
    error = await refused(client, **fields)
    assert error["param"] == param
    assert said in error["message"]


async def test_a_file_sent_as_text_is_told_how_to_be_sent(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, data={"model": "fast", "file": "clip.flac"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


async def test_a_body_that_is_no_form_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, json={"model": "fast"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_an_unknown_model_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await post(client, model="turbo")
    assert answer.status_code == 404
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == ("model", "model_not_found")


@pytest.mark.parametrize("name", ["NotAudio", "AudioTooLong", "PresetUnavailable", "ReplicaLost", "StageFailed"])
async def test_a_presets_error_keeps_its_status_code_and_parameter(
    client: httpx.AsyncClient, presets: FakePresets, name: str
) -> None:
    cls: type[RayscribeError] = getattr(errors, name)
    presets.failure = cls("it went wrong", "file")
    answer = await post(client)
    assert answer.status_code == cls.status
    assert answer.json() == {"error": {"message": "it went wrong", "type": cls.type, "param": "file", "code": cls.code}}
    assert ("retry-after" in answer.headers) == (cls.status == 503)


async def test_an_unforeseen_error_tells_no_internals(client: httpx.AsyncClient, presets: FakePresets) -> None:
    presets.failure = KeyError("/secret/path")
    answer = await post(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


async def test_unknown_paths_and_methods_have_the_same_shape(client: httpx.AsyncClient) -> None:
    missing, wrong = await client.get("/v1/nothing"), await client.get(PATH)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


async def test_presets_are_listed_as_models(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    assert (listed["object"], [model["id"] for model in listed["data"]]) == ("list", ["fast", "premium"])
    assert (await client.get("/v1/models/premium")).json() == listed["data"][1]
    assert (await client.get("/v1/models/turbo")).status_code == 404


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({}, 200),
        ({"premium": PresetStatus("asleep")}, 200),
        ({"premium": PresetStatus("starting", "waiting for Transcription")}, 503),
        ({"fast": PresetStatus("unhealthy", "no such model"), "premium": PresetStatus("asleep")}, 503),
    ],
)
async def test_ready_means_that_every_awake_preset_can_answer(
    client: httpx.AsyncClient, presets: FakePresets, states: dict[str, PresetStatus], status: int
) -> None:
    presets.states = states
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["ready"]) == (status, status == 200)
    for name, state in states.items():
        assert answer.json()["presets"][name] == {"state": state.state, "message": state.message}
    assert (await client.get("/health")).json() == {"status": "ok"}


async def test_the_docs_are_served_from_this_installation(client: httpx.AsyncClient) -> None:
    page = await client.get("/", follow_redirects=True)
    assert page.url.path == "/docs"
    assert "http://" not in page.text
    assert "https://" not in page.text
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert (await client.get(f"/docs/assets/{asset}")).status_code == 200
    form = (await client.get("/openapi.json")).json()["components"]["schemas"]["TranscriptionForm"]
    assert {"file", "model", "timestamp_granularities[]"} <= form["properties"].keys()


async def test_mounted_under_a_presets_path_all_links_stay_below_it(presets: FakePresets) -> None:
    app = FastAPI()
    app.mount("/fast", create_api(presets, LimitArgs(), "fast"))
    async with connect(app) as client:
        assert (await client.get("/fast/")).headers["location"] == "/fast/docs"
        page = (await client.get("/fast/docs")).text
        assert "'/fast/openapi.json'" in page
        assert "/fast/docs/assets/swagger-ui.css" in page
        assert (await client.get("/fast/docs/assets/swagger-ui.css")).status_code == 200
        assert (await client.post("/fast" + PATH, data={"model": "fast"}, files={"file": b"x"})).status_code == 200


class OnePreset(FakePresets):
    """A preset that is a real pipeline over fake stages."""

    def __init__(self, pipeline: PresetPipeline) -> None:
        super().__init__()
        self._pipeline = pipeline

    async def transcribe(self, preset: str, upload: Upload, options: RequestOptions) -> Transcript:
        return await self._pipeline.run(content(upload), options)


async def test_a_real_upload_is_decoded_and_cut_into_windows(data: Path) -> None:
    finder = SpeechFinder(VadArgs())
    listener = Listener(lambda upload, options: pieces(upload), lambda options: finder.stream(), stated_length)
    pipeline = PresetPipeline(FakeStages(say=lambda window: " Heard."), listener.listen, decode)
    async with connect(create_api(OnePreset(pipeline), LimitArgs())) as client:
        heard = await post(client, (data / "three_speakers.flac").read_bytes(), response_format="verbose_json")
        silent = await post(client, (data / "silence.flac").read_bytes(), response_format="verbose_json")
        broken = await post(client, (data / "not_audio.bin").read_bytes())
    assert heard.json()["duration"] == pytest.approx(37.11, abs=0.01)
    assert len(heard.json()["segments"]) >= 2
    assert (silent.json()["text"], silent.json()["segments"]) == ("", [])
    assert (broken.status_code, broken.json()["error"]["param"]) == (400, "file")
