"""Streams and retries over the real service: text while the rest is still heard, one piece of work for one file."""

import os
import signal
import time
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from benchmarks.common import wav
from benchmarks.scoring import plain, word_error_rate
from serve_app.models.audio import decode
from tests.cluster.replicas import replica_pid

pytestmark = pytest.mark.cluster
LONG_BEFORE_THE_END_S = 40
"""An hour takes minutes; how soon the first text really comes is `benchmarks.first_text`'s to say."""


def repeated(sample: Any, seconds: float) -> bytes:
    """A file of any length, in which the two minutes follow each other."""
    once = decode(sample("two_minutes").path.read_bytes())
    return wav(np.resize(once, int(seconds * 16_000)))


def test_the_first_text_of_an_hour_comes_while_the_rest_is_heard(client: openai.OpenAI, sample: Any) -> None:
    hour = repeated(sample, 3600)
    began = time.monotonic()
    with client.audio.transcriptions.create(model="fast", file=("hour.wav", hour), stream=True) as told:
        first = next(iter(told))
        took = time.monotonic() - began
    assert first.type == "transcript.text.delta"
    assert plain(first.delta)[0] in plain(" ".join(sample("two_minutes").words))
    assert took <= LONG_BEFORE_THE_END_S


def test_a_stream_tells_text_speakers_and_the_whole(client: openai.OpenAI, sample: Any) -> None:
    said = sample("three_speakers")
    with said.path.open("rb") as audio:
        events = list(
            client.audio.transcriptions.create(model="high", file=audio, response_format="diarized_json", stream=True)
        )
    deltas = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    segments = [event for event in events if event.type == "transcript.text.segment"]
    done = events[-1]
    assert done.type == "transcript.text.done"
    assert deltas == done.text
    assert plain(" ".join(segment.text for segment in segments)) == plain(done.text)
    assert word_error_rate(plain(" ".join(said.words)), plain(done.text)) <= 0.05
    assert {segment.speaker for segment in segments} == {"A", "B", "C"}


def test_a_stream_goes_on_where_it_was_when_its_pipeline_dies(client: openai.OpenAI, sample: Any) -> None:
    said = sample("two_minutes").path.read_bytes()
    whole = client.audio.transcriptions.create(model="high", file=("a.flac", said)).text
    told = client.audio.transcriptions.create(model="high", file=("a.flac", said), stream=True)
    first: Any = next(iter(told))
    os.kill(replica_pid("high", "Pipeline"), signal.SIGKILL)
    rest: list[Any] = list(told)
    assert rest[-1].text == whole
    assert first.delta + "".join(event.delta for event in rest[:-1]) == whole


def test_a_client_that_comes_back_after_its_time_out_finds_the_work_going_on(service: str, sample: Any) -> None:
    """A try that began anew would take no longer than the time-out, by the clock of its work."""
    impatient = openai.OpenAI(base_url=f"{service}/v1", api_key="none", timeout=2, max_retries=20)
    answer = impatient.audio.transcriptions.with_raw_response.create(
        model="high", file=("long.wav", repeated(sample, 100)), response_format="diarized_json"
    )
    assert answer.retries_taken > 0
    total_ms = float(answer.headers["server-timing"].rpartition("total;dur=")[2])
    assert total_ms > 2000
    assert answer.parse().text


def test_every_answer_bears_the_requests_name_and_a_late_one_says_so(service: str, sample: Any) -> None:
    files = {"file": repeated(sample, 120)}
    late = httpx.post(
        f"{service}/v1/audio/transcriptions",
        data={"model": "high"},
        files=files,
        headers={"X-Request-Timeout-Seconds": "3", "X-Request-ID": "mine"},
    )
    assert (late.status_code, late.json()["error"]["code"]) == (408, "deadline_exceeded")
    assert late.headers["x-request-id"] == "mine"
    assert httpx.get(f"{service}/v1/models").headers["x-request-id"]
