"""Settings: defaults that work, and errors that name the key, the nearest right one, or how to mend it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serve_app.config import AlignmentArgs, DiarizationArgs, GatewayArgs, PresetArgs, StoreArgs

SMALLEST: dict[str, Any] = {"preset": "fast", "transcription": {"model": "demo-whisper@v1"}}


def preset(**changes: Any) -> PresetArgs:
    return PresetArgs.model_validate({**SMALLEST, **changes})


def complaint(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        preset(**changes)
    return str(caught.value)


def test_a_model_is_enough() -> None:
    args = preset()
    assert (args.alignment, args.diarization) == (None, None)
    transcription = args.transcription
    assert (transcription.device, transcription.batch_size) == ("auto", "auto")
    assert transcription.beam_size == 5
    assert (args.vad.window_s, args.limits.windows_in_flight) == (30.0, 16)


@pytest.mark.parametrize(
    ("given", "most"), [({}, 32), ({"device": "cpu"}, 16), ({"device": "cpu", "batch_size": 3}, 3)]
)
def test_the_largest_batch_is_a_number_also_where_it_is_measured(given: dict[str, Any], most: int) -> None:
    assert preset(transcription={"model": "m", **given}).transcription.largest_batch == most


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        preset().preset = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aligment": {}}, "unknown key 'aligment'; did you mean 'alignment'?"),
        ({"vad": {"onsett": 0.4}}, "unknown key 'onsett'; did you mean 'onset'?"),
        ({"transcription": {"model": "m", "batchsize": 4}}, "unknown key 'batchsize'; did you mean 'batch_size'?"),
        ({"alignment": {"model": "m"}}, "unknown key 'model'; did you mean 'models'?"),
        ({"limits": {"max_upload": 4}}, "unknown key 'max_upload'; did you mean 'max_upload_mb'?"),
        ({"store": {"zzz": 4}}, "unknown key 'zzz'; known are: allow_pickle, cache, catalog, keys, peers, quota, url"),
    ],
)
def test_an_unknown_key_names_the_nearest_right_one(changes: dict[str, Any], said: str) -> None:
    assert said in complaint(**changes)


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        ({"preset": "High Quality"}, "preset", "match pattern"),
        ({"preset": ""}, "preset", "match pattern"),
        ({"transcription": {}}, "transcription.model", "Field required"),
        ({"transcription": {"model": "m", "device": "gpu"}}, "transcription.device", "'cpu', 'cuda' or 'auto'"),
        ({"transcription": {"model": "m", "batch_size": 0}}, "transcription.batch_size", "whole number from 1 to 256"),
        (
            {"transcription": {"model": "m", "batch_size": "many"}},
            "transcription.batch_size",
            "'auto' or a whole number",
        ),
        ({"transcription": {"model": "m", "batch_size": True}}, "transcription.batch_size", "from 1 to 256, not True"),
        ({"transcription": {"model": "m", "beam_size": 17}}, "transcription.beam_size", "less than or equal to 16"),
        ({"transcription": {"model": "m", "threads": -1}}, "transcription.threads", "greater than or equal to 0"),
        (
            {"transcription": {"model": "m", "gpu_required": True}},
            "transcription",
            "gpu_required needs device: cuda, not auto; set it, or leave gpu_required out",
        ),
        (
            {"diarization": {"model": "m", "device": "cpu", "gpu_required": True}},
            "diarization",
            "gpu_required needs device: cuda, not cpu",
        ),
        ({"vad": {"onset": 1}}, "vad.onset", "less than 1"),
        ({"vad": {"onset": 0.4, "offset": 0.5}}, "vad", "offset 0.5 is above onset 0.4"),
        ({"vad": {"window_s": 2, "pad_ms": 501}}, "vad", "twice pad_ms 501 is more than half of window_s 2"),
        ({"vad": {"window_s": 2, "min_speech_ms": 1001}}, "vad", "min_speech_ms 1001 is more than half"),
        ({"vad": {"window_s": 31}}, "vad.window_s", "less than or equal to 30"),
        ({"limits": {"max_upload_mb": 0}}, "limits.max_upload_mb", "greater than 0"),
        ({"limits": {"windows_in_flight": 0}}, "limits.windows_in_flight", "greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(changes: dict[str, Any], place: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        preset(**changes)
    (error,) = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == place
    assert said in error["msg"]


@pytest.mark.parametrize("given", [{}, {"app": "high", "models": {"en": "m@v1"}}])
def test_alignment_is_ones_own_or_borrowed(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"either 'models' \(language → snapshot\) or 'app'"):
        AlignmentArgs.model_validate(given)


@pytest.mark.parametrize("given", [{}, {"app": "high", "model": "m@v1"}])
def test_diarization_is_ones_own_or_borrowed(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"either 'model' \(a snapshot\) or 'app'"):
        DiarizationArgs.model_validate(given)


def test_a_stage_may_be_borrowed() -> None:
    args = preset(alignment={"app": "high"}, diarization={"app": "high"})
    assert args.alignment is not None
    assert args.diarization is not None
    assert (args.alignment.app, args.diarization.app) == ("high", "high")


def test_an_alias_names_a_preset() -> None:
    assert GatewayArgs(presets=["fast"], aliases={"whisper-1": "fast"}).aliases == {"whisper-1": "fast"}
    with pytest.raises(
        ValidationError, match=r"alias 'whisper-1' names 'best', which is none of the presets \['fast'\]"
    ):
        GatewayArgs(presets=["fast"], aliases={"whisper-1": "best"})


def test_a_gateway_offers_something() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        GatewayArgs(presets=[])


def test_relative_places_start_where_the_service_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert StoreArgs(url="models", cache="cache").resolved() == StoreArgs(
        url=str(tmp_path / "models"), cache=str(tmp_path / "cache")
    )


def test_addresses_and_homes_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    resolved = StoreArgs(url="s3://bucket/models", cache="~/cache").resolved()
    assert (resolved.url, resolved.cache) == ("s3://bucket/models", "/home/someone/cache")


def test_each_of_several_stores_is_understood_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = StoreArgs(url="image, s3://bucket/models", keys=["team.pub.pem"], quota="50GB", peers=True).resolved()
    assert resolved.url == f"{tmp_path / 'image'},s3://bucket/models"
    assert resolved.keys == [str(tmp_path / "team.pub.pem")]
    assert (resolved.quota, resolved.peers, resolved.allow_pickle) == ("50GB", True, True)


def test_a_quota_is_a_size() -> None:
    with pytest.raises(ValidationError, match="50GB"):
        StoreArgs(quota="plenty")


def test_places_come_from_the_environment_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSCRIBE_STORE", "/mnt/models")
    monkeypatch.setenv("RAYSCRIBE_CACHE", "/mnt/cache")
    assert (StoreArgs().url, StoreArgs().cache) == ("/mnt/models", "/mnt/cache")
    assert StoreArgs(url="here").url == "here"
    monkeypatch.delenv("RAYSCRIBE_STORE")
    assert StoreArgs().url == ".rayscribe/store"
