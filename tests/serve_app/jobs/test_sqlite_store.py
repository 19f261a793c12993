"""What is SQLite's own: where the file cannot be, what another version wrote, a full disk, other processes."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from job_helpers import NOW, job

from serve_app.errors import JobsUnavailable
from serve_app.jobs.job import Job
from serve_app.jobs.sqlite_store import VERSION, SqliteStore
from serve_app.jobs.steps import taken


def test_a_place_that_cannot_be_written_is_told_with_its_mend() -> None:
    with pytest.raises(JobsUnavailable, match=r"cannot be kept in /dev/null/jobs\.sqlite: .*set jobs\.folder"):
        SqliteStore(Path("/dev/null/jobs.sqlite")).submit(job())


def test_a_place_that_can_be_written_later_is_used_then(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("in the way")
    store = SqliteStore(folder / "jobs.sqlite")
    with pytest.raises(JobsUnavailable):
        store.page(1)
    folder.unlink()
    assert store.submit(job()) in store.page(1)


def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.sqlite")
    first = store.submit(job())
    store._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to have no room: it is set to what is there
    with pytest.raises(JobsUnavailable, match=r"database or disk is full; free space"):
        store.change(first.id, lambda same: same, "x" * 10_000_000)
    assert (store.get(first.id), store.result(first.id)) == (first, None)


def test_a_newer_versions_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    SqliteStore(path).submit(job())
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(JobsUnavailable, match="written by a newer version"):
        SqliteStore(path).page(1)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(JobsUnavailable, match="not a database"):
        SqliteStore(tmp_path / "jobs.sqlite").page(1)


def test_a_job_of_another_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    first = job()
    text = first.model_dump_json().replace('"metadata":{}', '"newer":[1],"metadata":{}').replace(',"progress":0.0', "")
    assert '"newer"' in text
    assert '"progress"' not in text
    assert Job.model_validate_json(text) == first


def test_what_a_killed_process_had_acknowledged_is_there(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from job_helpers import job
from serve_app.jobs.sqlite_store import SqliteStore
from serve_app.jobs.steps import taken
store = SqliteStore(Path({str(tmp_path / "jobs.sqlite")!r}))
print(store.submit(job()).id, flush=True)
store.take({NOW}, taken("dead", {NOW}, 30, 3))
os.kill(os.getpid(), signal.SIGKILL)
"""
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert dead.returncode == -9, dead.stderr
    store = SqliteStore(tmp_path / "jobs.sqlite")
    begun = store.get(dead.stdout.strip())
    assert (begun.state, begun.worker) == ("running", "dead")
    assert store.take(NOW + 29, taken("new", NOW, 30, 3)) is None
    again = store.take(NOW + 30, taken("new", NOW, 30, 3))
    assert again
    assert (again.id, again.worker, again.attempts) == (begun.id, "new", 2)
