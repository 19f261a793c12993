"""Ray nodes as pods: each with a network and an address of its own, started by the line that KubeRay's operator makes.

For a process in network, mount and process namespaces of its own, which `NAMESPACES` and `PREPARED` make with
tests.namespaces.alone. Pod number N is 10.0.0.N; this process is on their bridge. They end with it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.redis_server import redis_program

NAMESPACES = "--net --pid --mount --fork --kill-child --mount-proc"
PREPARED = " && ".join(
    (
        "mount -t tmpfs tmpfs /run",  # where `ip netns` notes names
        "ip link set lo up",
        "ip link add pods type bridge",
        "ip addr add 10.0.0.254/24 dev pods",
        "ip link set pods up",
        "ip netns add probe",
        "ip link add probe type veth peer name eth0 netns probe",
    )
)
BY_OPERATOR = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_PORT": "6379",
    "RAY_timeout_ms_task_wait_for_death_info": "0",
    "RAY_gcs_server_request_timeout_seconds": "5",
    "RAY_SERVE_KV_TIMEOUT_S": "5",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
    "RAY_ADDRESS": "10.0.0.1:6379",
}
"""What the operator puts into the environment of the Ray containers of a RayService whose head may be lost."""
PASSWORD = "from-the-secret"
OF_THE_HEAD = {"RAY_REDIS_ADDRESS": "10.0.0.254:6379", "RAY_external_storage_namespace": "the-clusters-uid"}
OF_THIS_MACHINE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "RAY_prestart_worker_first_driver": "0"}
"""Two cores are no 16: no process is started before it is asked for."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A node of the cluster: its address, and what it has."""

    address: str
    group: str
    cpus: float
    gpus: float


@dataclass(slots=True)
class Pods:
    """The pods of a Ray cluster; `settings` is their ConfigMap, `folder` holds each one's own volumes."""

    folder: Path
    settings: dict[str, str]
    all: list[Pod] = field(default_factory=list)
    started: int = 0

    @property
    def head(self) -> Pod:
        """The first one."""
        return self.all[0]

    @property
    def workers(self) -> list[Pod]:
        """Those that live, without the head."""
        return self.all[1:]

    def start_redis(self) -> None:
        """Start what remembers the head's state."""
        program = redis_program()
        assert program
        options = ["--bind", "10.0.0.254", "--requirepass", PASSWORD, "--save", "", "--dir", str(self.folder)]
        subprocess.Popen([program, *options], stdout=sys.stderr)

    def start_head(self, group: dict[str, Any]) -> None:
        """Start the pod of a headGroupSpec, or another one where the workers look for it."""
        role = f"--head --no-monitor --dashboard-host=0.0.0.0 --redis-password={PASSWORD}"
        self.all.insert(0, self._start(group, role, 1))

    def start_worker(self, group: dict[str, Any]) -> Pod:
        """Start a pod of a worker group."""
        self.all.append(self._start(group, f"--address={self.head.address}:6379", self.started + 1))
        return self.all[-1]

    def kill(self, pod: Pod) -> None:
        """Kill a pod's raylet; all of its processes end with that."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.name() == "raylet" and f"--node_ip_address={pod.address}" in process.cmdline():
                    process.send_signal(signal.SIGKILL)
        self.all.remove(pod)

    def _start(self, group: dict[str, Any], role: str, number: int) -> Pod:
        self.started += 1
        if number == self.started:
            _plug(number)
        (container,) = group["template"]["spec"]["containers"]
        limits, given = container["resources"]["limits"], group["rayStartParams"]
        cpus, gpus = (float(given.get(f"num-{key}", limits.get(limit, 0))) for key, limit in RESOURCES.items())
        pod = Pod(f"10.0.0.{number}", group.get("groupName", "head"), cpus, gpus)
        line = f"""
            start {role} --block --num-cpus={cpus:g} --num-gpus={gpus:g} --metrics-export-port=8080
            --dashboard-agent-listen-port=52365 --node-ip-address={pod.address}
            --temp-dir={self.folder / str(self.started)} --object-store-memory=200000000
        """
        subprocess.Popen(
            ["ip", "netns", "exec", f"pod{number}", Path(sys.executable).with_name("ray"), *line.split()],
            env=self._environment(number, container["image"]),
            stdout=sys.stderr,
        )
        return pod

    def _environment(self, number: int, image: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYSCRIBE_"))}
        own = self.folder / str(self.started)
        volumes = {f"RAYSCRIBE_{name.upper()}": str(own / name) for name in ("cache", "jobs")}
        path = [str(Path(__file__).parent / "slim")] if "/slim:" in image else []
        found = {"PYTHONPATH": os.pathsep.join([*path, os.environ.get("PYTHONPATH", "")])}
        of_head = OF_THE_HEAD if number == 1 else {}
        return inherited | self.settings | volumes | BY_OPERATOR | of_head | OF_THIS_MACHINE | found


RESOURCES = {"cpus": "cpu", "gpus": "nvidia.com/gpu"}


def _plug(number: int) -> None:
    """Make the network of a pod and connect it to the bridge."""
    name = f"pod{number}"
    for line in (
        f"netns add {name}",
        f"link add {name} type veth peer name eth0 netns {name}",
        f"link set {name} master pods up",
        f"-n {name} link set lo up",
        f"-n {name} addr add 10.0.0.{number}/24 dev eth0",
        f"-n {name} link set eth0 up",
    ):
        subprocess.run(["ip", *line.split()], check=True)


def ready(pod: Pod) -> bool:
    """Whether a worker passes the readiness probe that the operator gives it, so that the Service sends it requests."""
    probes = (f"http://{pod.address}:52365/api/local_raylet_healthz", f"http://{pod.address}:8000/-/healthz")
    with suppress(httpx.HTTPError):
        return all("success" in httpx.get(probe, timeout=2).text for probe in probes)
    return False


def until(reached: Callable[[], Any], what: str, within_s: float) -> Any:
    """Return what is reached, once there is something; its errors of HTTP are no answer yet."""
    deadline = time.monotonic() + within_s
    while True:
        with suppress(httpx.HTTPError):
            if found := reached():
                print(f"{time.monotonic():.1f} {what}", file=sys.stderr, flush=True)
                return found
        assert time.monotonic() < deadline, f"never {what}"
        time.sleep(0.3)  # between two looks at a condition
