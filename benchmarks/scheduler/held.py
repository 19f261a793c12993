"""Processes held to a share of a core each, as on a machine with cores enough: Linux's control groups, as root."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 10_000


@contextmanager
def held(title: str, share: float) -> Iterator[None]:
    """Hold each process whose title has `title` to a share of a core, as long as the block lasts.

    Raises:
        SystemExit: this machine does not let us, or there is no such process.

    """
    found = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and title in _title(each)]
    if not found:
        raise SystemExit(f"no process has '{title}' in its title")
    groups: list[Path] = []
    try:
        try:
            for process in found:
                groups.append(_group(f"benchmark-{os.getpid()}-{process}", round(share * PERIOD_US)))
                (groups[-1] / "cgroup.procs").write_text(str(process))
        except OSError as error:
            raise SystemExit(f"--share needs root, and control groups that may be written to: {error}") from error
        yield
    finally:
        for group in groups:
            _dissolve(group)


def _title(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it has ended
        return ""


def _group(name: str, quota_us: int) -> Path:
    """Make a group of version 1 or 2, whichever has the processor here."""
    if (GROUPS / "cpu").is_dir():
        group = GROUPS / "cpu" / name
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        return group
    group = GROUPS / name
    group.mkdir()
    (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
    return group


def _dissolve(group: Path) -> None:
    for process in (group / "cgroup.procs").read_text().split():
        try:
            (group.parent / "cgroup.procs").write_text(process)
        except ProcessLookupError:
            continue
    group.rmdir()
