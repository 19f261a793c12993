import os
from pathlib import Path

import pytest

from serve_app.hardware.limits import cpus, memory_bytes

ALL = float(len(os.sched_getaffinity(0)))
NOWHERE = Path("/nonexistent")


def written(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")
    return folder


def own(tmp_path: Path, text: str) -> Path:
    (tmp_path / "own").write_text(text)
    return tmp_path / "own"


def test_without_control_groups_the_machine_is_the_limit() -> None:
    assert cpus(NOWHERE, NOWHERE) == ALL
    assert memory_bytes(NOWHERE, NOWHERE) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    written(tmp_path, cpu__max="50000 100000", memory__max="1000000000")
    assert cpus(tmp_path, own(tmp_path, "0::/\n")) == 0.5
    assert memory_bytes(tmp_path, own(tmp_path, "0::/\n")) == 10**9


@pytest.mark.parametrize("outer", ["", "user.slice"])
def test_any_group_above_may_set_the_limit(tmp_path: Path, outer: str) -> None:
    written(tmp_path / "user.slice" / "session", cpu__max="max 100000", memory__max="max")
    written(tmp_path / outer, cpu__max="70000 100000", memory__max="2000000000")
    mine = own(tmp_path, "0::/user.slice/session\n")
    assert cpus(tmp_path, mine) == 0.7
    assert memory_bytes(tmp_path, mine) == 2 * 10**9


def test_groups_of_version_one(tmp_path: Path) -> None:
    written(tmp_path / "cpu,cpuacct" / "docker" / "id", cpu__cfs_quota_us="25000", cpu__cfs_period_us="50000")
    written(tmp_path / "memory" / "docker" / "id", memory__limit_in_bytes="3000000000")
    mine = own(tmp_path, "7:memory:/docker/id\n4:cpu,cpuacct:/docker/id\n")
    assert cpus(tmp_path, mine) == 0.5
    assert memory_bytes(tmp_path, mine) == 3 * 10**9


def test_version_one_without_limits(tmp_path: Path) -> None:
    written(tmp_path / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    written(tmp_path / "memory", memory__limit_in_bytes="9223372036854771712")
    mine = own(tmp_path, "7:memory:/\n4:cpu,cpuacct:/\n")
    assert cpus(tmp_path, mine) == ALL
    assert memory_bytes(tmp_path, mine) == memory_bytes(NOWHERE, NOWHERE)
