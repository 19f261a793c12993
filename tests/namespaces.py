"""Linux namespaces: a command with a network, or a file system, that nobody else sees."""

import subprocess

import pytest


def alone(options: str, prepared: str) -> list[str]:
    """The beginning of a command line that runs the rest in new namespaces, after the shell's line `prepared`.

    Skips the test where that is not allowed.
    """
    line = ["unshare", "--user", "--map-root-user", *options.split(), "sh", "-c", f'{prepared} && exec "$@"', "sh"]
    try:
        done = subprocess.run([*line, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs unshare, of util-linux")
    if done.returncode:
        pytest.skip(f"namespaces are not allowed here: {done.stderr.strip()}")
    return line
