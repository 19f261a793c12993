"""Measure live audio: `python -m benchmarks.realtime [--url URL]`; the VAD's cost, and when a text comes."""

import base64
import json
import time
from typing import Annotated, Any

import numpy as np
import typer
from websockets.sync.client import connect

from benchmarks.common import ROOT, percentile, save, service
from serve_app.models.audio import decode
from serve_app.models.live_vad import LiveVad
from serve_app.windows import SAMPLE_RATE

CLIP = ROOT / "tests" / "data" / "one_sentence.flac"
STEP = SAMPLE_RATE // 10
SETTINGS = {
    "type": "transcription",
    "audio": {"input": {"format": {"type": "audio/pcm", "rate": SAMPLE_RATE}, "transcription": {"language": "en"}}},
}


def main(
    url: Annotated[str | None, typer.Option(help="a running service; none: configs/local.yaml is started")] = None,
    runs: Annotated[int, typer.Option(help="utterances")] = 20,
) -> None:
    """Speak a sentence again and again, print and save."""
    once = decode(CLIP.read_bytes())
    result: dict[str, Any] = {"vad_real_time_factor": _vad(once)}
    with service(url) as base:
        seconds = _utterances(f"{base.replace('http', 'ws')}/v1/realtime?model=fast", once, runs + 1)[1:]
    result |= {"p50_s": percentile(seconds, 0.5), "p95_s": percentile(seconds, 0.95), "clip_s": len(once) / SAMPLE_RATE}
    print(json.dumps(result, indent=2))
    save("realtime", result)


def _vad(samples: Any) -> float:
    """Return the seconds of processor time that a live second's VAD takes."""
    vad, began = LiveVad(), time.process_time()
    for at in range(0, len(samples), STEP):
        vad.feed(samples[at : at + STEP])
    return (time.process_time() - began) / (len(samples) / SAMPLE_RATE)


def _utterances(url: str, samples: Any, runs: int) -> list[float]:
    """Return for each utterance the seconds from `speech_stopped` to `completed`."""
    pcm = np.concatenate([samples, np.zeros(SAMPLE_RATE, np.float32)])
    blocks = [(pcm[at : at + STEP] * 32767).astype("<i2").tobytes() for at in range(0, len(pcm), STEP)]
    seconds = []
    with connect(url) as socket:
        socket.send(json.dumps({"type": "session.update", "session": SETTINGS}))
        for _ in range(runs):
            for block in blocks:
                audio = base64.b64encode(block).decode()
                socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            _until(socket, "input_audio_buffer.speech_stopped")
            began = time.perf_counter()
            _until(socket, "conversation.item.input_audio_transcription.completed")
            seconds.append(time.perf_counter() - began)
    return seconds


def _until(socket: Any, kind: str) -> None:
    while (event := json.loads(socket.recv(timeout=60)))["type"] != kind:
        if event["type"] == "error":
            raise RuntimeError(event["error"]["message"])


if __name__ == "__main__":
    typer.run(main)
