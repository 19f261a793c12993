"""Imported by every Python process that has this folder on its path: no way off this machine, and every try is noted.

The notes go to the file named by NOTED_CONNECTIONS: a line with the process's title and the address.
"""

import errno
import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import Any


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host
    if _outside(name):
        title = Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        with Path(os.environ["NOTED_CONNECTIONS"]).open("a") as notes:
            notes.write(f"{title}\t{event}\t{name}\n")
        raise OSError(errno.ENETUNREACH, "the tests allow no way out", str(name))


def _outside(host: str | None) -> bool:
    """Whether this is neither this machine nor a name for it."""
    if not host or host in ("localhost", os.uname().nodename):
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return not (address.is_loopback or address.is_unspecified or _ours(str(address)))


def _ours(address: str) -> bool:
    """Whether it is an address of this machine: only those can be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


if "NOTED_CONNECTIONS" in os.environ:
    sys.addaudithook(_watch)
