"""`auto`: the first worker of a node starts the server of all, which ends with the node."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from fork_workers import Start, is_itself, until

from serve_app.forkserver.node import LOG


@pytest.fixture
def raylet() -> Iterator["subprocess.Popen[bytes]"]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()


def test_a_node_has_one_server(start: Start, raylet: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    def worker() -> int:
        told = start("auto", f"--raylet-name={tmp_path / 'raylet'}", RAY_RAYLET_PID=str(raylet.pid))
        assert told["pid"] != told["started"]
        assert told["group"] == told["pid"]  # a node ends a worker's group with the worker
        return told["parent"]

    with ThreadPoolExecutor(4) as pool:
        (first,) = {each.result() for each in [pool.submit(worker) for _ in range(4)]}
    server = psutil.Process(first)
    server.kill()
    until(lambda: not server.is_running())
    second = psutil.Process(worker())
    raylet.kill()
    until(lambda: not second.is_running())


def test_a_node_where_none_can_be_started_has_none(start: Start, tmp_path: Path) -> None:
    assert is_itself(start("auto", f"--raylet-name={tmp_path / 'no_folder' / 'raylet'}", RAY_RAYLET_PID="1"))
    assert is_itself(start("auto", RAY_RAYLET_PID="1"))


def test_what_is_no_copy_is_told_among_the_nodes_logs(
    start: Start, raylet: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    for folder in ("sockets", "logs"):
        (tmp_path / folder).mkdir()
    node = ("auto", f"--raylet-name={tmp_path / 'sockets' / 'raylet'}")
    assert not is_itself(start(*node, RAY_RAYLET_PID=str(raylet.pid)))
    other = start(*node, RAY_RAYLET_PID=str(raylet.pid), PYTHONOPTIMIZE="1", RAY_ONE_MORE="1")
    assert is_itself(other)
    told = (tmp_path / "logs" / LOG).read_text()
    assert f"worker {other['pid']} is no copy: its PYTHONOPTIMIZE, RAY_ONE_MORE are not the server's" in told
