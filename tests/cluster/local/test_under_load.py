"""The service while things happen to it: replicas die, clients go, a crowd wants different things."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from benchmarks.common import wav
from serve_app.models.audio import decode
from tests.cluster.replicas import replica_pid, until_busy, until_idle
from tests.conftest import ROOT

pytestmark = pytest.mark.cluster
STAGES = ("Pipeline", "Transcription", "Alignment", "Diarization")
DATA = ROOT / "tests" / "data"


@pytest.mark.parametrize("deployment", STAGES)
def test_a_replica_killed_in_mid_file_costs_nothing_but_time(
    client: openai.OpenAI, sample: Any, deployment: str
) -> None:
    said = sample("two_minutes").path.read_bytes()

    def heard() -> list[tuple[str, str, float]]:
        answer: Any = client.audio.transcriptions.create(
            model="high", file=("a.flac", said), response_format="diarized_json"
        )
        return [(segment.speaker, segment.text, segment.start) for segment in answer.segments]

    whole = heard()
    answers: list[list[tuple[str, str, float]]] = []
    victim = replica_pid("high", deployment)
    request = threading.Thread(target=lambda: answers.append(heard()))
    request.start()
    until_busy(victim)
    os.kill(victim, signal.SIGKILL)
    request.join(240)
    assert answers == [whole]


def test_when_the_client_goes_no_work_is_left(service: str, client: openai.OpenAI, sample: Any) -> None:
    once = decode(sample("two_minutes").path.read_bytes())
    long = wav(np.resize(once, 16 * len(once)))  # half an hour: minutes of work
    busy = replica_pid("high", "Transcription")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{service}/v1/audio/transcriptions",
            data={"model": "high", "response_format": "diarized_json"},
            files={"file": long},
            timeout=httpx.Timeout(60, read=4),
        )
    for deployment in STAGES:
        until_idle(replica_pid("high", deployment), 30)
    assert replica_pid("high", "Transcription") == busy
    assert client.audio.transcriptions.create(model="high", file=DATA / "one_sentence.flac").text


CROWD: list[dict[str, Any]] = [
    {"model": "fast"},
    {"model": "fast", "language": "en", "response_format": "verbose_json", "timestamp_granularities": ["word"]},
    {"model": "high", "response_format": "diarized_json"},
    {"model": "high", "response_format": "srt", "extra_body": {"beam_size": 2}},
    {"model": "fast", "response_format": "verbose_json", "extra_body": {"clip_timestamps": "2,6"}},
    {"model": "high", "response_format": "json", "prompt": "People talk."},
    {"model": "fast", "response_format": "vtt", "extra_body": {"suppress_numerals": True, "hotwords": "light"}},
    {"model": "fast", "response_format": "json", "extra_body": {"multilingual": True}},
    {"model": "high", "response_format": "diarized_json", "extra_body": {"num_speakers": 1}},
    {"model": "fast", "chunking_strategy": {"type": "server_vad", "silence_duration_ms": 100}},
]


def test_a_mixed_crowd_gets_what_each_gets_alone(client: openai.OpenAI, sample: Any) -> None:
    names = ["ten_seconds", "one_sentence"]

    def ask(order: tuple[str, dict[str, Any]]) -> Any:
        name, options = order
        with sample(name).path.open("rb") as audio:
            answer: Any = client.audio.transcriptions.create(file=audio, **options)
        return answer if isinstance(answer, str) else answer.model_dump()

    orders = [(name, options) for options in CROWD for name in names]
    alone = [ask(order) for order in orders]
    with ThreadPoolExecutor(len(orders)) as pool:
        together = list(pool.map(ask, orders))
    assert together == alone


def test_only_the_stretches_asked_for_are_heard_and_lie_where_they_are(client: openai.OpenAI, sample: Any) -> None:
    with sample("three_speakers").path.open("rb") as audio:
        answer: Any = client.audio.transcriptions.create(
            model="high", file=audio, response_format="verbose_json", timestamp_granularities=["word"],
            extra_body={"clip_timestamps": "10,20"},
        )  # fmt: skip
    assert answer.words
    assert 9.9 <= min(word.start for word in answer.words) <= max(word.end for word in answer.words) <= 20.1


def test_a_known_voice_bears_its_name_and_strangers_letters(client: openai.OpenAI, sample: Any) -> None:
    said = sample("three_speakers")
    first = next(turn for turn in said.reference["turns"] if turn["end"] - turn["start"] >= 2)
    samples = decode(said.path.read_bytes())[int(first["start"] * 16000) : int(first["end"] * 16000)]
    answer: Any = client.audio.transcriptions.create(
        model="high",
        file=said.path,
        response_format="diarized_json",
        extra_body={
            "known_speaker_names": ["Ann"],
            "known_speaker_references": ["data:audio/wav;base64," + _base64(wav(samples))],
        },
    )
    at = (first["start"] + first["end"]) / 2
    assert [each.speaker for each in answer.segments if each.start <= at <= each.end] == ["Ann"]
    assert {"Ann", "A"} <= {each.speaker for each in answer.segments}


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()
