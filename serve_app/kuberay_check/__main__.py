"""Prints what is wrong with the manifests, a line for each problem, and exits with 1 where there is one."""

import sys
from pathlib import Path

from serve_app.kuberay import ROOT
from serve_app.kuberay_check.checks import all_problems
from serve_app.kuberay_check.manifests import can_render


def main(root: Path = ROOT) -> int:
    """Check the manifests of a checkout; returns the exit status."""
    if not can_render():
        print("kuberay/overlays: not checked: that needs kubectl, for its kustomize", file=sys.stderr)
    problems = all_problems(root)
    print("\n".join(problems) or "kuberay: ok", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
