"""`serve run CONFIG` with Ray's metrics at a known port: `python -m serve_app.serve_run PORT CONFIG`."""

import sys

import ray
from ray.serve.scripts import cli


def main(port: int, config: str) -> None:
    """Start Ray with that port; `serve run`, which has no option for it, goes on with the Ray that it finds."""
    ray.init(namespace="serve", _metrics_export_port=port)
    cli(["run", config])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
