"""The folder of uploads: named by content, whole or not there, removed once nobody needs them."""

import os
import time
from io import BytesIO
from pathlib import Path

import pytest
from blake3 import blake3

from serve_app.errors import JobsUnavailable
from serve_app.jobs.uploads import ABANDONED_S, BLOCK, UNCLAIMED_S, Uploads

LONG = os.urandom(2 * BLOCK + 5)


def listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize("content", [b"sound", LONG])
def test_a_file_is_kept_whole_under_its_hash_once(tmp_path: Path, content: bytes) -> None:
    uploads, file = Uploads(tmp_path), BytesIO(content)
    file.seek(3)
    digest = uploads.keep(file)
    assert digest == blake3(content).hexdigest() == uploads.keep(content) == uploads.keep(uploads.path(digest))
    assert uploads.path(digest).read_bytes() == content
    assert listed(tmp_path) == [f"uploads/{digest}"]


def test_what_fails_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    class Torn(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "the client's file cannot be read")

    with pytest.raises(JobsUnavailable, match="cannot be read"):
        Uploads(tmp_path).keep(Torn())
    assert listed(tmp_path) == []


def test_a_full_disk_is_told_with_its_mend() -> None:
    with pytest.raises(JobsUnavailable, match=r"jobs cannot be kept in /dev/full/jobs: .*; free space"):
        Uploads(Path("/dev/full/jobs")).keep(BytesIO(b"sound"))


def test_a_missing_upload_is_told_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(JobsUnavailable, match="a place that all nodes share"):
        Uploads(tmp_path).path("nothing")


def test_only_old_files_that_no_job_needs_are_swept(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    used, fresh, old = (uploads.keep(BytesIO(content)) for content in (b"used", b"fresh", b"old"))
    for digest in (used, old):
        aged(uploads.path(digest), UNCLAIMED_S + 1)
    assert uploads.sweep(lambda digest: digest == used) == [old]
    assert listed(tmp_path) == sorted(f"uploads/{digest}" for digest in (used, fresh))


def test_a_file_that_comes_in_again_while_it_is_swept_stays(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    digest = uploads.keep(BytesIO(b"old"))
    aged(uploads.path(digest), UNCLAIMED_S + 1)

    def comes_in_again(looked_at: str) -> bool:
        uploads.keep(BytesIO(b"old"))
        return False

    assert uploads.sweep(comes_in_again) == []
    assert uploads.path(digest).read_bytes() == b"old"


def test_what_a_dead_process_left_half_written_goes_after_a_day(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    uploads.keep(BytesIO(b"sound"))
    for name, age in (("dead", ABANDONED_S + 1), ("alive", 10)):
        (tmp_path / "coming" / name).write_bytes(b"half")
        aged(tmp_path / "coming" / name, age)
    uploads.sweep(lambda digest: True)
    assert listed(tmp_path / "coming") == ["alive"]


def test_a_folder_that_is_not_there_yet_has_nothing_to_sweep(tmp_path: Path) -> None:
    assert Uploads(tmp_path / "none").sweep(lambda digest: False) == []
