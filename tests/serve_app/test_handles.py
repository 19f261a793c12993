"""Ray's errors and names behind the plain protocols, without a cluster."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ObjectLostError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serve_app.config import PresetArgs, TranscriptionArgs
from serve_app.errors import NotAudio, PresetUnavailable, RayscribeError, ReplicaLost, StageFailed, UnknownPreset
from serve_app.events import Done, Event
from serve_app.options import RequestOptions
from serve_app.parcels import Parcel
from serve_app.preset_handles import HOSTED_MODELS, RayPresets
from serve_app.preset_status import preset_status
from serve_app.presets import PresetStatus, State
from serve_app.ray_errors import answer
from serve_app.transcript import Transcript


async def raised(error: Exception) -> None:
    raise error


def in_a_replica(error: Exception) -> Exception:
    """An error as it arrives from the replica that raised it."""
    arrived: Exception = RayTaskError("transcribe", "a traceback", error).as_instanceof_cause()
    return arrived


async def test_an_answer_passes() -> None:
    async def fine() -> int:
        return 3

    assert await answer(fine(), "it") == 3


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (in_a_replica(NotAudio("no audio", "file")), NotAudio, "no audio"),
        (in_a_replica(ReplicaLost("lost its replica")), ReplicaLost, "lost its replica"),
        (in_a_replica(ValueError("wrong shape")), StageFailed, "the stage failed: ValueError: wrong shape"),
        (ActorDiedError(), ReplicaLost, "the stage lost its replica"),
        (ObjectLostError("00", None, ""), ReplicaLost, "the stage lost its replica"),
        (DeploymentUnavailableError("x"), PresetUnavailable, "the stage failed to start"),
        (BackPressureError(num_queued_requests=3, max_queued_requests=3), PresetUnavailable, "too much waiting"),
    ],
)
async def test_rays_errors_become_ours(error: Exception, expected: type[RayscribeError], said: str) -> None:
    with pytest.raises(expected) as caught:
        await answer(raised(error), "the stage")
    assert type(caught.value) is expected
    assert said in str(caught.value)


async def test_a_clients_error_keeps_its_parameter() -> None:
    with pytest.raises(NotAudio) as caught:
        await answer(raised(in_a_replica(NotAudio("no audio", "file"))), "the stage")
    assert (caught.value.param, caught.value.status) == ("file", 400)


PRESETS = RayPresets(["fast", "high"], {"whisper-1": "fast"})


@pytest.mark.parametrize(("model", "preset"), [("fast", "fast"), ("high", "high"), ("whisper-1", "fast")])
def test_a_model_is_a_preset_or_an_alias(model: str, preset: str) -> None:
    assert PRESETS.resolve(model) == preset


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("hihg", "no preset is named 'hihg'; did you mean 'high'?"),
        ("zzz", "no preset is named 'zzz'; known are: fast, high, whisper-1"),
        (None, "'model' is required; known are: fast, high, whisper-1"),
    ],
)
def test_an_unknown_model_is_told_what_there_is(model: str | None, said: str) -> None:
    with pytest.raises(UnknownPreset) as caught:
        PRESETS.resolve(model)
    assert caught.value.param == "model"
    assert said in str(caught.value)
    assert "None" not in str(caught.value)


class Near:
    """A pipeline whose only work is what a test says."""

    def __init__(self, work: Callable[[Parcel], Coroutine[Any, Any, Transcript]]) -> None:
        self._work = work

    async def transcribe(self, parcel: Parcel, options: RequestOptions) -> Transcript:
        return await self._work(parcel)

    async def stream(self, parcel: Parcel, options: RequestOptions) -> AsyncGenerator[Event]:
        yield Done(await self._work(parcel))


async def test_a_presets_own_path_answers_to_its_name_and_to_openais() -> None:
    async def work(parcel: Parcel) -> Transcript:
        return Transcript("en", float(len(parcel.data)))

    args = PresetArgs(preset="fast", transcription=TranscriptionArgs(model="m"))
    presets = RayPresets.of_one(args, Near(work))
    names: list[Any] = [None, "fast", *HOSTED_MODELS]
    assert {presets.resolve(name) for name in names} == {"fast"}
    with pytest.raises(UnknownPreset):
        presets.resolve("high")
    assert (await presets.transcribe("fast", b"123", RequestOptions())).duration == 3.0


def test_a_preset_that_cannot_start_says_why() -> None:
    trace = "The deployment failed to start 3 times in a row.\nTraceback …\nNotPublished: x is not in the store"
    stages = {"Transcription": SimpleNamespace(status="DEPLOY_FAILED", message=trace, replica_states={})}
    application = SimpleNamespace(status="DEPLOY_FAILED", message="Deploying failed.", deployments=stages)
    assert preset_status(application) == PresetStatus(
        "unhealthy", "Deploying failed. Transcription: NotPublished: x is not in the store"
    )


@pytest.mark.parametrize(
    ("status", "running", "state"),
    [
        ("RUNNING", {"Pipeline": 1, "Transcription": 1}, "ready"),
        ("RUNNING", {"Pipeline": 0, "Transcription": 0}, "asleep"),
        ("RUNNING", {"Pipeline": 1, "Transcription": 0}, "starting"),
        ("DEPLOYING", {"Pipeline": 0}, "starting"),
    ],
)
def test_the_state_follows_the_replicas(status: str, running: dict[str, int], state: str) -> None:
    stages = {name: SimpleNamespace(replica_states={"RUNNING": count}) for name, count in running.items()}
    assert preset_status(SimpleNamespace(status=status, message="", deployments=stages)).state == state


def test_a_preset_that_is_not_deployed_yet_is_starting() -> None:
    assert preset_status(None).state == "starting"


class Stuck(RayPresets):
    """Presets whose replicas are as told, one state at each look; the last one stays."""

    def __init__(self, wake_s: float, states: list[State], work: Callable[[], Coroutine[Any, Any, Transcript]]) -> None:
        super().__init__(["high"], {}, wake_s, lambda _: Near(lambda _: work()))
        self._states = states
        self.all_looked_at = asyncio.Event()

    async def status(self) -> dict[str, PresetStatus]:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if len(self._states) == 1:
            self.all_looked_at.set()
        return {"high": PresetStatus(state, "waiting for Transcription")}


async def test_a_preset_without_room_is_given_up_and_its_work_ended() -> None:
    ended = asyncio.Event()

    async def forever() -> Transcript:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    with pytest.raises(PresetUnavailable, match=r"'high' found no room .* \(waiting for Transcription\).*ray status"):
        await Stuck(0.05, ["starting"], forever).transcribe("high", b"", RequestOptions())
    await asyncio.wait_for(ended.wait(), 1)


async def test_work_goes_on_while_replicas_run_or_come_back() -> None:
    looks: list[State] = ["starting", "ready", "starting", "ready", "ready"]
    done = Transcript("en", 1.0, (), (), (), {})

    async def until_seen() -> Transcript:
        await presets.all_looked_at.wait()
        return done

    presets = Stuck(0.02, looks, until_seen)
    assert await presets.transcribe("high", b"", RequestOptions()) is done


async def test_those_who_ask_for_the_state_at_once_share_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's `serve.status` fails when two threads are in it."""
    lock, looks = threading.Lock(), 0

    def status() -> Any:
        nonlocal looks
        assert lock.acquire(blocking=False)
        looks += 1
        time.sleep(0.02)
        lock.release()
        return SimpleNamespace(applications={})

    monkeypatch.setattr("serve_app.preset_handles.serve.status", status)
    presets = RayPresets(["fast"], {})
    states = await asyncio.gather(*(presets.status() for _ in range(20)))
    assert {state["fast"].state for state in states} == {"starting"}
    assert looks == 1
    await presets.status()
    assert looks == 2


async def test_a_controller_that_does_not_answer_costs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def status() -> Any:
        loop.call_soon_threadsafe(asked.set)
        raise ConnectionError("the controller is being restarted")

    async def work() -> Transcript:
        await asked.wait()
        return Transcript("en", 1.0)

    monkeypatch.setattr("serve_app.preset_handles.serve.status", status)
    presets = RayPresets(["fast"], {}, 0.02, lambda _: Near(lambda _: work()))
    assert (await presets.transcribe("fast", b"", RequestOptions())).duration == 1.0
