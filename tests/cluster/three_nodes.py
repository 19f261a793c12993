"""A Ray cluster of three nodes on this machine, each with a node cache of its own; prints what `warm` did as JSON.

    python -m tests.cluster.three_nodes STORE_URL FOLDER NAME

The nodes are real: a raylet and workers each. They share nothing but the machine's loopback.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from model_store.cluster.on_ray import warm

NODES = 3


def main(store: str, folder: Path, name: str) -> None:
    """Start, warm twice, lose a node, add one, warm again."""
    cluster = Cluster()
    for number in range(NODES):
        last = _add(cluster, folder / f"cache{number}")
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        first, again = warm([name], store), warm([name], store)
        cluster.remove_node(last)
        _add(cluster, folder / "late")
        cluster.wait_for_nodes()
        late = warm([name], store)
        print(json.dumps([[asdict(one) for one in round_] for round_ in (first, again, late)]))
    finally:
        ray.shutdown()
        cluster.shutdown()


def _add(cluster: Cluster, cache: Path) -> object:
    return cluster.add_node(
        num_cpus=1, object_store_memory=100_000_000, include_dashboard=False, env_vars={"RAYSCRIBE_CACHE": str(cache)}
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
