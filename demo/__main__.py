"""`make demo`: serve configs/local.yaml, wait until it is ready, transcribe a conversation over HTTP, show it."""

import os
import signal
import socket
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from demo.service import Service, ServiceFailed
from serve_app.serve_config import load_serve_config

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "local.yaml"
CONVERSATION = HERE / "conversation.flac"
LOG = Path(".rayscribe/serve.log")
PORT = 8000
URL = f"http://127.0.0.1:{PORT}"

console = Console(highlight=False)


def main(
    once: Annotated[bool, typer.Option(help="Stop after the transcript instead of waiting for Ctrl-C.")] = False,
    patience: Annotated[float, typer.Option(help="Seconds to wait for the service to be ready.")] = 600.0,
) -> None:
    """Show a two-speaker conversation transcribed, aligned and diarized by the service on this machine."""
    if _taken(PORT):
        console.print(f"[red]Port {PORT} is in use.[/] Stop what listens there (another demo?) and try again.")
        raise SystemExit(1)
    load_serve_config(CONFIG)
    for end in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us with SIGINT ignored
        signal.signal(end, signal.default_int_handler)
    service = Service(CONFIG, LOG)
    try:
        _start(service, patience)
        _show(_transcribe())
        if not once:
            _go_on()
            service.wait()
    except ServiceFailed as error:
        console.print(f"[red]The service failed.[/] The whole log is {LOG}.")
        console.print(str(error), markup=False)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        console.print()
    finally:
        with console.status("Stopping …"):
            service.stop()
        console.print("Stopped.")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _start(service: Service, patience: float) -> None:
    began = time.monotonic()
    with console.status(f"Starting Ray Serve on {CONFIG.name} …") as status:
        for state in service.until_ready(f"{URL}/ready", patience):
            presets = ", ".join(f"{name} {detail['state']}" for name, detail in state.items())
            status.update(f"Starting Ray Serve: {presets or 'the cluster'} ({time.monotonic() - began:.0f} s)")
    console.print(f"Ready after {time.monotonic() - began:.0f} s.\n")


def _transcribe() -> tuple[dict[str, Any], float]:
    form = {"model": "high", "response_format": "diarized_json"}
    began = time.monotonic()
    with console.status("Transcribing a conversation with preset high …"), CONVERSATION.open("rb") as audio:
        response = httpx.post(f"{URL}/v1/audio/transcriptions", data=form, files={"file": audio}, timeout=600)
    response.raise_for_status()
    return response.json(), time.monotonic() - began


def _show(answer: tuple[dict[str, Any], float]) -> None:
    body, took = answer
    table = Table("start", "end", "speaker", "text", title=str(CONVERSATION.relative_to(HERE.parent)))
    for segment in body["segments"]:
        table.add_row(f"{segment['start']:.2f}", f"{segment['end']:.2f}", segment["speaker"], segment["text"])
    console.print(table)
    duration = body["duration"]
    console.print(
        f"{duration:.1f} s of audio in {took:.2f} s: real-time factor {took / duration:.3f} "
        f"({duration / took:.0f} times faster than speech).\n"
    )


def _go_on() -> None:
    relative = os.path.relpath(CONVERSATION)
    console.print("The service is yours until Ctrl-C. In another terminal:\n")
    console.print(
        f"  curl {URL}/v1/audio/transcriptions -F file=@{relative} -F model=high -F response_format=srt\n",
        soft_wrap=True,
    )
    console.print(f"API and forms to try it: {URL}/docs    presets: {URL}/v1/models    log: {LOG}\n", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
