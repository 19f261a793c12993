"""An overlay of kuberay/ on a Ray cluster of this machine, led as KubeRay's operator would; prints what came as JSON.

    python -m tests.cluster.overlay_site SERVICE SETTINGS STORE AUDIO FOLDER

SERVICE is the RayService and SETTINGS the ConfigMap, as JSON files. Started by tests/cluster/test_overlays.py, in
namespaces that hold nothing else: all ports are those of a pod.
"""

import copy
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import yaml

from tests.cluster.pods import Pod, Pods, ready, until
from tests.cluster.replicas import until_busy

WITHIN_S = 200
LEAST_WORKERS = 2
"""One to be lost, and one to be left: a group of one pod has a second one from the start."""
APPLICATIONS = "/api/serve/applications/"
NEW_ALIAS = "rolled-out"


@dataclass(frozen=True, slots=True)
class Replica:
    """A running replica: whose, where, and the shares that Serve reserved for it."""

    app: str
    deployment: str
    address: str
    pid: int
    id: str
    cpus: float
    gpus: float


class Operator:
    """What KubeRay's operator does to a cluster with a RayService: it puts the config, and polls what became of it."""

    def __init__(self, head: Pod) -> None:
        self._dashboard = httpx.Client(base_url=f"http://{head.address}:8265", timeout=5)

    def put(self, config: dict[str, Any]) -> bool:
        """Put serveConfigV2, as JSON."""
        self.applications()
        return self._dashboard.put(APPLICATIONS, json=config).raise_for_status().is_success

    def applications(self) -> dict[str, Any]:
        """Return the applications with their status."""
        answer = self._dashboard.get(APPLICATIONS, params={"api_type": "declarative"}).raise_for_status()
        found: dict[str, Any] = answer.json()["applications"]
        return found

    def serving(self) -> dict[str, str]:
        """Return the applications' states if the operator would call the service ready."""
        states = {name: app["status"] for name, app in self.applications().items()}
        return states if states and set(states.values()) == {"RUNNING"} else {}

    def replicas(self) -> list[Replica]:
        """Return all replicas, if each runs and there are as many as there should be."""
        found: list[Replica] = []
        for name, app in self.applications().items():
            for deployment in app["deployments"].values():
                replicas = deployment["replicas"]
                states = {replica["state"] for replica in replicas} - {"RUNNING"}
                if states or len(replicas) != deployment["target_num_replicas"]:
                    return []
                reserved = deployment["deployment_config"]["ray_actor_options"]
                found += [_replica(name, deployment["name"], replica, reserved) for replica in replicas]
        return found


def _replica(app: str, deployment: str, told: dict[str, Any], reserved: dict[str, Any]) -> Replica:
    cpus, gpus = reserved.get("num_cpus", 1), reserved.get("num_gpus", 0)
    return Replica(app, deployment, told["node_ip"], told["pid"], told["replica_id"], cpus, gpus)


class Client:
    """The official SDK, sending what it is asked to the pods that the Service of Kubernetes would choose from."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods

    def ask(self, model: str, audio: Path, through: Pod | None = None) -> list[tuple[str, str]]:
        """Return who said what, asking once through a pod, or any that is ready, as soon as there is one.

        A worker's probe asks Ray's head, too: while that is away there may be none for a moment.
        """
        through = through or until(lambda: next(filter(ready, self._pods.workers), None), "asked", WITHIN_S)
        sdk = openai.OpenAI(
            base_url=f"http://{through.address}:8000/v1", api_key="none", timeout=WITHIN_S, max_retries=0
        )
        answer: Any = sdk.audio.transcriptions.create(model=model, file=audio, response_format="diarized_json")
        return [(segment.speaker, segment.text) for segment in answer.segments]

    @contextmanager
    def asking(self, model: str, audio: Path) -> Iterator["Loop"]:
        """Ask again and again until the block ends."""
        loop, ended = Loop(), threading.Event()

        def work() -> None:
            while not ended.is_set():
                loop.note(lambda: self.ask(model, audio))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield loop
        finally:
            ended.set()
            thread.join(WITHIN_S)


@dataclass(slots=True)
class Loop:
    """What a client in a loop was told."""

    answers: list[Any] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def note(self, ask: Callable[[], Any]) -> None:
        """Ask once."""
        try:
            self.answers.append(ask())
        except Exception as error:  # noqa: BLE001 - whatever it is, the client was not answered
            self.failures.append(repr(error))


def main(service: Path, settings: Path, store: str, audio: Path, folder: Path) -> None:
    """Start the pods, deploy, ask, lose a pod, lose the head, roll a change out."""
    spec = json.loads(service.read_text())["spec"]
    pods = Pods(folder, {**json.loads(settings.read_text())["data"], "RAYSCRIBE_STORE": store})
    head = spec["rayClusterConfig"]["headGroupSpec"]
    pods.start_redis()
    pods.start_head(head)
    operator, client = Operator(pods.head), Client(pods)
    until(lambda: operator.applications() == {}, "the dashboard is up", WITHIN_S)
    groups = {group["groupName"]: group for group in spec["rayClusterConfig"]["workerGroupSpecs"]}
    for group in _workers(list(groups.values())):
        pods.start_worker(group)
    config = yaml.safe_load(spec["serveConfigV2"])
    until(lambda: operator.put(config), "the config is taken", WITHIN_S)
    told: dict[str, Any] = {"states": until(operator.serving, "the applications run", WITHIN_S)}
    until(lambda: any(map(ready, pods.workers)), "a worker is ready", WITHIN_S)
    sentence, long = audio / "one_sentence.flac", audio / "two_minutes.flac"
    told["heard"] = {preset: client.ask(preset, sentence) for preset in config["applications"][0]["args"]["presets"]}
    told["whole"] = client.ask("high", long)
    told["placed"] = [asdict(replica) for replica in until(operator.replicas, "every replica runs", WITHIN_S)]
    told["pods"] = [asdict(pod) for pod in pods.all]
    told["loss"] = _lose_a_pod(pods, groups, operator, client, long)
    told["headless"] = _lose_the_head(pods, head, operator, client, [sentence, long])
    told["roll_out"] = _roll_out(config, operator, client, [sentence, long])
    print(json.dumps(told))


def _workers(groups: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return each group as often as it has pods, the last one once more until there are enough."""
    wanted = [group for group in groups for _ in range(group["replicas"])]
    yield from wanted
    yield from [groups[-1]] * (LEAST_WORKERS - len(wanted))


def _lose_a_pod(pods: Pods, groups: dict[str, Any], operator: Operator, client: Client, audio: Path) -> dict[str, Any]:
    """Kill a pod that works on a request, and start another one of its group, as the operator would."""
    replicas = operator.replicas()
    victim, busy, through = _victim(pods, replicas)
    answer, request = Loop(), threading.Thread(target=lambda: answer.note(lambda: client.ask("high", audio, through)))
    request.start()
    until_busy(busy.pid)
    in_work = request.is_alive()
    pods.kill(victim)
    pods.start_worker(groups[victim.group])
    request.join(WITHIN_S)
    gone = {replica.id for replica in replicas if replica.address == victim.address}

    def recovered() -> list[Replica]:
        found = operator.replicas() if operator.serving() else []
        return [] if gone & {replica.id for replica in found} else found

    after = until(recovered, "every replica runs again", WITHIN_S)
    return {
        "lost": [asdict(each) for each in replicas if each.id in gone],
        "in_work": in_work,
        "answer": asdict(answer),
        "placed": [asdict(each) for each in after],
        "pods": [asdict(pod) for pod in pods.all],
        "again": client.ask("high", audio),
    }


def _victim(pods: Pods, replicas: list[Replica]) -> tuple[Pod, Replica, Pod]:
    """Return a worker with a part of `high` and not the only gateway, that part, and the worker of another gateway."""
    at = {pod.address: pod for pod in pods.workers}
    gateways = [each.address for each in replicas if each.app == "gateway"]
    for part in ("Pipeline", "Transcription", "Alignment", "Diarization"):
        (busy,) = (each for each in replicas if (each.app, each.deployment) == ("high", part))
        if others := [address for address in gateways if address != busy.address]:
            return at[busy.address], busy, at[others[0]]
    raise AssertionError(f"all is on the gateway's pod: {replicas}")


def _lose_the_head(
    pods: Pods, group: dict[str, Any], operator: Operator, client: Client, audio: list[Path]
) -> dict[str, Any]:
    """Kill the head, ask for each file, and only then start another one."""
    before = _ids(operator.replicas())
    pods.kill(pods.head)
    answers = [client.ask("fast", file) for file in audio]
    pods.start_head(group)
    until(operator.serving, "another head knows the applications", WITHIN_S)
    after = _ids(until(operator.replicas, "every replica still runs", WITHIN_S))
    return {"answers": answers, "before": sorted(before), "after": sorted(after)}


def _ids(replicas: list[Replica]) -> set[str]:
    """Return the replicas of what is always awake."""
    return {each.id for each in replicas if each.app in ("fast", "gateway")}


def _roll_out(config: dict[str, Any], operator: Operator, client: Client, audio: list[Path]) -> dict[str, Any]:
    """Put the config with another beam and another alias while a client for each file asks in a loop."""
    changed = copy.deepcopy(config)
    apps = {app["name"]: app["args"] for app in changed["applications"]}
    apps["fast"]["transcription"]["beam_size"] = 2
    apps["gateway"]["aliases"][NEW_ALIAS] = "fast"
    old = _ids(operator.replicas())

    def replaced() -> bool:
        found = operator.replicas() if operator.serving() else []
        return bool(found) and not old & _ids(found)

    with ExitStack() as stack:
        loops = [stack.enter_context(client.asking("fast", file)) for file in audio]
        until(lambda: all(loop.answers or loop.failures for loop in loops), "the loops ask", WITHIN_S)
        until(lambda: operator.put(changed), "the change is taken", WITHIN_S)
        until(replaced, "the change is rolled out", WITHIN_S)
    return {"loops": [asdict(loop) for loop in loops], "renamed": client.ask(NEW_ALIAS, audio[0])}


if __name__ == "__main__":
    service, settings, store, audio, folder = sys.argv[1:]
    main(Path(service), Path(settings), store, Path(audio), Path(folder))
