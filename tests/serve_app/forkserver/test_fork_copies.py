"""A worker is a copy of the server and has all that Ray gave to the process it started; or it is that process."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import psutil
import pytest
from fork_workers import Start, is_itself, until

from serve_app.forkserver.client import ForkServer, fork_server
from serve_app.forkserver.hook import READY, VARIABLE, continued
from serve_app.forkserver.server import prepare

HERE = "tests.serve_app.forkserver.fork_functions"


def test_a_copy_has_all_that_the_process_had(server: ForkServer, start: Start, script: Path) -> None:
    worker = start(server.place, "--worker-id", "7", FOR_THE_WORKER="x", OMP_NUM_THREADS="3")
    assert worker["parent"] == server.pid
    assert worker["pid"] != worker["started"] == worker["group"]
    assert worker["argv"] == [str(script), "--worker-id", "7"]
    assert worker["path"] == worker["folder"] == str(script.parent)
    assert (worker["variable"], worker["threads"], worker["input"]) == ("x", "3", "what it is given")
    assert (worker["blocked"], worker["child"], worker["memory"]) == (True, True, "700")
    assert (worker["name"], worker["serve"]) == ("__main__", True)


def test_copies_share_no_chance(server: ForkServer, start: Start) -> None:
    first, second = (start(server.place)["random"] for _ in range(2))
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_what_ray_adds_for_a_job_is_taken_on(server: ForkServer, start: Start) -> None:
    assert start(server.place, RAY_JOB_ID="0a000000", RAY_RAYLET_PID="1", RAY_AUTH_MODE="token")["parent"] == server.pid


@pytest.mark.parametrize(
    "environment", [{"RAY_SERVE_RUN_SYNC_IN_THREADPOOL": "1"}, {"PYTHONOPTIMIZE": "1"}, {"MALLOC_ARENA_MAX": "2"}]
)
def test_who_has_another_environment_is_no_copy(server: ForkServer, start: Start, environment: dict[str, str]) -> None:
    assert is_itself(start(server.place, **environment))


def test_who_finds_no_server_is_no_copy(start: Start, tmp_path: Path) -> None:
    assert is_itself(start(str(tmp_path / "none")))
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left"))
    assert is_itself(start(str(tmp_path / "left")))


def test_a_server_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        assert not continued(str(tmp_path / "silent"), patience_s=0.1)


@contextmanager
def asked(server: ForkServer, script: Path, **changes: Any) -> Iterator[tuple[socket.socket, TextIO]]:
    """Ask for a worker as the hook does; yields the connection and what the worker writes."""
    about = {
        "argv": [str(script)],
        "executable": sys.executable,
        "environment": {**os.environ, "RAY_CLIENT_MODE": "0"},
        "folder": str(script.parent),
        "blocked": [],
        "group": os.getpgrp(),
        "pid": os.getpid(),
        **changes,
    }
    data = json.dumps(about).encode()
    reading, writing = os.pipe()
    with open(reading) as told, socket.socket(socket.AF_UNIX) as asking:
        asking.connect(server.place)
        socket.send_fds(asking, [len(data).to_bytes(4, "big")], [0, writing, writing])
        asking.sendall(data)
        os.close(writing)
        yield asking, told


def test_who_has_given_up_is_not_there_twice(server: ForkServer, script: Path) -> None:
    """It asked, and is the worker itself by the time that its copy is ready."""
    with asked(server, script) as (asking, told):
        assert asking.recv(1) == READY
        (copy,) = psutil.Process(server.pid).children()
        asking.close()
        assert told.read() == ""  # up to the end of the copy
    until(lambda: not copy.is_running())


def test_a_copy_that_cannot_take_the_place_ends(server: ForkServer, script: Path, start: Start) -> None:
    with asked(server, script, folder=str(script / "nowhere")) as (asking, told):
        assert asking.recv(1) == b""
        assert told.read() == ""
    until(lambda: psutil.Process(server.pid).children() == [])
    assert start(server.place)["parent"] == server.pid


@pytest.mark.parametrize(
    "message", [b"", b"\0", b"\0\0\0\2{]", b"\0\0\0\x09[1, 2, 3]", b'\0\0\0\x08{"a": 1}', b"GET / HTTP/1.1"]
)
def test_nonsense_is_survived(server: ForkServer, start: Start, message: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(server.place)
        asking.sendall(message)
        asking.shutdown(socket.SHUT_WR)
        assert asking.recv(1) == b""
    assert start(server.place)["parent"] == server.pid


def test_what_takes_long_is_had_from_the_heir(start: Start) -> None:
    with fork_server([f"{HERE}:fails", f"{HERE}:imports_colorsys"]) as running:
        assert running.wait()
        (heir,) = psutil.Process(running.pid).children()
        worker = start(running.place)
        assert (worker["parent"], worker["colorsys"]) == (heir.pid, True)
        heir.kill()
        until(lambda: start(running.place)["parent"] == running.pid)
    assert VARIABLE not in os.environ
    assert not Path(running.place).exists()
    assert not running.wait()


def test_what_cannot_be_imported_is_told_but_for_what_is_not_installed(capsys: pytest.CaptureFixture[str]) -> None:
    prepare([f"{HERE}:fails", f"{HERE}:lacks_a_module"])
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith(f"cannot prepare {HERE}:fails: ImportError('no such library')")


@pytest.mark.parametrize("function", ["starts_a_thread", "loads_a_driver", "makes_an_id"])
def test_of_what_cannot_be_copied_there_is_no_copy(start: Start, function: str) -> None:
    with fork_server([f"{HERE}:{function}"]) as running:
        assert running.wait()
        worker = start(running.place)
        if function == "makes_an_id":  # the heir finds out by itself and leaves it to the server
            assert worker["parent"] == running.pid
        else:
            assert is_itself(worker)


def test_it_ends_with_the_process_that_it_is_for() -> None:
    code = (
        "from serve_app.forkserver.client import fork_server\nwith fork_server() as it: print(it.pid, flush=1); input()"
    )
    child = psutil.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
    server = psutil.Process(int(child.stdout.readline()))
    child.send_signal(signal.SIGKILL)
    child.wait(20)
    until(lambda: not server.is_running())


def test_its_service_takes_the_interrupts_of_a_terminal(server: ForkServer, start: Start) -> None:
    os.kill(server.pid, signal.SIGINT)
    assert start(server.place)["parent"] == server.pid


def test_what_every_worker_runs_first_is_of_the_standard_library() -> None:
    code = (
        "import sys; before = {*sys.modules}; import serve_app.forkserver.hook, serve_app.forkserver.node\n"
        "new = {name.partition('.')[0] for name in sys.modules.keys() - before}\n"
        "print(sorted(new - {'serve_app'} - sys.stdlib_module_names))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
