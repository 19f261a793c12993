"""`/v1/jobs` over fake presets: what is answered to whom, and that a job is done once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import FakePresets, segment

from serve_app.config import GatewayArgs, LimitArgs
from serve_app.errors import NotAudio, StageFailed
from serve_app.jobs import worker
from serve_app.jobs.args import JobsArgs, WebhookArgs
from serve_app.jobs.desk import Desk
from serve_app.jobs.opening import open_desk
from serve_app.jobs.webhooks import BadSecret
from serve_app.options import DecodeOptions
from serve_app.transcript import SpeakerTurn, Transcript
from serve_app.wire.api import create_api

TRANSCRIPT = Transcript(
    "en",
    4.2,
    (segment("Hello there.", 0, 2, "A"), segment("Bye.", 2, 4, "B")),
    turns=(SpeakerTurn(0, 2, "A"), SpeakerTurn(2, 4, "B")),
)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_S", "BEAT_S", "NOT_READY_S"):
        monkeypatch.setattr(worker, name, 0.01)
    monkeypatch.setenv("RAYSCRIBE_WEBHOOK_SECRET", SECRET)


@pytest.fixture
def presets() -> FakePresets:
    return FakePresets(transcript=TRANSCRIPT)


@pytest.fixture
def desk(tmp_path: Path, presets: FakePresets) -> Desk:
    return open_desk(JobsArgs(folder=str(tmp_path / "jobs"), attempts=1), presets)


@pytest.fixture
async def client(presets: FakePresets, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """Over an API whose worker is at work."""
    async with desk.working(), connect(presets, desk) as client:
        yield client


@pytest.fixture
async def idle(presets: FakePresets, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """Over an API whose worker is not: jobs stay queued."""
    async with connect(presets, desk) as client:
        yield client


def connect(presets: FakePresets, desk: Desk | None) -> httpx.AsyncClient:
    app = create_api(presets, LimitArgs(max_upload_mb=0.1), desk=desk)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://rayscribe")


async def post(
    client: httpx.AsyncClient, file: bytes = b"sound", headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    return await client.post(
        "/v1/jobs", data={"model": "fast", **fields}, files={"file": ("clip.flac", file)}, headers=headers
    )


async def ended(client: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    """Look at a job until it is finished."""
    async with asyncio.timeout(10):
        while True:
            job: dict[str, Any] = (await client.get(answer.headers["location"])).json()
            if job["state"] not in ("queued", "running"):
                return job
            await asyncio.sleep(0.005)  # between two looks at a condition


async def result(client: httpx.AsyncClient, job: dict[str, Any], **query: Any) -> httpx.Response:
    return await client.get(f"/v1/jobs/{job['id']}/result", params=query)


def error(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error that must be answered with a status."""
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    found: dict[str, Any] = answer.json()["error"]
    return found


async def test_a_job_is_taken_on_told_of_and_answered(client: httpx.AsyncClient, presets: FakePresets) -> None:
    answer = await post(client, language="en", **{"metadata[case]": "7"})
    assert answer.status_code == 202
    taken_on = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{taken_on['id']}"
    job = await ended(client, answer)
    assert {name: job[name] for name in ("object", "state", "model", "metadata", "progress", "attempts", "error")} == {
        "object": "transcription.job",
        "state": "succeeded",
        "model": "fast",
        "metadata": {"case": "7"},
        "progress": 1.0,
        "attempts": 1,
        "error": None,
    }
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    assert job["result_url"] == f"/v1/jobs/{job['id']}/result"
    assert job.keys() == taken_on.keys()
    assert (await client.get(job["result_url"])).json()["text"] == "Hello there. Bye."
    ((preset, content, options),) = presets.asked
    assert (preset, content, options.decode, options.align) == ("fast", b"sound", DecodeOptions("en"), True)


@pytest.mark.parametrize(
    ("query", "kind", "begins"),
    [
        ({}, "text/plain; charset=utf-8", "1\n00:00:00,000"),
        ({"response_format": "json"}, "application/json", '{"text":'),
        ({"response_format": "text"}, "text/plain; charset=utf-8", "Hello there."),
        ({"response_format": "vtt"}, "text/plain; charset=utf-8", "WEBVTT"),
        ({"response_format": "verbose_json"}, "application/json", '{"task":'),
        ({"response_format": "diarized_json"}, "application/json", '{"task":'),
        ({"response_format": "rttm"}, "text/plain; charset=utf-8", "SPEAKER audio 1 0.000"),
    ],
)
async def test_the_result_comes_in_any_format(
    client: httpx.AsyncClient, query: dict[str, str], kind: str, begins: str
) -> None:
    job = await ended(client, await post(client, response_format="srt", diarize="true"))
    answer = await result(client, job, **query)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.text.startswith(begins)


@pytest.mark.parametrize("response_format", ["json", "text"])
async def test_speakers_are_told_apart_for_a_format_that_is_chosen_later(
    client: httpx.AsyncClient, response_format: str
) -> None:
    told = {"response_format": response_format, "diarize": "true", "num_speakers": "2"}
    job = await ended(client, await post(client, **told))
    answer = await result(client, job, response_format="rttm")
    assert answer.text.startswith("SPEAKER audio 1 0.000")


async def test_words_are_there_whatever_the_job_was_told(client: httpx.AsyncClient) -> None:
    job = await ended(client, await post(client))
    query = {"response_format": "verbose_json", "timestamp_granularities[]": ["word"]}
    body = (await result(client, job, **query)).json()
    assert [word["word"] for word in body["words"]] == ["Hello", "there.", "Bye."]
    assert "segments" not in body


async def test_the_jobs_own_choice_of_format_stays(client: httpx.AsyncClient) -> None:
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    job = await ended(client, await post(client, **fields))
    assert job["response_format"] == "verbose_json"
    assert "words" in (await result(client, job)).json()
    assert "words" not in (await result(client, job, response_format="verbose_json")).json()


@pytest.mark.parametrize(
    ("query", "param", "said"),
    [
        ({"response_format": "xml"}, "response_format", "'json', 'text'"),
        ({"response_format": "rttm"}, "response_format", "submit the file again with diarize=true"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities", "needs response_format=verbose_json"),
        ({"max_line_width": 20}, "max_line_width", "needs response_format=srt"),
        ({"include[]": "logprobs"}, "include", "submit the file again with include[]=logprobs"),
        (
            {"response_format": "verbose_json", "speaker_embeddings": "true"},
            "speaker_embeddings",
            "submit the file again with speaker_embeddings=true",
        ),
        ({"stream": "true"}, "stream", "not streamed"),
        ({"respons_format": "srt"}, "respons_format", "did you mean 'response_format'?"),
    ],
)
async def test_a_result_that_cannot_be_written_so_is_refused(
    client: httpx.AsyncClient, query: dict[str, str], param: str, said: str
) -> None:
    job = await ended(client, await post(client))
    refused = error(await result(client, job, **query), 400)
    assert (refused["param"], said in refused["message"]) == (param, True), refused


async def test_a_subtitles_shape_goes_with_the_format_it_was_told_for(client: httpx.AsyncClient) -> None:
    told = {"response_format": "srt", "max_words_per_line": "1"}
    job = await ended(client, await post(client, **told))
    shaped = (await result(client, job)).text
    assert shaped.count("-->") == 3
    assert (await result(client, job, response_format="json")).json()["text"] == "Hello there. Bye."
    assert (await result(client, job, response_format="srt")).text.count("-->") == 2
    assert (await result(client, job, **told)).text == shaped


async def test_voices_are_kept_for_every_format_that_can_hold_them(
    client: httpx.AsyncClient, presets: FakePresets
) -> None:
    presets.transcript = replace(presets.transcript, voices={"A": (0.5, -1.0)})
    told = {"response_format": "diarized_json", "speaker_embeddings": "true"}
    job = await ended(client, await post(client, **told))
    assert (await result(client, job)).json()["speaker_embeddings"] == {"A": [0.5, -1.0]}
    other = {"response_format": "verbose_json"}
    assert "speaker_embeddings" not in (await result(client, job, **other)).json()
    assert "speaker_embeddings" in (await result(client, job, **other, speaker_embeddings="true")).json()


async def test_a_file_may_come_as_the_bare_body(client: httpx.AsyncClient, presets: FakePresets) -> None:
    answer = await client.post(
        "/v1/jobs", params={"model": "fast"}, content=b"sound", headers={"content-type": "audio/flac"}
    )
    assert answer.status_code == 202
    await ended(client, answer)
    assert presets.asked[0][1] == b"sound"


async def test_there_is_no_result_before_the_end(idle: httpx.AsyncClient) -> None:
    job = (await post(idle)).json()
    refused = error(await result(idle, job), 409)
    assert refused["code"] == "job_not_finished"
    assert "queued (0%)" in refused["message"]
    await idle.post(f"/v1/jobs/{job['id']}/cancel")
    assert "was cancelled" in error(await result(idle, job), 409)["message"]


@pytest.mark.parametrize(
    ("failure", "status"), [(NotAudio("this is no audio", "file"), 400), (StageFailed("it broke"), 500)]
)
async def test_a_failed_job_answers_with_its_own_error(
    client: httpx.AsyncClient, presets: FakePresets, failure: Any, status: int
) -> None:
    presets.failure = failure
    job = await ended(client, await post(client))
    assert (job["state"], job["error"], job["result_url"]) == ("failed", failure.described(), None)
    assert error(await result(client, job), status) == failure.described()


async def test_the_same_again_is_the_same_job(client: httpx.AsyncClient, presets: FakePresets) -> None:
    first = await ended(client, await post(client))
    again = await post(client)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert again.headers["location"] == f"/v1/jobs/{first['id']}"
    for other in (
        await post(client, b"other"),
        await post(client, language="de"),
        await post(client, headers={"Cache-Control": "no-cache"}),
        await post(client, model="premium"),
    ):
        assert other.status_code == 202
        await ended(client, other)
    assert len(presets.asked) == 5


async def test_the_same_for_another_purpose_is_another_job_whose_work_is_not_done_again(
    client: httpx.AsyncClient, presets: FakePresets
) -> None:
    first = await ended(client, await post(client))
    for fields in ({"response_format": "srt"}, {"metadata": '{"case": "8"}'}):
        other = await post(client, **fields)
        assert other.status_code == 202
        assert (await ended(client, other))["state"] == "succeeded"
        assert other.json()["id"] != first["id"]
    assert len(presets.asked) == 1


async def test_an_idempotency_key_is_one_job(idle: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "order-7"}
    first = await post(idle, headers=key)
    again = await post(idle, headers={**key, "Cache-Control": "no-cache"})
    assert (first.status_code, again.status_code, again.json()) == (202, 200, first.json())
    for other in (await post(idle, b"other", headers=key), await post(idle, language="de", headers=key)):
        refused = error(other, 422)
        assert (refused["code"], refused["param"]) == ("idempotency_key_reused", "Idempotency-Key")
        assert first.json()["id"] in refused["message"]
    assert error(await post(idle, headers={"Idempotency-Key": "x" * 256}), 400)["param"] == "Idempotency-Key"


async def test_jobs_are_listed_newest_first_page_by_page(idle: httpx.AsyncClient) -> None:
    ids = [(await post(idle, bytes([n]))).json()["id"] for n in range(5)]
    await idle.post(f"/v1/jobs/{ids[2]}/cancel")
    seen: list[str] = []
    page: dict[str, Any] = {"has_more": True, "last_id": None}
    while page["has_more"]:
        after = {"after": page["last_id"]} if page["last_id"] else {}
        page = (await idle.get("/v1/jobs", params={"limit": 2, **after})).json()
        assert (page["object"], page["first_id"]) == ("list", page["data"][0]["id"])
        seen += [job["id"] for job in page["data"]]
    assert sorted(seen) == sorted(ids)
    assert seen == sorted(seen, reverse=True)
    cancelled = (await idle.get("/v1/jobs", params={"state": "cancelled"})).json()
    assert [job["id"] for job in cancelled["data"]] == [ids[2]]
    none = (await idle.get("/v1/jobs", params={"state": "failed"})).json()
    assert none == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert error(await idle.get("/v1/jobs", params={"limit": 0}), 400)["param"] == "limit"
    assert error(await idle.get("/v1/jobs", params={"state": "lost"}), 400)["param"] == "state"


async def test_a_job_is_cancelled_once_and_forgotten_at_last(idle: httpx.AsyncClient) -> None:
    job = (await post(idle)).json()
    for _ in range(2):
        answer = await idle.post(f"/v1/jobs/{job['id']}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    deleted = await idle.delete(f"/v1/jobs/{job['id']}")
    assert deleted.json() == {"id": job["id"], "object": "transcription.job.deleted", "deleted": True}
    assert (await idle.get("/v1/jobs")).json()["data"] == []


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/result"), ("POST", "/cancel"), ("DELETE", "")])
async def test_an_unknown_job_is_not_found(idle: httpx.AsyncClient, method: str, path: str) -> None:
    missing = error(await idle.request(method, f"/v1/jobs/job_0{path}"), 404)
    assert (missing["code"], missing["param"]) == ("job_not_found", "id")


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"file": b""}, "file", "empty"),
        ({"stream": "true"}, "stream", "not streamed"),
        ({"metadata": "seven"}, "metadata", "no JSON object"),
        ({"metadata": '{"a": "' + "x" * 513 + '"}'}, "metadata", "at most 16 names"),
        ({f"metadata[{n}]": "x" for n in range(17)}, "metadata", "at most 16 names"),
        ({"webhook_url": "http://example.org/"}, "webhook_url", "plain http"),
        ({"webhook_url": "https://10.0.0.1/"}, "webhook_url", "private address"),
        ({"webhok_url": "https://example.org/"}, "webhok_url", "did you mean 'webhook_url'?"),
        ({"response_format": "xml"}, "response_format", "'json', 'text'"),
        ({"language": "English"}, "language", "match pattern"),
    ],
)
async def test_a_bad_request_names_the_field_and_mends_it(
    idle: httpx.AsyncClient, fields: dict[str, Any], param: str, said: str
) -> None:
    refused = error(await post(idle, **fields), 400)
    assert (refused["param"], said in refused["message"]) == (param, True), refused
    assert (await idle.get("/v1/jobs")).json()["data"] == []


async def test_an_unknown_model_and_too_much_are_refused_as_everywhere(idle: httpx.AsyncClient) -> None:
    assert error(await post(idle, model="turbo"), 404)["code"] == "model_not_found"
    assert error(await post(idle, b"x" * 200_000), 413)["code"] == "file_too_large"


async def test_a_webhook_may_be_asked_for_where_there_is_a_secret(
    presets: FakePresets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"webhook_url": "https://example.org/hook"}
    args = JobsArgs(folder=str(tmp_path), webhook=WebhookArgs(secret_env="HOOK_SECRET"))
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    async with connect(presets, open_desk(args, presets)) as client:
        hook = (await post(client, **fields)).json()["webhook"]
    assert hook == {"url": "https://example.org/hook", "state": "waiting", "tries": 0, "error": None}
    monkeypatch.delenv("HOOK_SECRET")
    async with connect(presets, open_desk(args, presets)) as client:
        refused = error(await post(client, **fields), 400)
    assert (refused["param"], "no secret in HOOK_SECRET" in refused["message"]) == ("webhook_url", True)
    monkeypatch.setenv("HOOK_SECRET", "bad")
    with pytest.raises(BadSecret):
        open_desk(args, presets)


async def test_a_folder_that_cannot_be_written_is_said_and_the_rest_goes_on(presets: FakePresets) -> None:
    broken = open_desk(JobsArgs(folder="/dev/null/jobs"), presets)
    async with broken.working(), connect(presets, broken) as client:
        for answer in (await post(client), await client.get("/v1/jobs")):
            assert error(answer, 503)["code"] == "jobs_unavailable"
            assert answer.headers["retry-after"] == "5"
        assert (await client.get("/health")).status_code == 200


def test_several_nodes_without_a_broker_are_warned_of(
    presets: FakePresets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for nodes, broker in ((1, None), (3, "redis://broker"), (3, None)):
        assert "set jobs.broker" not in caplog.text
        open_desk(JobsArgs(folder=str(tmp_path), broker=broker), presets, nodes)
    assert "the cluster has 3" in caplog.text


async def test_without_jobs_in_the_config_there_is_no_such_path(presets: FakePresets) -> None:
    async with connect(presets, None) as client:
        assert error(await post(client), 404)["code"] == "not_found"


def test_settings_say_where_jobs_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RAYSCRIBE_JOBS", "RAYSCRIBE_JOBS_BROKER"):
        monkeypatch.delenv(name, raising=False)
    assert GatewayArgs(presets=["fast"]).jobs is None
    jobs = GatewayArgs.model_validate({"presets": ["fast"], "jobs": {}}).jobs
    assert jobs
    assert (jobs.folder, jobs.broker) == (str(tmp_path / ".rayscribe" / "jobs"), None)
    monkeypatch.setenv("RAYSCRIBE_JOBS", "/mnt/jobs")
    monkeypatch.setenv("RAYSCRIBE_JOBS_BROKER", "redis://broker/1")
    assert (JobsArgs().folder, JobsArgs().broker) == ("/mnt/jobs", "redis://broker/1")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"broker": "amqp://broker"}, "must begin with redis://"),
        ({"at_once": 0}, "greater than or equal to 1"),
        ({"retention": 5}, "did you mean 'retention_s'?"),
        ({"webhook": {"secret": "x"}}, "did you mean 'secret_env'?"),
    ],
)
def test_a_wrong_setting_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        JobsArgs.model_validate(given)
