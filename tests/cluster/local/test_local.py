"""`serve run configs/local.yaml` as its users meet it: real deployments, real models, HTTP, the official SDK."""

from typing import Any

import httpx
import openai
import psutil
import pytest

from benchmarks.scoring import plain, word_error_rate
from tests.cluster.conftest import Cluster
from tests.conftest import ROOT

pytestmark = pytest.mark.cluster
DATA = ROOT / "tests" / "data"


def test_awake_presets_are_ready_and_the_others_sleep(service: str) -> None:
    body = httpx.get(f"{service}/ready").json()
    assert {name: preset["state"] for name, preset in body["presets"].items()} == {
        "fast": "ready",
        "balanced": "asleep",
        "high": "ready",
        "premium": "asleep",
    }
    assert httpx.get(f"{service}/health").json() == {"status": "ok"}


def test_a_preset_tells_what_it_is_made_of(service: str) -> None:
    page = httpx.get(f"{service}/v1/presets/high").json()
    models = {name: stage["models"][0]["name"] for name, stage in page["stages"].items()}
    assert models == {"transcription": "demo-whisper", "alignment": "demo-align", "diarization": "demo-diarization"}
    assert page["replicas"] == dict.fromkeys(("Pipeline", "Transcription", "Alignment", "Diarization"), 1)
    asleep = httpx.get(f"{service}/v1/presets/premium").json()
    assert (asleep["state"], "stages" in asleep) == ("asleep", False)


def test_a_conversation_comes_back_with_words_and_speakers(client: openai.OpenAI, sample: Any) -> None:
    conversation = sample("conversation")
    with conversation.path.open("rb") as audio:
        answer = client.audio.transcriptions.create(model="high", file=audio, response_format="diarized_json")
    assert answer.duration == pytest.approx(conversation.reference["duration"], abs=0.05)
    assert word_error_rate(plain(" ".join(conversation.words)), plain(answer.text)) <= 0.05
    assert {segment.speaker for segment in answer.segments} == {"A", "B"}
    assert _share_of_right_speakers(answer.segments, conversation.reference["turns"]) >= 0.9


def _share_of_right_speakers(segments: Any, turns: list[dict[str, Any]]) -> float:
    """Return the share of speech that carries the right speaker; both name speakers in order of appearance."""
    overlap: list[tuple[float, bool]] = [
        (
            max(0.0, min(segment.end, turn["end"]) - max(segment.start, turn["start"])),
            segment.speaker == turn["speaker"],
        )
        for segment in segments
        for turn in turns
    ]
    return sum(seconds for seconds, right in overlap if right) / sum(seconds for seconds, _ in overlap)


def test_verbose_json_places_words_where_they_are_said(client: openai.OpenAI, sample: Any) -> None:
    said = sample("ten_seconds")
    with said.path.open("rb") as audio:
        answer = client.audio.transcriptions.create(
            model="fast", file=audio, response_format="verbose_json", timestamp_granularities=["word", "segment"]
        )
    assert answer.language == "en"
    starts = {plain(word["text"])[0]: word["start"] for word in said.reference["words"]}
    assert answer.words
    errors = sorted(abs(word.start - starts[key]) for word in answer.words if (key := plain(word.word)[0]) in starts)
    assert len(errors) >= 0.7 * len(starts)
    assert errors[len(errors) // 2] <= 0.06
    assert answer.segments
    assert all(segment.tokens and segment.avg_logprob < 0 < segment.compression_ratio for segment in answer.segments)
    assert [segment.id for segment in answer.segments] == list(range(len(answer.segments)))


@pytest.mark.parametrize(
    ("response_format", "start"), [("text", ""), ("srt", "1\n00:00:0"), ("vtt", "WEBVTT\n\n00:00:0")]
)
def test_plain_formats(client: openai.OpenAI, sample: Any, response_format: Any, start: str) -> None:
    with sample("one_sentence").path.open("rb") as audio:
        answer: Any = client.audio.transcriptions.create(model="fast", file=audio, response_format=response_format)
    assert isinstance(answer, str)
    assert answer.startswith(start)
    assert len(plain(answer)) >= 5


@pytest.mark.parametrize("name", ["silence", "noise", "tones"])
@pytest.mark.parametrize("preset", ["fast", "high"])
def test_no_words_where_nobody_speaks(client: openai.OpenAI, sample: Any, name: str, preset: str) -> None:
    with sample(name).path.open("rb") as audio:
        answer = client.audio.transcriptions.create(model=preset, file=audio, response_format="verbose_json")
    assert answer.text == ""
    assert answer.duration == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("name", ["one_sentence.ogg", "one_sentence_8khz_stereo.mp3", "video.mp4"])
def test_any_container_is_heard(client: openai.OpenAI, name: str) -> None:
    with (DATA / name).open("rb") as audio:
        answer = client.audio.transcriptions.create(model="fast", file=audio)
    assert len(plain(answer.text)) >= 4


@pytest.mark.parametrize(
    ("path", "options", "error", "param", "code"),
    [
        ("one_sentence.flac", {"model": "hihg"}, openai.NotFoundError, "model", "model_not_found"),
        ("one_sentence.flac", {"language": "xx"}, openai.BadRequestError, "language", "unsupported_option"),
        (
            "one_sentence.flac",
            {"response_format": "diarized_json"},
            openai.BadRequestError,
            "model",
            "unsupported_option",
        ),
        (
            "one_sentence.flac",
            {"stream": True, "response_format": "srt"},
            openai.BadRequestError,
            "stream",
            "unsupported_option",
        ),
        ("no_audio.mp4", {}, openai.BadRequestError, "file", "no_audio_stream"),
        ("not_audio.bin", {}, openai.BadRequestError, "file", "invalid_audio"),
    ],
)
def test_errors_name_the_parameter(
    client: openai.OpenAI, path: str, options: dict[str, Any], error: type[openai.APIStatusError], param: str, code: str
) -> None:
    with (DATA / path).open("rb") as audio, pytest.raises(error) as caught:
        client.audio.transcriptions.create(**{"model": "fast", "file": audio, **options})
    assert (caught.value.param, caught.value.code) == (param, code)


def test_an_empty_file_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="fast", file=("empty.wav", b""))
    assert caught.value.code == "empty_audio"


def test_a_preset_answers_under_its_own_path(service: str, sample: Any) -> None:
    own = openai.OpenAI(base_url=f"{service}/fast/v1", api_key="none", timeout=60, max_retries=0)
    assert [model.id for model in own.models.list()] == ["fast"]
    with sample("one_sentence").path.open("rb") as audio:
        assert own.audio.transcriptions.create(model="whisper-1", file=audio).text


def test_models_are_the_presets(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fast", "balanced", "high", "premium"]
    assert client.models.retrieve("high").owned_by == "rayscribe"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("hihg")


def test_a_long_file_is_whole(client: openai.OpenAI, sample: Any) -> None:
    said = sample("two_minutes")
    with said.path.open("rb") as audio:
        answer = client.audio.transcriptions.create(model="high", file=audio, response_format="verbose_json")
    assert word_error_rate(plain(" ".join(said.words)), plain(answer.text)) <= 0.08
    assert answer.segments
    starts = [segment.start for segment in answer.segments]
    assert starts == sorted(starts)
    assert starts[-1] > 0.8 * answer.duration


def test_a_sleeping_preset_wakes_for_a_request(client: openai.OpenAI, sample: Any, service: str) -> None:
    with sample("one_sentence").path.open("rb") as audio:
        answer = client.audio.transcriptions.create(model="balanced", file=audio)
    assert len(plain(answer.text)) >= 5
    assert httpx.get(f"{service}/ready").json()["presets"]["balanced"]["state"] == "ready"


def test_the_docs_page_needs_no_outside(service: str) -> None:
    page = httpx.get(f"{service}/docs").text
    assert "//cdn" not in page
    assert httpx.get(f"{service}/docs/assets/swagger-ui-bundle.js").status_code == 200
    assert "/v1/audio/transcriptions" in httpx.get(f"{service}/openapi.json").json()["paths"]


def test_replicas_are_copies_of_one_process(service: str, cluster: Cluster) -> None:
    store = cluster.environment["RAYSCRIBE_STORE"]
    replicas = [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if "".join(process.info["cmdline"] or "").startswith("ray::ServeReplica")
        and process.info["environ"].get("RAYSCRIBE_STORE") == store
    ]
    assert len(replicas) >= 7  # of the presets that are awake, and the gateway
    assert all("serve_app.forkserver" in replica.parent().cmdline() for replica in replicas)
