"""Jobs on the running service: progress, the result in other formats, and a pipeline that is killed meanwhile."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from benchmarks.scoring import plain, word_error_rate
from tests.cluster.replicas import replica_pid

pytestmark = pytest.mark.cluster


def submitted(service: str, said: Any, **fields: str) -> dict[str, Any]:
    with said.path.open("rb") as audio:
        answer = httpx.post(f"{service}/v1/jobs", data=fields, files={"file": audio}, timeout=60)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def until(service: str, job: dict[str, Any], reached: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return what was seen of a job until it was as wanted."""
    seen, deadline = [job], time.monotonic() + 240
    while not reached(seen[-1]):
        assert time.monotonic() < deadline, seen[-1]
        assert seen[-1]["state"] not in ("failed", "cancelled"), seen[-1]
        time.sleep(0.1)  # between two looks at a condition
        seen.append(httpx.get(f"{service}/v1/jobs/{job['id']}", timeout=60).json())
    return seen


def done(job: dict[str, Any]) -> bool:
    return bool(job["state"] == "succeeded")


def begun(job: dict[str, Any]) -> bool:
    return bool(job["stages"]["transcribed"] >= 1)


def test_a_job_survives_the_end_of_its_pipeline(service: str, sample: Any) -> None:
    said = sample("two_minutes")
    job = submitted(service, said, model="high", diarize="true")
    seen = until(service, job, begun)
    assert not done(seen[-1]), "it was over before anything could be killed"
    os.kill(replica_pid("high", "Pipeline"), signal.SIGKILL)
    seen += until(service, seen[-1], done)
    shares = [each["progress"] for each in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    stages = seen[-1]["stages"]
    assert stages["windows"] == stages["transcribed"] == stages["aligned"] > 3
    result = httpx.get(f"{service}/v1/jobs/{job['id']}/result", params={"response_format": "diarized_json"}).json()
    assert word_error_rate(plain(" ".join(said.words)), plain(result["text"])) <= 0.08
    subtitles = httpx.get(f"{service}/v1/jobs/{job['id']}/result", params={"response_format": "srt"})
    assert subtitles.text.startswith("1\n00:00:0")


def test_a_job_that_is_cancelled_stops(service: str, sample: Any) -> None:
    job = submitted(service, sample("two_minutes"), model="high", language="en")
    until(service, job, begun)
    assert httpx.post(f"{service}/v1/jobs/{job['id']}/cancel", timeout=60).json()["state"] == "cancelled"
    following = submitted(service, sample("one_sentence"), model="fast")
    until(service, following, done)  # of jobs, this service runs one at a time
    assert httpx.get(f"{service}/v1/jobs/{job['id']}").json()["state"] == "cancelled"
