"""What the demo says when it cannot start; the demo that works is among the cluster tests."""

import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import demo.__main__ as tour
from demo.service import Service, ServiceFailed


def test_a_taken_port_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(tour, "PORT", port)
        app = typer.Typer()
        app.command()(tour.main)
        told = CliRunner().invoke(app, [])
    assert told.exit_code == 1
    assert f"Port {port} is in use" in told.output


def test_a_service_that_ends_by_itself_shows_its_log(tmp_path: Path) -> None:
    service = Service(tmp_path / "missing.yaml", tmp_path / "log" / "serve.log")
    with pytest.raises(ServiceFailed, match="missing"):
        list(service.until_ready("http://127.0.0.1:9/ready", 120))
    service.stop()


def test_a_service_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    service = Service(tmp_path / "missing.yaml", tmp_path / "serve.log")
    with pytest.raises(ServiceFailed, match="not ready within 0 s"):
        list(service.until_ready("http://127.0.0.1:9/ready", 0))
    service.stop()
    assert service.ended


def test_a_preset_that_cannot_start_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"fast": {"state": "ready", "message": ""}, "high": {"state": "unhealthy", "message": "no such model"}}
    monkeypatch.setattr("demo.service._ask", lambda url: (False, states))
    service = Service(tmp_path / "missing.yaml", tmp_path / "serve.log")
    with pytest.raises(ServiceFailed, match="high: no such model"):
        list(service.until_ready("http://127.0.0.1:9/ready", 60))
    service.stop()
